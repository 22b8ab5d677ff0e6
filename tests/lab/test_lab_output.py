"""Terminal, JSON, Markdown and page of the laboratory."""

import json
import time
from pathlib import Path

import pytest

from logratio.cli.app import main
from logratio.errors import ConfigError
from logratio.lab.docs import table, tables
from logratio.lab.table import fill
from logratio.lab.text import brief, markdown

ROOT = Path(__file__).parents[2]


def called(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return stop.value.code, capsys.readouterr()


def test_the_command_prints_a_table_that_fits(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, said = called(capsys, "lab", "dpo", "ipo", "--regime", "clean", "--regime", "certain")
    rows = {line.split("  ")[0]: line for line in said.out.splitlines() if line}
    assert code == 0 and max(map(len, said.out.splitlines())) <= 80
    assert "0=" in rows["dpo"] and "→" in rows["dpo"] and "→" not in rows["ipo"]


def test_json_holds_every_cell_with_the_command_s_names(capsys):
    code, said = called(capsys, "lab", "robust_dpo", "--regime", "flips-10", "--json")
    (cell,) = json.loads(said.out)["cells"]
    assert code == 0 and cell["kind"] == "finite" and cell["distance"] < 1e-9


def test_an_unknown_regime_is_answered_with_the_nearest(capsys):
    code, said = called(capsys, "lab", "dpo", "--regime", "cleen")
    assert code == 2 and 'regime "cleen" does not exist; did you mean "clean"' in said.err


def test_a_cell_leads_to_its_figures_and_its_command_on_the_page(tmp_path, capsys):
    code, _ = called(capsys, "lab", "ipo", "--regime", "length", "--page", str(tmp_path / "lab.html"))
    page = (tmp_path / "lab.html").read_text(encoding="utf-8")
    assert code == 0 and '<a href="#ipo--length">' in page and 'id="ipo--length"' in page
    assert "logratio lab ipo --regime length" in page


def test_a_document_says_what_it_shows_and_is_filled_in(tmp_path, capsys):
    document = tmp_path / "page.md"
    document.write_text("above\n<!-- lab ipo --regime clean -->\nold\n<!-- /lab -->\nbelow\n")
    code, _ = called(capsys, "lab", "--update", str(document))
    ((words, table),) = tables(document)
    assert code == 0 and words == "ipo --regime clean" and table == markdown(fill(["ipo"], ["clean"], sizes=False))
    assert document.read_text().startswith("above") and document.read_text().endswith("below\n")


def test_a_document_without_marks_is_refused(tmp_path, capsys):
    (tmp_path / "page.md").write_text("nothing\n")
    code, said = called(capsys, "lab", "--update", str(tmp_path / "page.md"))
    assert code == 2 and "has no <!-- lab" in said.err


@pytest.mark.slow
def test_tables_in_documents_are_what_the_laboratory_finds():
    found = tables(ROOT / "docs" / "choosing.md")
    assert found and all(content == table(words) for words, content in found)


@pytest.mark.parametrize("name", ["aot", "bco", "bco_pair", "beta_dpo", "wpo", "tdpo", "reward"])
def test_an_objective_without_a_row_is_refused_by_name_beside_others_too(name):
    with pytest.raises(ConfigError, match=f"^{name}: a loss that depends on more"):
        fill(["dpo", name], ["clean"], sizes=False)


def test_a_misspelt_objective_is_not_passed_over():
    with pytest.raises(ConfigError, match='objective "ipoo" does not exist .*did you mean "ipo"'):
        fill(["dpo", "ipoo"], ["clean"], sizes=False)


def test_one_s_own_objective_has_a_row(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch.nn.functional import softplus\n"
        "from logratio.objectives.views import PairLogps\n\n\n"
        "def again(pairs: PairLogps, *, beta: float = 0.1):\n"
        "    return softplus(-beta * pairs.difference)\n"
    )
    lab = fill([f"{tmp_path / 'mine.py'}:again"], ["clean"], sizes=False)
    (cell,) = lab.cells.values()
    assert cell.kind == "finite" and cell.distance_at_one < 1e-9


@pytest.mark.slow
def test_no_cell_is_left_without_a_verdict():
    began = time.process_time()
    lab = fill(sizes=False)
    assert time.process_time() - began < 180
    assert not [f"{cell.objective} in {cell.regime}" for cell in lab.cells.values() if cell.kind == "stalled"]
    assert all(brief(cell) for cell in lab.cells.values())
