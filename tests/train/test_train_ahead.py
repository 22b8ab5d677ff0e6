"""The next step is made while the present one runs: same things, same order, and no thread left behind."""

import threading

import pytest
import small_run
from safetensors.torch import load_file

from logratio.errors import DataError
from logratio.train import ahead, loop


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("next step")]


def test_things_come_in_order_one_ahead_and_no_more():
    begun, used = [], []
    ready = [threading.Event() for _ in range(7)]

    def make(index):
        begun.append(index)
        ready[index].set()
        return index * index

    with ahead.made_ahead(make, range(2, 6), thread=True) as coming:
        for index in range(2, 6):
            used.append(next(coming))
            if index < 5:
                assert ready[index + 1].wait(5)  # it is made without being asked for
            assert max(begun) == min(index + 1, 5)
        assert next(coming, None) is None
    assert used == [4, 9, 16, 25] and begun == [2, 3, 4, 5] and not threads()


def test_what_goes_wrong_does_so_in_its_own_step():
    def make(index):
        if index == 2:
            raise DataError("row 2")
        return index

    for thread in (True, False):
        used = []
        with pytest.raises(DataError, match="row 2"), ahead.made_ahead(make, range(5), thread=thread) as coming:
            used.extend(coming)
        assert used == [0, 1] and not threads()


def test_a_stop_in_the_midst_leaves_no_thread():
    with pytest.raises(KeyboardInterrupt), ahead.made_ahead(lambda index: index, range(10**6), thread=True) as coming:
        assert next(coming) == 0 and threads()
        raise KeyboardInterrupt
    assert not threads()


@pytest.mark.parametrize("thread", [True, False])
def test_nothing_to_make(thread):
    with ahead.made_ahead(lambda index: index, range(3, 3), thread=thread) as coming:
        assert list(coming) == []


def trained(folder, given, **changes):
    small_run.run(**given, **changes, output=str(folder))
    return small_run.metrics(folder), load_file(folder / "model" / "model.safetensors")


@pytest.mark.parametrize(
    "changes",
    [{}] + [pytest.param(slow, marks=pytest.mark.slow) for slow in ({"objective": "aot"}, {"reference_sync.every": 2})],
)
def test_a_run_is_the_same_to_the_bit_with_its_steps_made_ahead(changes, tmp_path, monkeypatch):
    """Whole, and stopped after its second step and continued."""
    given = small_run.world(tmp_path)
    plain_rows, plain = trained(tmp_path / "plain", given, **changes)
    seen = set()

    def in_a_thread(make, indices, *, thread):
        def noted(index):
            seen.add(threading.current_thread().name)
            return make(index)

        return ahead.made_ahead(noted, indices, thread=True)

    monkeypatch.setattr(loop, "made_ahead", in_a_thread)
    whole_rows, whole = trained(tmp_path / "ahead", given, **changes)
    stopped = {**given, **changes, "output": str(tmp_path / "stopped"), "resume": "auto"}
    assert small_run.run(**stopped, stop_at=("train", 2, ["SIGTERM"])).step == 2 and not threads()
    assert small_run.run(**stopped).status == "finished"
    assert seen and all(name.startswith("next step") for name in seen)
    assert plain_rows == whole_rows == small_run.metrics(tmp_path / "stopped")
    continued = load_file(tmp_path / "stopped" / "model" / "model.safetensors")
    for name, weight in plain.items():
        assert weight.equal(whole[name]) and weight.equal(continued[name]), name
