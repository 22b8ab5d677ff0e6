"""What checks leave in a run directory, and its held-out pairs, by formulas; texts in several scripts."""

import json
import math
from pathlib import Path

from report_runs import STEPS, wobble, write_lines

from logratio.findings import Drawing, Example, Finding

PAIRS = 120

TEXTS = (
    (
        "Write a short review of a film about the pilot.",
        "A calm, well-told story.",
        "It was fine. It was fine. It was.",
    ),
    ("اكتب مراجعة قصيرة عن فيلم", "قصة هادئة ومحكمة البناء.", "كان جيدا."),
    ("写一篇关于电影的短评。", "故事平静，讲得很好。", "还行。"),
    ("כתוב ביקורת קצרה על סרט", "סיפור רגוע וכתוב היטב.", "היה בסדר."),
    ("Rate the film 🎬", "👩‍🚀🚀 out of this world", "🙂"),
)

PREFLIGHT = [
    Finding("one_beginning", "fine", "Each of 4 responses follows exactly 1 beginning-of-text token.", seconds=0.02),
    Finding(
        "packing",
        "fine",
        "Packing moves a log-prob by at most 1.9e-06 nats; noise floor 2.4e-06.",
        figures={"difference_nats": 1.9e-6, "noise_floor_nats": 2.4e-6},
        seconds=0.31,
    ),
    Finding(
        "learning_rate",
        "look",
        "The learning rate 3e-05 is 30 times what dpo suggests for 124M parameters.",
        "Use `--lr 1e-6`, or say why not.",
        {"lr": 3e-5, "suggested": 1e-6},
        seconds=0.0,
    ),
]

AUDIT = [
    Finding("exact_duplicates", "fine", "No row occurs twice.", seconds=0.4),
    Finding(
        "length",
        "look",
        "The longer response wins 63.2 % of pairs; judging by length alone is right that often.",
        "Compare with `length_baseline`; consider a length-regularised objective.",
        {"longer_wins": 0.632, "pairs": 9641},
        Drawing(
            "bars",
            "How often the longer response wins, by length ratio",
            "length ratio",
            "share won",
            ["1.0 to 1.1", "1.1 to 1.5", "1.5 to 2", "above 2"],
            {"longer wins": [0.52, 0.58, 0.66, 0.71]},
            "A flat row at 0.5 would say that length does not matter.",
        ),
        [
            Example(
                "reviews.jsonl, row 17", "chosen is 4 times as long", {"prompt": TEXTS[0][0], "chosen": "long " * 40}
            ),
            Example("reviews.jsonl, row 21", "نص من اليمين", {"prompt": TEXTS[1][0], "chosen": TEXTS[1][1]}),
        ],
        2.7,
    ),
    Finding(
        "contradictions",
        "stop",
        "212 of 9,641 pairs are judged both ways.",
        "Drop one side with `logratio audit --fix clean.jsonl`.",
        {"pairs": 212},
        None,
        [
            Example(
                "reviews.jsonl, rows 3 and 88", "the same pair, judged both ways", {"a": TEXTS[2][1], "b": TEXTS[2][2]}
            )
        ],
        1.1,
    ),
]

FINDINGS = [
    Finding("saturation", "fine", "2 % of held-out pairs are saturated.", figures={"saturated": 0.02}),
    Finding(
        "displacement",
        "note",
        "Both log-ratios fall: chosen −0.05 and rejected −0.26 nats a token. Normal in DPO where accuracy rises.",
        "",
        {"chosen_nats_per_token": -0.05, "rejected_nats_per_token": -0.26},
        Drawing(
            "lines",
            "Log-ratios per token",
            "step",
            "nats/token",
            [0, 200, 400, 600],
            {"chosen": [0.0, -0.02, -0.04, -0.05], "rejected": [0.0, -0.1, None, -0.26]},
        ),
    ),
    Finding(
        "length_exploitation",
        "look",
        "Samples grew from 40 to 46 tokens, and margins follow length (r = 0.41).",
        "Try `length_dpo`, or balance the data by length.",
        {"r": 0.41},
        Drawing("points", "Margin by length", "tokens", "nats", [-10, 0, 10, 20], {"pairs": [-0.5, 0.1, 0.4, 0.9]}),
    ),
]

