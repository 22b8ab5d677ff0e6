"""What every page keeps to: links lead somewhere, commands exist, Python runs, and written parts are current."""

import json
import re
import shlex
import subprocess
import sys
from functools import reduce

import pytest
import yaml
from cyclopts import CycloptsError
from docs_pages import PAGES, ROOT, WRITTEN, blocks, commands, mentioned, part, python

from logratio import objectives
from logratio.cli.app import VERBS, build
from logratio.config import RunConfig
from logratio.data.formats import FORMATS, sniff
from logratio.data.schema import Row
from logratio.metrics import METRICS
from logratio.records import Origin
from logratio.train.foreign import RENAMED, TOOLS
from logratio.train.keys import keys, sections
from logratio.train.recipe import resolve

RUN_ELSEWHERE = {
    "theory.md": "tests/test_theory.py",
    "from-trl.md": "tests/data/test_data_from_trl.py",
    "library.md": "tests/test_library.py",
    "judges.md": "tests/test_judges_page.py",
    "README.md": "tests/test_readme.py",
}
"""Pages whose Python has a test of its own, since it needs more than an empty folder."""

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FILES = ("manifest.json", "config.yaml", "metrics.jsonl", "recipes/published")
_FETCHED = re.compile(
    r'<(?:script|img|iframe)[^>]* src="([^"]+)"|<link[^>]* rel="(?:stylesheet|preload|icon)"[^>]* href="([^"]+)"'
)
_FENCES = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def anchors(page):
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", PAGES[page], flags=re.M | re.S), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "") for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower().replace(" ", "-")) for heading in plain}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page):
    folder = ROOT if page == "README.md" else ROOT / "docs"
    for link in _LINK.findall(_CODE.sub("", PAGES[page])):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (folder / path).resolve() if path else folder / page
        assert target.is_file() and target.is_relative_to(ROOT), f"{page}: {link} leads nowhere"
        if anchor:
            assert anchor in anchors(target.name), f"{page}: {target.name} has no heading {anchor}"


def test_every_page_is_in_the_navigation():
    listed = re.findall(
        r"^.+ <(.+)>$", "\n".join(re.findall(r"```\{toctree\}\n(.*?)```", PAGES["index.md"], re.S)), re.M
    )
    assert sorted(listed) == sorted(page.removesuffix(".md") for page in PAGES if page not in ("index.md", "README.md"))


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_blocks_parse(page):
    app = build()
    for words in commands(page):
        try:
            _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
        except CycloptsError as error:
            raise AssertionError(f"{page}: logratio {shlex.join(words)}: {error}") from None
        unknown = [word for word in bound.args if isinstance(word, str) and word.startswith("--")]
        assert not unknown, f"{page}: logratio {shlex.join(words)}: {unknown} is no option"


def test_commands_in_running_text_name_verbs_and_options_that_exist():
    app = build()
    known = {verb.name: {"--help", "--debug"} for verb in VERBS}
    for verb in VERBS:
        for argument in app[verb.name].assemble_argument_collection():
            known[verb.name] |= set(argument.names)
    for page in PAGES:
        for words in mentioned(page):
            verb, options = words[0], {re.match(r"--[\w.-]*", word)[0] for word in words if word.startswith("--")}
            if verb.startswith("--"):
                assert verb in ("--help", "--version"), (page, words)
            elif not verb.isupper():
                assert verb in known, f"{page}: logratio has no command {verb}"
                assert options <= known[verb], f"{page}: logratio {verb} has no {options - known[verb]}"


@pytest.mark.parametrize("page", [page for page in PAGES if python(page) and page not in RUN_ELSEWHERE])
def test_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for body in python(page):
        exec(compile(body, page, "exec"), names)


def test_python_that_is_run_elsewhere_is_run_there():
    for page, test in RUN_ELSEWHERE.items():
        text = (ROOT / test).read_text(encoding="utf-8")
        assert python(page) and page in text


@pytest.mark.parametrize(("page", "mark"), WRITTEN)
def test_written_parts_are_current(page, mark):
    """Written by `PYTHONPATH=tests python tests/docs/docs_pages.py`."""
    assert part(page, mark) == WRITTEN[page, mark](), "run: PYTHONPATH=tests python tests/docs/docs_pages.py"


def test_recipes_are_valid():
    for page in ("recipe.md", "from-llama-factory.md", "from-axolotl.md"):
        for body in blocks(page, "yaml"):
            RunConfig(**{**(recipe := yaml.safe_load(body)), "lora": None if recipe["lora"] == 16 else recipe["lora"]})


@pytest.mark.parametrize(("page", "tool"), [("from-llama-factory.md", "LLaMA-Factory"), ("from-axolotl.md", "Axolotl")])
def test_another_tool_s_file_is_answered_key_by_key_and_is_the_job_of_the_recipe_beside_it(page, tool):
    theirs, (ours,) = (list(map(yaml.safe_load, blocks(page, language))) for language in ("text", "yaml"))
    theirs = theirs[0]
    assert len(theirs) > 40 and not theirs.keys() - set(TOOLS[tool])
    recipe = resolve(ours).config.model_dump(mode="json")
    for key in theirs.keys() & RENAMED.keys() - {"rl", "stage", "datasets", "dataset", "lora_target"}:
        own = reduce(lambda at, name: at[name], RENAMED[key].split("."), recipe)
        value = [theirs[key]] if key == "report_to" else theirs[key]
        value = float(value) if isinstance(own, float) else value
        assert own == value or (own == "on" and value is True), (key, own, value)
    batch = theirs.get("micro_batch_size") or theirs.get("per_device_train_batch_size")
    assert recipe["train"]["batch_size"] == batch * theirs["gradient_accumulation_steps"]


def test_each_format_is_read_as_the_one_it_stands_under():
    shown = re.findall(r"^### (.+?)\n.*?^```json\n(.*?)^```", PAGES["formats.md"], re.MULTILINE | re.DOTALL)
    assert [name for name, _ in shown] == [entry.name for entry in FORMATS]
    for name, body in shown:
        row = Row(json.loads(body), Origin("formats.md", 1))
        assert sniff([row]).name == name and sniff([row]).build(row)


def test_symptoms_name_findings_metrics_and_keys_that_exist():
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    ours = set(keys(RunConfig)) | set(sections(RunConfig)) | set(METRICS) | set(objectives.names())
    for name in objectives.names():
        ours |= set(keys(objectives.load(name).settings, "objective."))
    numbers = [int(number) for number in re.findall(r"^### (\d+)\. ", PAGES["symptoms.md"], re.MULTILINE)]
    assert sorted(numbers) == list(range(1, 33))
    assert PAGES["symptoms.md"].count("*Check.*") == PAGES["symptoms.md"].count("*Do.*") == 32
    for word in re.findall(r"`([a-z][a-z_.]*[a-z])(?:: [^`]+)?`", _FENCES.sub("", PAGES["symptoms.md"])):
        assert word in ours or f'"{word}"' in source or (ROOT / word).exists() or word in _FILES, word


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_asks_nothing_of_the_network(tmp_path):
    build_it = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", tmp_path / "trees"]
    done = subprocess.run([*build_it, ROOT / "docs", tmp_path / "site"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        fetched = _FETCHED.findall(page.read_text(encoding="utf-8"))
        assert fetched and not [address for address in fetched if "//" in address], page
    for sheet in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet
