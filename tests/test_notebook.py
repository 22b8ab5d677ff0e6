"""A notebook shows what runs in it: really executed, and nothing of it loaded elsewhere."""

import json
import re
import subprocess
import sys

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from logratio.report import notebook
from logratio.train.events import Event
from logratio.train.notebook import Drawn
from small_files import write_model, write_pairs

MEASURED = {"mean": 0.75, "low": 0.5, "high": 0.875, "n": 8}


def test_without_a_notebook_nothing_is_shown_or_loaded():
    assert notebook.live() is None
    code = "import sys, logratio.train.api, logratio.evaluate.api; print('IPython' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_a_run_is_drawn_at_most_every_half_second_and_at_all_that_matters():
    shown, now = [], iter([0.0, 0.0, 0.1, 0.1, 0.2, 0.9, 0.9, 1.0])
    drawn = Drawn(shown.append, lambda: next(now))
    for step in (1, 2, 3):  # at 0, 0.1 and 0.2 s
        drawn(Event("train", {"row": {"kind": "train", "step": step, "loss": 1.0 / step}, "step": step, "steps": 4}))
    assert len(shown) == 1
    drawn(Event("warning", {"text": "<b>planted</b>"}))
    drawn(Event("eval", {"row": {"kind": "eval", "step": 4, "accuracy": MEASURED}, "step": 4, "steps": 4}))
    assert len(shown) == 3 and "&lt;b&gt;planted" in shown[1] and "<b>planted" not in shown[2]
    assert shown[2].count("<img") == 2 and 'value="4" max="4"' in shown[2]


def test_a_table_has_each_measure_that_was_made():
    table = notebook.measures({"accuracy": MEASURED, "kl": {"mean": None, "n": 0}, "<script>": MEASURED, "about": {}})
    assert table.count("<tr>") == 3 and "75.0" in table and "&lt;script&gt;" in table and "<script" not in table


CELLS = [
    """import logratio
run = logratio.train("my-model", "pairs.jsonl", output="run", train={"batch_size": 8}, eval={"max_new_tokens": 4})
run""",
    """logratio.evaluate(run.directory, data="pairs.jsonl", samples=2, max_new_tokens=4)""",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own
def test_a_notebook_that_is_executed_shows_progress_curves_and_tables(tmp_path):
    write_model(tmp_path / "my-model")
    write_pairs(tmp_path / "pairs.jsonl", 64)
    book = new_notebook(cells=[new_code_cell(cell) for cell in CELLS])
    updates = []
    client = NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    process = client.process_message

    def counted(message, cell, index):
        updates.append((index, message["msg_type"]))
        return process(message, cell, index)

    client.process_message = counted
    client.execute()
    assert updates.count((0, "update_display_data")) >= 4 and updates.count((1, "update_display_data")) == 4
    trained, evaluated = (
        ["".join(out["data"]["text/html"]) for out in cell.outputs if "data" in out] for cell in book.cells
    )
    assert len(trained) == 2 and trained[0].count("data:image/svg+xml") == 3 and "finished after" in trained[0]
    assert "what this run is" in trained[0]
    measured = json.loads((tmp_path / "run" / "evaluation.json").read_text("utf-8"))
    assert re.search(rf"<td[^>]*>{measured['accuracy']['n']}</td>", trained[1])
    assert len(evaluated) == 2 and 'value="4" max="4"' in evaluated[0] and "<table" in evaluated[1]
