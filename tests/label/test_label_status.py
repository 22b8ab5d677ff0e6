import json
from itertools import product

import pytest

from logratio.errors import DataError
from logratio.label.status import status, status_of


def rows(verdicts, swap=()):
    """One row a judgement of ((who, pair) → verdict on the pair's x against its y); `swap` saw y first."""
    found = []
    for (who, pair), won in verdicts.items():
        swapped = who in swap
        texts = [f"x{pair}", f"y{pair}"]
        texts = texts[::-1] if swapped else texts
        winner = {"x": "b" if swapped else "a", "y": "a" if swapped else "b"}.get(won, won)
        row = {"prompt": f"p{pair}", "response_a": texts[0], "response_b": texts[1], "winner": winner}
        found.append({**row, "annotator": who, "task": str(pair), "seconds": 2.0 + pair})
    return found


def test_agreement_is_of_contents_and_not_of_positions():
    verdicts = {(who, n): "xy"[n % 2] for who, n in product(("ada", "bob"), range(12))}
    found = status(rows(verdicts, swap=("bob",)))
    assert found.alpha.mean == 1 and found.agree.mean == 1 and found.twice == 12
    assert found.first.mean == 0.5 and found.pairs == 12 and found.total == 24
    crossed = status(rows({key: ("yx"[key[1] % 2] if key[0] == "bob" else won) for key, won in verdicts.items()}))
    assert crossed.agree.mean == 0 and crossed.alpha.mean < 0


def test_alpha_is_krippendorffs_on_a_worked_example():
    """12 judgements: 4 pairs agree (3 x, 1 y), 2 differ; D_o = 4/12, D_e = 2·8·4/(12·11)."""
    ada, bob = "xxxyxy", "xxxyyx"
    both = {**{("ada", n): won for n, won in enumerate(ada)}, **{("bob", n): won for n, won in enumerate(bob)}}
    expected = 1 - (4 / 12) / (2 * 8 * 4 / (12 * 11))
    assert status(rows(both)).alpha.mean == pytest.approx(expected)


def test_both_bad_and_position_are_figures_and_a_position_that_weighs_is_named():
    one = status(rows({("ada", n): "x" for n in range(40)}))
    assert one.first.mean == 1 and any("position weighs" in line for line in one.lines())
    mixed = status(rows({("ada", n): ("both_bad" if n % 4 == 0 else "xy"[n % 2]) for n in range(40)}))
    assert mixed.both_bad.mean == 0.25 and any(line.startswith("Both bad: 25.0") for line in mixed.lines())
    assert mixed.people[0].counts == {"a": 10, "b": 20, "tie": 0, "both_bad": 10}
    assert mixed.people[0].seconds == 21.5
    assert "nothing is said of agreement" in mixed.lines()[-1]


def test_ties_count_as_one_verdict_with_both_bad():
    found = status(rows({("ada", 0): "tie", ("bob", 0): "both_bad", ("ada", 1): "x", ("bob", 1): "y"}))
    assert found.agree.mean == 0.5


def test_nothing_judged_is_said_so(tmp_path):
    assert status([]).lines() == ["Nothing is judged yet."]
    with pytest.raises(DataError, match="does not exist"):
        status_of(tmp_path / "labels.jsonl")
    (tmp_path / "labels.jsonl").write_text(json.dumps(rows({("ada", 0): "x"})[0]) + "\n")
    assert status_of(tmp_path / "labels.jsonl").total == 1
