"""The table of metrics: the page is what it says, and nothing is written that is not in it."""

import json
from pathlib import Path

from logratio.metrics import METRICS, page
from logratio.train.api import train
from small_files import write_model, write_pairs

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
FRAME = {"kind", "step", "time", "calibration"}


def test_the_page_in_docs_is_what_the_table_says():
    """Written by `python -m logratio.metrics > docs/metrics.md`."""
    assert PAGE.read_text(encoding="utf-8") == page() + "\n"


def test_each_metric_is_in_the_page_once_with_label_formula_and_unit():
    names = [line.split("`")[1] for line in page().splitlines() if line.startswith("| `")]
    assert sorted(names) == sorted(METRICS)
    assert all(metric.formula and metric.unit and metric.label and metric.where for metric in METRICS.values())


def test_what_a_run_writes_is_in_the_table(tmp_path):
    run = train(
        write_model(tmp_path / "model"),
        write_pairs(tmp_path / "pairs.jsonl", 40),
        output=tmp_path / "run",
        train={"batch_size": 16, "lr": 1e-3},
        eval={"samples": 2, "max_new_tokens": 6, "holdout": 0.3},
    )
    rows = [json.loads(line) for line in (run.directory / "metrics.jsonl").read_text().splitlines()]
    for kind, expected in {
        "train": {"kl_data", "gradient_raising", "effective_gradient", "saturated", "logp_chosen_per_token"},
        "eval": {"kl_data", "margin_quantiles", "length_correlation", "entropy_per_token", "self_overlap"},
    }.items():
        written = {name for row in rows if row["kind"] == kind for name in row} - FRAME
        assert expected <= written <= set(METRICS), written - set(METRICS)
        for name in written & {name for name, metric in METRICS.items() if metric.share}:
            found = [row[name] for row in rows if row["kind"] == kind and name in row]
            values = [own["mean"] if kind == "eval" else own for own in found]
            assert all(value is None or 0 <= value <= 1 for value in values), (kind, name)
