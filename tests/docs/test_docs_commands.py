"""Pages that lead somebody through commands: these are run as they stand, on a tiny model and tiny files."""

import json
import shlex
from pathlib import Path

import pytest
from docs_pages import blocks

from logratio.cli.app import main
from small_files import write_model, write_pairs

PAGES = ("first-hour.md", "your-data.md", "from-llama-factory.md", "from-axolotl.md")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with what the pages' commands name."""
    monkeypatch.chdir(tmp_path)
    write_model(Path("my-model"))
    write_pairs(Path("pairs.jsonl"), 200)
    write_pairs(Path("held-out.jsonl"), 24, 1)
    rows = [json.loads(line) for line in Path("held-out.jsonl").read_text().splitlines()]
    renamed = [{"prompt": row["prompt"], "better": row["chosen"], "worse": row["rejected"]} for row in rows]
    Path("answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in renamed))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run_in_order(page, place, capsys):
    for recipe in blocks(page, "yaml"):
        (place / "recipe.yaml").write_text(recipe)
    for line in (line for block in blocks(page, "bash") for line in block.splitlines()):
        words = shlex.split(line, comments=True)
        if words[0] != "logratio":
            assert line in ("make quickstart", "source .venv/bin/activate")
            continue
        with pytest.raises(SystemExit) as caught:
            main(words[1:])
        said = capsys.readouterr()
        assert caught.value.code == (2 if "# refused" in line else 0), (line, said.err)
        assert "# refused" not in line or "here" in said.err
