"""Tokenizers made on the spot, and the seven small chat templates."""

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from logratio.data.template import ChatTemplate
from logratio.data.tokenize import Encoder
from logratio.data.tokenrows import TokenTally
from logratio.records import Demonstration, Labelled, Origin, Pair

TEMPLATES = Path(__file__).parent / "templates"
SPECIAL = ["<pad>", "<s>", "</s>", "<|turn|>", "<|end|>", "<think>", "</think>"]
SENTENCES = [
    "the cat sat on the mat and the dog sat on the log",
    "assistant user system model says yes or no to the question",
    "Hello, how are you today? I am fine, thank you very much.",
    "Human: what is this?\n\nAssistant: this is a test.\n\n\n",
]
AT = Origin("made.jsonl", 7)


def byte_tokenizer(*, bos=False, eos="</s>", pad="<pad>", template=None):
    """A byte-level BPE tokenizer: every text comes back from its tokens as it was."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(SENTENCES * 5, trainer)
    if bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token=eos, pad_token=pad)
    if template:
        made.chat_template = (TEMPLATES / f"{template}.jinja").read_text()
    return made


def encoder(tokenizer, *, date="2024-03-05", kind="pairs", **settings):
    """An encoder that uses the tokenizer's template if it has one."""
    kwargs = settings.pop("kwargs", {})
    chat = ChatTemplate(tokenizer, kwargs, date) if tokenizer.chat_template else None
    return Encoder(tokenizer, template=chat, kind=kind, **settings)


def encode(tokenizer, *records, **settings):
    """Rows and tally of some records."""
    tally = TokenTally()
    return encoder(tokenizer, **settings).rows(records, tally), tally


def text(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def scored(tokenizer, ids, mask):
    """The text of the tokens that carry loss."""
    return text(tokenizer, ids[mask])


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def pair(prompt, chosen, rejected, **more):
    return Pair(prompt=prompt, chosen=chosen, rejected=rejected, origin=AT, **more)


def demonstration(prompt, response, **more):
    return Demonstration(prompt=prompt, response=response, origin=AT, **more)


def labelled(prompt, response, label, **more):
    return Labelled(prompt=prompt, response=response, label=label, origin=AT, **more)
