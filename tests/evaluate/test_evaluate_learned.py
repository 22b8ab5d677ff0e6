import json

import numpy as np
import pytest

from logratio.errors import RunError
from logratio.evaluate.explain import explain
from logratio.evaluate.learned import learned
from logratio.maths.counter import stream

NAMES = ("length", "lists", "digits", "questions", "length again", "never")


def planted(seed, *, weights=(2.0, -1.0, 0.0, 0.0), noise=1.0, n=400, prompts=None):
    """Margins that are a weighted sum of the first cues plus noise; the fifth cue repeats the first."""
    draw = stream(seed, "planted cues")
    own = draw.normal(size=(n, 4)) * [1, 5, 0.1, 1]
    margin = own @ (np.array(weights) / [1, 5, 0.1, 1]) + noise * draw.normal(size=n)
    difference = np.column_stack([own, -3 * own[:, 0], np.zeros(n)])
    labels = [f"prompt {i}" for i in (range(n) if prompts is None else draw.integers(0, prompts, n))]
    return margin, difference, labels


def test_planted_cues_are_found_with_sign_order_and_share():
    """Var of the signal is 4 + 1, of the noise 1: five sixths are explained."""
    found = explain(*planted(0)[:2], NAMES, planted(0)[2])
    assert [cue.name for cue in found.cues[:2]] == ["length", "lists"]
    length, lists, *others = found.cues
    assert length.coefficient == pytest.approx(2 / 6**0.5, abs=0.05) and length.low < 2 / 6**0.5 < length.high
    assert lists.coefficient == pytest.approx(-1 / 6**0.5, abs=0.05) and lists.high < 0
    assert length.clear and lists.clear and not any(cue.clear for cue in others)
    assert found.share.low < 5 / 6 < found.share.high and found.share.mean == pytest.approx(5 / 6, abs=0.04)
    assert length.alone == pytest.approx(4 / 6, abs=0.06)
    assert found.same == {"length again": "length"} and list(found.rare) == ["never"]


def test_without_a_cue_nothing_is_explained_and_nothing_stands_out():
    found = [explain(*planted(seed, weights=(0, 0, 0, 0))[:2], NAMES, planted(seed)[2]) for seed in range(20)]
    assert max(own.share.mean for own in found) < 0.02
    assert sum(own.share.low > 0 for own in found) <= 1
    assert sum(any(cue.clear for cue in own.cues) for own in found) <= 2


def test_which_response_is_called_the_first_does_not_matter():
    margin, difference, prompts = planted(1)
    turned = np.where(stream(1, "turned").random(len(margin)) < 0.5, -1.0, 1.0)
    one, other = (explain(sign * margin, sign[:, None] * difference, NAMES, prompts) for sign in (turned, abs(turned)))
    assert one.share.mean == pytest.approx(other.share.mean, abs=1e-12)
    assert [cue.coefficient for cue in one.cues] == pytest.approx([cue.coefficient for cue in other.cues], abs=1e-12)


def test_the_fit_is_the_solution_of_its_normal_equations():
    margin, difference, prompts = planted(2, noise=4.0)
    found = explain(margin, difference, NAMES, prompts)
    x = difference[:, :4] / np.sqrt((difference[:, :4] ** 2).mean(0))
    y = margin / np.sqrt((margin**2).mean())
    solved = np.linalg.solve(x.T @ x + found.penalty * np.eye(4), x.T @ y)
    own = {cue.name: cue.coefficient for cue in found.cues}
    assert [own[name] for name in NAMES[:4]] == pytest.approx(solved.tolist())


def test_intervals_hold_the_truth_and_grow_where_prompts_repeat():
    held = []
    for seed in range(100):
        margin, difference, prompts = planted(seed, n=200)
        cue = {own.name: own for own in explain(margin, difference, NAMES, prompts).cues}["length"]
        held.append(cue.low < 2 / np.sqrt((margin**2).mean()) * np.sqrt((difference[:, 0] ** 2).mean()) < cue.high)
    assert np.mean(held) >= 0.9
    margin, difference, prompts = planted(0, n=200)
    once = explain(margin, difference, NAMES, prompts).share
    five = explain(np.tile(margin, 5), np.tile(difference, (5, 1)), NAMES, prompts * 5).share
    assert five.high - five.low == pytest.approx(once.high - once.low, rel=0.2)


def write(run, margins, texts):
    run.mkdir()
    rows = [{"prompt": p, "chosen": c, "rejected": r} for p, c, r in texts]
    (run / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [{"step": 0, "margin": [0.0] * len(rows)}, {"step": 9, "margin": list(margins)}]
    (run / "margins.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def texts(n):
    draw = stream(7, "texts")

    def one():
        words = " ".join(["word", "other", "more", "thing"][i] for i in draw.integers(0, 4, draw.integers(3, 40)))
        return words + ("?" if draw.random() < 0.3 else ".")

    return [(f"Tell me of {i}.", one(), one()) for i in range(n)]


def test_a_run_whose_margins_follow_length_is_told_so(tmp_path):
    rows = texts(200)
    margins = [np.log(len(chosen) / len(rejected)) for _, chosen, rejected in rows]
    (found,) = learned(write(tmp_path / "run", margins, rows))
    assert found.level == "look" and "length" in found.says and "audit" in found.remedy
    assert found.figures["share_explained"] > 0.9 and found.figures["pairs"] == 200
    assert found.drawing.kind == "bars" and len(found.drawing.x) == len(found.drawing.series["coefficient"])
    document = json.loads((tmp_path / "run" / "learned.json").read_text())
    assert document["findings"] == [found.as_json()] and document["step"] == 9
    assert document["share"]["mean"] == found.figures["share_explained"]


def test_a_run_whose_margins_follow_nothing_seen_is_told_that(tmp_path):
    (found,) = learned(write(tmp_path / "run", stream(8, "margins").normal(size=200), texts(200)))
    assert found.level == "note" and not found.remedy and found.figures["share_explained"] < 0.1


def test_a_table_of_ones_own_takes_the_place_of_the_cues(tmp_path):
    rows = texts(100)
    margins = [chosen.count("thing") - rejected.count("thing") for _, chosen, rejected in rows]

    def table(own, prompts):
        assert list(prompts[:100]) == [row[0] for row in rows] == list(prompts[100:])
        return ("things",), np.array([[text.count("thing")] for text in own], np.float64)

    (found,) = learned(write(tmp_path / "run", margins, rows), table=table)
    assert found.figures["share_explained"] == pytest.approx(1, abs=1e-3) and "things +1.00" in found.says


def test_too_little_to_say_and_nothing_to_read(tmp_path):
    (few,) = learned(write(tmp_path / "few", [1.0] * 5, texts(5)))
    assert few.level == "note" and "too few" in few.says
    (still,) = learned(write(tmp_path / "still", [0.0] * 50, texts(50)))
    assert still.level == "note" and "0" in still.says
    with pytest.raises(RunError, match=r"pairs\.jsonl"):
        learned(tmp_path)
    run = write(tmp_path / "other", [1.0] * 40, texts(40))
    (run / "margins.jsonl").write_text(json.dumps({"step": 1, "margin": [1.0]}))
    with pytest.raises(RunError, match="40 pairs and 1 margins"):
        learned(run)