WHERE = [
    Finding(
        "where",
        "note",
        "The top 2 of 6 layers hold 71 % of the margin: the change is local.",
        figures={"share_of_top_layers": 0.71},
        drawing=Drawing(
            "heat",
            "Margin lost by restoring a layer",
            "layer",
            "nats",
            [str(layer) for layer in range(6)],
            {name: [wobble(7 * layer + at, 0.5) + 0.1 * layer for layer in range(6)] for at, name in enumerate("qkvo")},
        ),
    )
]


def margin(pair: int, step: int) -> float:
    """A margin that rises for most pairs and falls for some."""
    return (wobble(pair, 0.8) + 0.5) * (1 - math.exp(-step / 200))


def pair_rows(texts=TEXTS, count=PAIRS) -> list[dict]:
    rows = []
    for pair in range(count):
        prompt, chosen, rejected = texts[pair % len(texts)]
        row = {"row": 3 * pair, "length_chosen": 40 + pair % 23, "length_rejected": 38 + pair % 17}
        rows.append({**row, "prompt": f"{prompt} ({pair})", "chosen": chosen, "rejected": rejected})
    return rows


def margin_rows(count=PAIRS) -> list[dict]:
    steps = range(0, STEPS + 1, 120)
    return [{"step": step, "margin": [margin(pair, step) for pair in range(count)]} for step in steps]


CALIBRATION = {
    "bins": [
        {
            "predicted": 0.5 + 0.1 * i,
            "observed": 0.5 + 0.07 * i,
            "low": 0.42 + 0.07 * i,
            "high": 0.58 + 0.07 * i,
            "n": 24,
        }
        for i in range(5)
    ]
}


def document(findings=AUDIT, **other) -> dict:
    return {
        "data": ["reviews.jsonl"],
        "date": "2026-03-01",
        "version": "0.1.0",
        "rows": 9_700,
        "findings": [finding.as_json() for finding in findings],
        **other,
    }


def write_beside(run: Path, *, preflight=PREFLIGHT, audit=AUDIT, findings=FINDINGS, where=WHERE, pairs=None) -> Path:
    """Add to a run directory what checks leave there, and its pairs and their calibration."""
    for name, found in (("preflight", preflight), ("findings", findings)):
        text = json.dumps([finding.as_json() for finding in found])
        (run / f"{name}.json").write_text(text, encoding="utf-8")
    (run / "where.json").write_text(json.dumps({"findings": [own.as_json() for own in where]}), encoding="utf-8")
    (run / "audit.json").write_text(json.dumps(document(audit)), encoding="utf-8")
    rows = pair_rows() if pairs is None else pairs
    write_lines(run / "pairs.jsonl", rows)
    write_lines(run / "margins.jsonl", margin_rows(len(rows)))
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    evaluation |= {"calibration": CALIBRATION, "ece": {"mean": 0.04, "low": 0.02, "high": 0.06, "n": 120}}
    (run / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    return run


def write_rounds(run: Path, references: list[str]) -> Path:
    """Add the folders of rounds, each of ten steps, whose reward is its number."""
    for number, reference in enumerate(references, 1):
        folder = run / "rounds" / f"{number:02d}"
        folder.mkdir(parents=True)
        steps = [10 * number - 9, 10 * number]
        about = {"round": number, "of": len(references), "steps": steps, "reference": reference}
        (folder / "round.json").write_text(json.dumps(about), encoding="utf-8")
        reward = {"mean": number, "low": number - 0.5, "high": number + 0.5, "n": 40}
        (folder / "evaluation.json").write_text(json.dumps({"reward": reward}), encoding="utf-8")
    return run
