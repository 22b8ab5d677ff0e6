"""The same on a real model, which no threshold was set on: a few of its planted faults, and two sound runs."""

import grounds
import pytest
from sick_faults import FAULTS, healthy
from sick_runs import judge, trained
from sick_signs import SIGNS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def ground(shared_data, tmp_path_factory):
    return grounds.stories(shared_data, "stories-260k", tmp_path_factory.mktemp("grounds"))


@pytest.mark.parametrize("fault", ["beta_large", "length", "broken_eos", "no_signal"])
def test_a_fault_planted_in_a_model_of_stories_is_there_and_is_named(fault, ground, tmp_path):
    maker, names = FAULTS[fault]
    run = trained(ground, maker(ground, 0), tmp_path / "run", 0)
    assert fault not in SIGNS or SIGNS[fault](run)
    assert judge(run).at("look") & names, judge(run).ever


@pytest.mark.parametrize("recipe", [0, 10], ids=["full", "LoRA"])
def test_a_sound_run_of_a_model_of_stories_asks_for_no_look(recipe, ground, tmp_path):
    judged = judge(trained(ground, healthy(ground, recipe), tmp_path / "run", recipe))
    assert not judged.at("look"), judged.said
