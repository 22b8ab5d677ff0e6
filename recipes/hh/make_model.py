"""Make a byte-level BPE tokenizer and a small random Llama from the text of a preference file.

    python recipes/hh/make_model.py --data data/hh/train.jsonl.gz --out runs/hh/start

With the defaults: 4,096 tokens, 4 layers of width 128, 1.3 M parameters.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from logratio.config import DataPart, RowsConfig
from logratio.data.source import read_records
from logratio.models.build import SPECIAL, UNK, build_llama, save_built, wrap_tokenizer


def texts(path: str) -> Iterator[str]:
    """Yield the chosen text of every pair; what is rejected, or kept for testing, the tokenizer never sees."""
    for pair in read_records((DataPart(path=path),), RowsConfig()):
        yield pair.prompt + pair.chosen


def train_tokenizer(lines: Iterator[str], vocabulary: int) -> Tokenizer:
    """Return a byte-level BPE tokenizer of at most `vocabulary` tokens, `SPECIAL` the first of them."""
    made = Tokenizer(models.BPE(unk_token=UNK))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(lines, trainer)
    return made


def main() -> None:
    """Read the options, make both, and save them where transformers loads them from."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="preference file whose chosen texts are learned from")
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    parser.add_argument("--vocabulary", type=int, default=4096, help="most tokens")
    parser.add_argument("--hidden", type=int, default=128, help="width")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--positions", type=int, default=512, help="longest sequence, tokens")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    tokenizer = train_tokenizer(texts(options.data), options.vocabulary)
    model = build_llama(
        vocab_size=tokenizer.get_vocab_size(),
        hidden=options.hidden,
        inner=options.hidden * 8 // 3 // 8 * 8,
        layers=options.layers,
        heads=4,
        max_positions=options.positions,
        seed=options.seed,
    )
    save_built(model, wrap_tokenizer(tokenizer, max_length=options.positions), options.out)
    print(f"{options.out}: {model.num_parameters():,} parameters, {tokenizer.get_vocab_size():,} tokens")


if __name__ == "__main__":
    main()
