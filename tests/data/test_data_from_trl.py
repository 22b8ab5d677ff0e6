"""docs/from-trl.md is run as it stands, and its table of keys is the one that error messages answer from."""

import re
import shlex
from pathlib import Path

import pytest
from small_tokenizers import byte_tokenizer

from logratio.cli.app import main
from logratio.train.foreign import table
from small_files import write_model, write_pairs

PAGE = Path(__file__).parents[2] / "docs" / "from-trl.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_the_table_is_that_of_the_messages():
    """Written by `python -c 'from logratio.train.foreign import table; print(table())'`."""
    assert f"<!-- keys -->\n{table()}\n<!-- /keys -->" in TEXT


def test_every_figure_holds():
    names = {"chatml": byte_tokenizer(template="newline_after_end")}
    assert {kind for kind, _ in BLOCKS} == {"text", "yaml", "bash", "python"}
    for body in (body for kind, body in BLOCKS if kind == "python"):
        assert "assert " in body
        exec(compile(body, PAGE.name, "exec"), names)


def test_the_commands_do_what_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "my-model")
    write_pairs(tmp_path / "pairs.jsonl", 32)
    (tmp_path / "recipe.yaml").write_text(next(body for kind, body in BLOCKS if kind == "yaml"))
    for line in (line for kind, body in BLOCKS if kind == "bash" for line in body.splitlines()):
        with pytest.raises(SystemExit) as caught:
            main(shlex.split(line, comments=True)[1:])
        told = capsys.readouterr().err
        assert (caught.value.code, "train.batch_size" in told) == ((2, True) if "# refused" in line else (0, False)), (
            told
        )
