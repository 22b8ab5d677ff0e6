"""Signals ask for a clean end; a second Ctrl-C does not wait for it."""

import os
import signal
import threading

import pytest

from logratio.train.signals import stop_requests

ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", ASKED)
def test_a_signal_is_a_request(number):
    with stop_requests() as stop:
        assert not stop
        send(number)
        assert stop and stop.name == number.name


@pytest.mark.parametrize("first", ASKED)
def test_ctrl_c_aborts_once_a_stop_was_asked_for(first):
    with pytest.raises(KeyboardInterrupt), stop_requests():
        send(first)
        send(signal.SIGINT)


def test_asking_politely_twice_does_not_abort():
    """A launcher may pass on SIGTERM to a process that had it, or SIGINT, already."""
    with stop_requests() as stop:
        send(signal.SIGINT)
        send(signal.SIGTERM)
        send(signal.SIGUSR1)
        send(signal.SIGTERM)
        assert stop


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in ASKED]
    with pytest.raises(ZeroDivisionError), stop_requests():
        assert [signal.getsignal(number) for number in ASKED] != before
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in ASKED] == before


def test_outside_the_main_thread_nothing_changes():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with stop_requests() as stop:
            seen.append((bool(stop), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
