"""A study at the command line: what cannot go with it is refused, and what it found is told."""

import pytest
import yaml

from logratio.cli.app import main
from logratio.sweep.frontier import lines


def call(capsys, *words):
    with pytest.raises(SystemExit) as caught:
        main(["sweep", *map(str, words)])
    return caught.value.code, capsys.readouterr().err


@pytest.fixture
def recipe(tmp_path):
    document = {"model": "m", "data": "d", "study": {"judge": "a:b", "variants": [{"name": "A"}]}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "plain.yaml").write_text("{model: m, data: d}")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("study.yaml", "--grid", "train.lr=1e-3,1e-4"), "neither --grid nor a key"),
        (("study.yaml", "--train.lr", "1e-3"), "neither --grid nor a key"),
        (("study.yaml", "--quick"), "no study.quick"),
        (("plain.yaml", "--quick"), "has no `study`"),
        (("study.yaml",), "a study needs eval.data"),
    ],
)
def test_what_cannot_go_with_a_study_is_refused(recipe, capsys, words, said):
    code, err = call(capsys, recipe / words[0], *words[1:], "--output", recipe / "out")
    assert code == 2 and said in " ".join(err.split())
    assert not (recipe / "out").exists()


def test_rewards_at_equal_kl_are_told_in_columns():
    def found(mean, low, high, setting=""):
        return {"reward": {"mean": mean, "low": low, "high": high}, "setting": setting}

    levels = [
        {"kl": 1.0, "frontier": 1.625, "best_of_n": 1.5, "methods": {"DPO": found(0.9, 0.7, 1.1, "beta 0.1")}},
        {"kl": 2.5, "frontier": None, "best_of_n": None, "methods": {"DPO": found(None, None, None)}},
    ]
    assert lines({"levels": levels}) == [
        "           1 nat                       2.5 nat",
        "frontier   1.62                        —",
        "best-of-N  1.50                        —",
        "DPO        0.90 [0.70, 1.10] beta 0.1  —",
    ]
