"""The pages, their blocks, and what programs write into them.

`PYTHONPATH=tests python tests/docs/docs_pages.py` writes every such part again.
"""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path

from logratio.config import RunConfig
from logratio.train.foreign import table, tool_table
from logratio.train.keys import Key, keys, sections

ROOT = Path(__file__).resolve().parents[2]
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
PAGES["README.md"] = (ROOT / "README.md").read_text(encoding="utf-8")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`(logratio [^`\n]+(?:\n[^`\n]+)?)`(?!`)")
NOT_RUN = re.compile(r"<!-- not run: [^>]+ -->\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
"""A block of Python with the reason why it is not run, which stands just above it."""


def blocks(page: str, *languages: str) -> list[str]:
    """Return the fenced blocks of a page that are in one of these languages; "" is a fence without one."""
    return [body for language, body in _FENCE.findall(PAGES[page]) if language in languages]


def python(page: str) -> list[str]:
    """Return the blocks of Python that are to be run, in order."""
    excused = NOT_RUN.findall(PAGES[page])
    return [body for body in blocks(page, "python") if body not in excused]


def commands(page: str) -> Iterator[list[str]]:
    """Yield the words of each `logratio` command line in a page's blocks, refused ones left out."""
    for line in "\n".join(blocks(page, "bash", "sh", "")).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True) if line.lstrip().startswith(("logratio ", "torchrun ")) else []
        if words and "# refused" not in line:
            yield words[words.index("logratio") + 1 :]


def mentioned(page: str) -> Iterator[list[str]]:
    """Yield the words of each `logratio …` in the running text of a page."""
    for found in _SPAN.findall(_FENCE.sub("", PAGES[page])):
        yield found.split()[1:]


def recipe() -> str:
    """Return the recipe's keys, a table for each section."""
    known = keys(RunConfig)
    parts = [_table([key for path, key in known.items() if "." not in path])]
    for section in sections(RunConfig):
        own = [key for path, key in known.items() if path.rpartition(".")[0] == section]
        says, absent = _about(section)
        parts += [f"## {section}", says + (" *Absent by default.*" if absent else "")]
        parts.append("The keys of [judge](#judge)." if section == "eval.judge" else _table(own))
    return "\n\n".join(parts)


def _table(found: list[Key]) -> str:
    rows = [
        f"| `{key.path}` | {key.rule} | {'*required*' if key.default is None and not key.open else _default(key)} | "
        f"{_escaped(key.description)} |"
        for key in found
    ]
    return "\n".join(["| key | what it may be | default | what it is |", "| --- | --- | --- | --- |", *rows])


def _default(key: Key) -> str:
    return f"`{key.default}`".replace("'", "") if key.default not in (None, "none") else "none"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _about(section: str) -> tuple[str, bool]:
    """Return what a section's record says of itself, and whether it is absent unless given."""
    schema = RunConfig.model_json_schema()
    at, absent = schema, False
    for name in section.split("."):
        field = at["properties"][name]
        absent = "anyOf" in field
        reference = (field["anyOf"][0] if absent else field)["$ref"]
        at = schema["$defs"][reference.rpartition("/")[2]]
    return _escaped(" ".join(at["description"].split())), absent


WRITTEN: Mapping[tuple[str, str], Callable[[], str]] = {
    ("recipe.md", "keys"): recipe,
    ("from-trl.md", "keys"): table,
    ("from-llama-factory.md", "keys"): lambda: tool_table("LLaMA-Factory"),
    ("from-axolotl.md", "keys"): lambda: tool_table("Axolotl"),
    ("support.md", "matrix"): lambda: import_module("support_cells").matrix(),
}
"""Page and mark → the function that writes what stands between `<!-- MARK -->` and `<!-- /MARK -->`."""


def part(page: str, mark: str) -> str:
    """Return what stands between two marks of a page."""
    return PAGES[page].partition(f"<!-- {mark} -->\n")[2].partition(f"\n<!-- /{mark} -->")[0]


def write() -> None:
    """Write every part again."""
    for (page, mark), made in WRITTEN.items():
        path = ROOT / "docs" / page
        head, opening, rest = path.read_text(encoding="utf-8").partition(f"<!-- {mark} -->\n")
        tail = rest.partition(f"<!-- /{mark} -->")
        path.write_text(f"{head}{opening}{made()}\n{tail[1]}{tail[2]}", encoding="utf-8")


if __name__ == "__main__":
    write()
