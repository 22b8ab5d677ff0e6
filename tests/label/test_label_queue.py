from hypothesis import given
from hypothesis import strategies as st

from logratio.label.queue import Queue

TASKS = ("p", "q", "r", "s")


def test_what_was_judged_before_is_not_asked_again_and_can_be_undone_in_its_order():
    queue = Queue.resumed(TASKS, ["r", "p", "gone"])
    assert queue.waiting == ("q", "s") and queue.judged == 2
    assert queue.undo().present == "p" and queue.undo().undo().present == "r"
    assert queue.undo().undo().undo() == queue.undo().undo()


def test_what_is_skipped_comes_again_only_when_asked_for():
    queue = Queue.resumed(TASKS, []).skip().judge().skip().judge()
    assert queue.present is None and queue.skipped == ("p", "r") and queue.judged == 2
    again = queue.again()
    assert again.waiting == ("p", "r") and again.skipped == () and again.undo().present == "s"
    assert queue.undo().undo().present == "r" and queue.undo().undo().skipped == ("p",)


@given(st.lists(st.sampled_from(["judge", "skip", "undo", "again"]), max_size=40))
def test_no_task_is_lost_or_doubled_and_undo_takes_back_exactly_the_last_step(steps):
    queue = Queue.resumed(TASKS, [])
    for step in steps:
        if step in ("judge", "skip") and queue.present is None:
            continue
        after = getattr(queue, step)()
        if step in ("judge", "skip"):
            assert after.undo() == queue
        queue = after
        done = [key for what, key in queue.done if what == "judged"]
        assert sorted((*queue.waiting, *queue.skipped, *done)) == sorted(TASKS)
