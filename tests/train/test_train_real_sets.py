"""Every real data set becomes groups of a real tokenizer, row for row, and a first step is taken on it."""

import gzip
import json
import math
from itertools import islice

import pytest

from logratio.config import RowsConfig, TemplateConfig, TokensConfig
from logratio.data.prepare import prepare
from logratio.train.api import train

MESSAGES = """{{ bos_token }}{% for message in messages %}{{ message.role }}
{{ message.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}assistant
{% endif %}"""

# File → objective and rows that can be learned from: all, less those whose winner is null (convarg 4,135, pandalm 105,
# tldr-judged 146) or whose response is empty or no text (hh-harmless 4, pandalm 58).
SETS = {
    "convarg/pairs": ("dpo", 12792),
    "demo-formats/alpaca_en_demo_sft": ("sft", 999),
    "demo-formats/dpo_en_demo": ("dpo", 300),
    "demo-formats/kto_en_demo": ("kto", 300),
    "hh-harmless/train": ("dpo", 1496),
    "hh-harmless/test": ("dpo", 300),
    "imdb/train": ("sft", 25000),
    "pandalm/pairs": ("dpo", 836),
    "tinystories/stories": ("sft", 5511),
    "tldr-judged/policy_vs_reference": ("dpo", 354),
}
KINDS = {"dpo": "pairs", "kto": "labels", "sft": "demonstrations"}
FIRST_LOSS = {"dpo": math.log(2), "kto": 0.5}
"""The loss while the policy is the reference: −log σ(0), and 1 − σ(0)."""


@pytest.fixture(scope="module")
def tokenizer(shared_data):
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(shared_data / "models" / "stories-260k")
    made.chat_template = MESSAGES
    return made


def use(name):
    """Messages are rendered by a chat template; text stays as it is."""
    return "auto" if name in ("demo-formats/dpo_en_demo", "demo-formats/kto_en_demo") else "none"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if "imdb" in name else name for name in SETS]
)
def test_every_row_is_tokenised(name, shared_data, tokenizer):
    objective, rows = SETS[name]
    found = prepare(
        shared_data / f"{name}.jsonl.gz",
        kind=KINDS[objective],
        tokenizer=tokenizer,
        tokens=TokensConfig(max_length=100_000),
        template=TemplateConfig(use=use(name)),
        rows=RowsConfig(skip_bad_rows=name.startswith("pandalm")),
    )
    assert len(found.groups) == rows and not found.report.dropped
    group = found.groups[rows // 2]
    for response, loss in zip(group.responses, group.loss, strict=True):
        assert response[-1] == tokenizer.eos_token_id and loss[-1]


@pytest.mark.parametrize("name", SETS)
def test_a_first_step(name, shared_data, tokenizer, tmp_path):
    from transformers import AutoModelForCausalLM

    objective, _ = SETS[name]
    overflow = "truncate" if objective == "sft" else "left_prompt"
    with gzip.open(shared_data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in islice(lines, 16)]
    steps = []
    run = train(
        AutoModelForCausalLM.from_pretrained(shared_data / "models" / "stories-260k"),
        rows,
        objective,
        tokenizer=tokenizer,
        output=tmp_path / "run",
        on_event=lambda event: steps.append(event.data["row"]) if event.kind == "train" else None,
        template=use(name),
        tokens={"max_length": 512, "overflow": overflow},
        rows={"skip_bad_rows": True},
        eval={"holdout": 0, "samples": 0},
        train={"batch_size": 4, "epochs": 1e-9},
    )
    assert run.status == "finished" and len(steps) == 1
    if objective in FIRST_LOSS:
        assert steps[0]["loss"] == pytest.approx(FIRST_LOSS[objective], abs=1e-5)
    assert steps[0]["grad_norm"] > 0
