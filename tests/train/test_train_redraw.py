"""Prompts whose responses are all judged alike, and the further ones that take their place."""

import pytest
import small_run
from test_train_rollouts import files, numbered, row, trained, world

from logratio.errors import ConfigError, JudgeError
from logratio.train.drawn import compared, dead, learned, read
from logratio.train.recipe import resolve
from logratio.train.redraw import filled

DRAWN = {"k": 4, "max_new_tokens": 6, "every": 2, "epochs": 2, "redraw": 4}
HALF = """
def half(prompts, responses, rows):
    return [float(len(text)) if row["n"] % 2 else 1.0 for text, row in zip(responses, rows)]
"""


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """Prompts of which every other one teaches nothing: 16 to train on, 8 a phase."""
    folder = tmp_path_factory.mktemp("redraw")
    given = {**world(folder, n=20, rows=numbered), "rollout": DRAWN, "eval.samples": 0}
    (folder / "half.py").write_text(HALF)
    return {**given, "judge": f"{folder}/half.py:half"}


@pytest.fixture(scope="module")
def run(arguments, tmp_path_factory):
    return small_run.run(**arguments, output=str(tmp_path_factory.mktemp("whole") / "run")).directory


def test_dead_prompts_are_replaced_until_the_phase_is_full_or_no_prompt_is_left(run):
    for number in (1, 2):
        rows = read(run / "rollouts" / f"phase-{number:06d}.jsonl")
        assert len({each["row"] for each in rows}) == len(rows)  # a further prompt is one that the phase did not have
        replaced, kept = [each for each in rows if "replaced" in each], learned(rows)
        assert len(kept) == 8 and replaced and all(map(dead, replaced))
        assert all("columns" in each for each in kept) and not any("columns" in each for each in replaced)
        assert not any(map(dead, kept)) or len(rows) == 16
        assert sum(map(dead, kept)) <= 2  # of the 16 some 8 are not dead at all
        told = trained(run)[4 * number - 4 :][:4]
        assert sum(each["redrawn"] for each in told) == 2 * len(replaced)  # each batch is told of in both epochs
        sizes = rows[0]["batches"]
        assert [each["redrawn"] + 4 for each in told] == [float(size) for size in sizes] * 2
        assert sum(each["dead_groups"] for each in told) == pytest.approx(sum(map(dead, kept)) / 4 * 2)


@pytest.mark.parametrize("after", [pytest.param(4, marks=pytest.mark.slow), 5])
def test_a_run_that_redraws_goes_on_bit_for_bit(arguments, run, tmp_path, after):
    again = {**arguments, "output": str(tmp_path / "run")}
    assert small_run.run(**again, stop_at=("train", after, ["SIGTERM"])).status == "interrupted"
    assert small_run.run(**again, resume="auto").status == "finished"
    assert files(tmp_path / "run") == files(run) and small_run.metrics(tmp_path / "run") == small_run.metrics(run)
    weights = [(path / "model" / "model.safetensors").read_bytes() for path in (tmp_path / "run", run)]
    assert weights[0] == weights[1]


def test_a_cycle_is_not_dead_though_its_scores_are_all_a_half():
    """A ≻ B ≻ C ≻ A, and then the same three judged alike."""
    cycle, same = (row([0.5] * 3, comparisons=[[0, 1, p], [1, 2, p], [2, 0, p]]) for p in (1.0, 0.5))
    assert [dead(each) for each in (cycle, same)] == [False, True]
    assert [len(compared(each, "all")[0]) for each in (cycle, same)] == [3, 0]
    rival = row([0.5] * 3, comparisons=[[0, 2, 0.7], [1, 2, 0.7]], rival=[0, 0, 1])  # tells no two of its own
    assert dead(rival)


def test_tries_are_limited_a_lost_prompt_is_not_replaced_and_a_judge_that_stops_is_heard():
    alive, flat, lost = row([0.0, 1.0]), row([1.0, 1.0]), {**row([]), "failed": "away"}
    assert [dead(each) for each in (alive, flat, lost, row([1.0]))] == [False, True, False, False]
    drawn = []

    def draw(prompts):
        drawn.append(list(prompts))
        return [dict(flat) if prompt < 9 else dict(alive) for prompt in prompts], None

    places, failure = filled(draw, [9, 1, 2], iter([3, 4, 5, 9, 9]), tries=2)
    assert drawn == [[9, 1, 2], [3, 4], [5, 9]] and failure is None
    assert [len(place) for place in places] == [1, 3, 3]
    assert [dead(place[-1]) for place in places] == [False, True, False]
    assert ["replaced" in each for each in places[1]] == [True, True, False]
    drawn.clear()
    filled(draw, [1, 2], iter([3]), tries=9)
    assert drawn == [[1, 2], [3]]  # and then no further prompt is left
    away = JudgeError("the service is away")
    places, failure = filled(lambda prompts: ([dict(lost) for _ in prompts], away), [1, 2], iter([3]), tries=9)
    assert failure is away and [len(place) for place in places] == [1, 1]


@pytest.mark.parametrize("objective", ["ppo", "xpo", "reinforce_pp", {"name": "nash_md", "mixture": 0}])
def test_redrawing_is_refused_where_responses_that_are_judged_alike_teach_too(objective):
    least = {"model": "m", "data": "d", "judge": "a:b", "rollout": {"redraw": 1}}
    with pytest.raises(ConfigError, match="rollout.redraw is 1, but objective .* judged alike too"):
        resolve({**least, "objective": objective})
    assert resolve({**least, "objective": "dpo"}).config.rollout.redraw == 1
