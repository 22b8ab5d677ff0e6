"""What the cues and statistics say of real data, against what its makers published or what counting by hand gives."""

import gzip
import json
import math

import numpy as np
import pytest
from judged_pairs import columns

from logratio.audit.annotators import annotators
from logratio.audit.cued import cued
from logratio.audit.language import language
from logratio.audit.length import length
from logratio.audit.noise import noise
from logratio.audit.refusals import refusals
from logratio.audit.rows import read_rows
from logratio.audit.shortcuts import shortcuts
from logratio.audit.templates import templates

SETS = (
    "hh-harmless/train.jsonl.gz",
    "pandalm/pairs.jsonl.gz",
    "tldr-judged/policy_vs_reference.jsonl.gz",
    "demo-formats/dpo_en_demo.jsonl.gz",
    "demo-formats/kto_en_demo.jsonl.gz",
)


def lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("name", SETS)
def test_every_finding_can_be_made_and_written(shared_data, name):
    rows = read_rows(str(shared_data / name))
    table = cued(rows)
    found = [length(rows, table), shortcuts(rows, table), noise(rows, table)]
    found += [look(rows) for look in (annotators, refusals, language, templates)]
    for finding in found:
        json.dumps(finding.as_json(), allow_nan=False)
        assert finding.says.endswith(".") and "nan" not in finding.says
        assert (finding.level in ("look", "stop")) <= bool(finding.remedy)


def test_three_humans_of_pandalm_agree_as_their_votes_say(shared_data):
    """879 pairs unanimous and 120 two to one, of 999: two of three votes agree in (879 + 120/3)/999 of the time."""
    rows, agree = [], []
    for row in lines(shared_data / "pandalm" / "pairs.jsonl.gz"):
        meta = row["meta"]
        texts = meta["response1"], meta["response2"]
        if not all(isinstance(text, str) and text.strip() for text in texts) or texts[0] == texts[1]:
            continue
        agree.append(math.comb(meta["n_majority"], 2) / 3)
        rows += [
            {
                "prompt": f"{len(agree)}: {row['prompt']}",
                "response1": texts[0],
                "response2": texts[1],
                "preference_strength": (0, -1, 1)[vote],
                "annotator": f"human {at}",
            }
            for at, vote in enumerate(meta["votes"])
        ]
    data = columns(rows)
    finding = annotators(data)
    assert finding.figures["pairs"] == len(agree)
    assert finding.figures["agreement_share"] == pytest.approx(sum(agree) / len(agree))
    assert finding.figures["krippendorff_alpha"] > 0.8 and finding.figures["annotators_outlying"] == 0
    flipped = noise(data, cued(data))
    assert flipped.figures["method"] == "repeated judgements" and flipped.figures["noise_share"] < 0.05


@pytest.mark.slow
def test_workers_of_convarg_agree_beyond_chance_and_some_do_not(shared_data):
    """Habernal and Gurevych 2016: five workers a pair, MACE to weigh them; 3,815 workers, some of them guessing."""
    rows = []
    competence: dict[str, float] = {}
    for row in lines(shared_data / "convarg" / "pairs.jsonl.gz"):
        meta = row["meta"]
        for vote in meta["votes"]:
            competence[str(vote["annotator"])] = vote["competence"]
            rows.append(
                {
                    "prompt": row["prompt"],
                    "response1": meta["arg1"],
                    "response2": meta["arg2"],
                    "preference_strength": {"a1": -1, "equal": 0, "a2": 1}[vote["vote"]],
                    "annotator": str(vote["annotator"]),
                }
            )
    finding = annotators(columns(rows))
    assert 0.2 < finding.figures["krippendorff_alpha"] < 0.35 and finding.figures["agreement_share"] > 0.5
    named = {example.why.split()[0] for example in finding.examples}
    trust, everybody = (
        [competence[name] for name in named],
        list(competence.values()),
    )  # MACE weighs all of them at once
    assert len(named) >= 3 and max(trust) < np.median(everybody) and np.mean(trust) < 0.35
