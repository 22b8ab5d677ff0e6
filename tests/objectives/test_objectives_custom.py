"""An objective of one's own: a function in a file, an `Objective`, a package's entry point."""

import math

import pytest
import torch

from logratio import objectives
from logratio.errors import ConfigError
from logratio.objectives.facts import PAIRWISE, Facts
from logratio.objectives.views import PairLogps, PairSums
from logratio.testing import CHECKS, contract

MINE = '''
import torch
from torch import Tensor
from logratio.objectives.views import PairLogps


def cubic(pairs: PairLogps, *, beta: float = 0.2, power: float = 3.0) -> Tensor:
    """A soft hinge to a power."""
    return torch.nn.functional.softplus(-beta * pairs.difference) ** power
'''


def steep(pairs: PairLogps, *, beta: float = 0.2) -> torch.Tensor:
    """DPO once more."""
    return torch.nn.functional.softplus(-beta * pairs.difference)


def ignoring(pairs: PairSums, *, beta: float = 0.2, gamma: float = 1.0) -> torch.Tensor:
    """A loss that does not look at gamma."""
    return torch.nn.functional.softplus(-beta * (pairs.chosen - pairs.rejected))


def overflowing(pairs: PairSums, *, beta: float = 1.0) -> torch.Tensor:
    """An exponential without a clamp."""
    return torch.exp(-beta * (pairs.chosen - pairs.rejected))


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_a_function_s_keywords_become_settings_and_its_file_is_hashed(mine):
    objective = objectives.load(f"{mine}:cubic")
    assert objective.settings(power=2.0).model_dump() == {"beta": 0.2, "power": 2.0, "sft_weight": 0.0}
    assert objective.needs(objective.settings()).reference and str(mine) in objective.origin
    before = objective.origin
    mine.write_text(MINE.replace("0.2", "0.3"))
    assert objectives.load(f"{mine}:cubic").origin != before


def test_the_contract_holds_for_a_function_and_its_declared_facts():
    facts = Facts(at_reference=lambda batch, settings: {"steep": math.log(2)}, invariant=PAIRWISE, curve="decreasing")
    assert contract(steep, facts) == [check.__name__ for check in CHECKS]
    left_out = {"value_at_the_reference", "invariances", "curve"}
    assert set(contract(steep)) == {check.__name__ for check in CHECKS} - left_out


@pytest.mark.parametrize(
    ("loss", "why"), [(ignoring, "gamma = .* is accepted and ignored"), (overflowing, "at log-ratios of ±10⁴")]
)
def test_the_contract_names_what_is_wrong(loss, why):
    with pytest.raises(AssertionError, match=why):
        contract(loss)


@pytest.mark.parametrize(
    ("code", "attribute", "why"),
    [
        ("def loss(pairs): ...", "loss", "must be annotated with what it reads"),
        (MINE.replace(" = 0.2", ""), "cubic", "beta must be a keyword with a default"),
        ("x = 1", "x", "must be an Objective or a function"),
    ],
)
def test_what_is_no_objective_is_refused_in_one_sentence(tmp_path, code, attribute, why):
    path = tmp_path / "other.py"
    path.write_text(code)
    with pytest.raises(ConfigError, match=why):
        objectives.load(f"{path}:{attribute}")


def test_a_package_s_entry_point_is_known(tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text(MINE)
    info = tmp_path / "theirs-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[logratio.objectives]\ncubic = theirs:cubic\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert objectives.load("cubic").origin == "theirs:cubic, theirs 1.2"
    with pytest.raises(ConfigError, match='did you mean "cubic"'):
        objectives.load("cubicc")
