"""A server that is killed, again and again, while somebody judges: what was acknowledged is in the file."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from http.client import HTTPException

import pytest
from label_desk import Client, write_samples

from logratio.label.store import Store

COUNT = 400


def start(samples, out):
    words = ["label", str(samples), "--output", str(out)]
    process = subprocess.Popen([sys.executable, "-m", "logratio", *words], stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    port, token = re.search(r":(\d+)/\?token=(\S+)", process.stdout.readline()).groups()
    return process, Client(int(port), token)


def work(client, who, standing, stop):
    """Judge and undo as fast as answers come; note what was acknowledged."""
    steps = 0
    _, told = client.ask(action="show", annotator=who)
    last = []
    while not stop.is_set() and told.get("task"):
        steps += 1
        task = told["task"]
        try:
            if steps % 7 == 0 and last:
                maybe = last[-1]
                standing["open"] = (who, maybe)
                _, told = client.ask(action="undo", annotator=who)
                standing["sure"].discard((who, last.pop()))
            else:
                standing["open"] = (who, task)
                _, told = client.ask(action="judge", annotator=who, task=task, verdict="a")
                standing["sure"].add((who, task))
                last.append(task)
            standing["open"] = None
        except (OSError, ValueError, HTTPException):  # killed before it answered: this one step may count or not
            return


@pytest.mark.slow
def test_no_acknowledged_judgement_is_lost_and_none_undone_returns_however_often_it_is_killed(tmp_path):
    samples, out = write_samples(tmp_path / "samples.jsonl", COUNT), tmp_path / "labels.jsonl"
    known = {who: {"sure": set(), "open": None} for who in ("ada", "bob")}
    for life in range(6):
        process, client = start(samples, out)
        stop = threading.Event()
        threads = [threading.Thread(target=work, args=(client, who, known[who], stop)) for who in known]
        for thread in threads:
            thread.start()
        time.sleep(0.25 + 0.13 * life)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        stop.set()
        for thread in threads:
            thread.join()
        rows = Store(out).rows()
        found = {(row["annotator"], row["task"]) for row in rows}
        assert len(found) == len(rows)
        for who, own in known.items():
            undecided = {own["open"]} - {None}
            mine = {pair for pair in found if pair[0] == who}
            assert mine - undecided == own["sure"] - undecided
            own["sure"], own["open"] = mine, None
        for line in out.read_text(encoding="utf-8").splitlines():
            assert json.loads(line)["winner"] == "a"
    assert sum(len(own["sure"]) for own in known.values()) > 30
