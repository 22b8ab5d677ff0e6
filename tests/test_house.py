"""The house is in order: everything pinned, nothing muted, files and functions of readable length."""

import ast
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)
PINNED = {canonicalize_name(name): version for name, version in PINS.items()}
SOURCES = sorted((ROOT / "src").rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 400, 60


EXTRAS = re.findall(r"-e '\.\[([\w,]+)\]'", (ROOT / "Makefile").read_text(encoding="utf-8"))


def installed_by_make():
    """Return every distribution that the Makefile installs, followed through what is installed here."""
    extras = PROJECT["project"]["optional-dependencies"]
    waiting = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
    waiting += [Requirement(text) for name in ",".join(EXTRAS).split(",") for text in extras[name]]
    seen = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, *sorted(wanted.extras)) in seen:
            continue
        seen.add((name, *sorted(wanted.extras)))
        try:
            below = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:
            continue  # an optional part that this machine does not take
        chosen = [{"extra": extra} for extra in ("", *wanted.extras)]
        waiting += [need for need in below if not need.marker or any(map(need.marker.evaluate, chosen))]
    return {name for name, *_ in seen}


def test_every_dependency_is_pinned_exactly():
    brought = installed_by_make()
    assert len(brought) > 60 and "torch" in brought
    hardware = {name for name in brought if name.startswith(("nvidia-", "cuda-")) or name == "triton"}
    assert not {name for name in brought - hardware if name not in PINNED}


def test_pins_are_versions_without_hardware_and_within_range():
    assert PINNED["torch"] == "2.13.0"
    assert all(re.fullmatch(r"[\w.]+", version) for version in PINS.values())
    for text in PROJECT["project"]["dependencies"]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(PINNED[canonicalize_name(wanted.name)]), text


def test_making_the_wheel_leaves_what_else_is_built():
    planned = subprocess.run(["make", "-n", "wheel"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    removed = [pattern for line in re.findall(r"^rm -rf (.+)$", planned, re.MULTILINE) for pattern in line.split()]
    assert removed and not [
        pattern for pattern in removed for kept in ("build", "build/site", "build/bench") if fnmatch(kept, pattern)
    ]


def test_no_checker_is_muted():
    mark = re.compile(r"#\s*(noqa|type:\s*ignore|pragma|fmt:\s*(off|skip)|ruff:)")
    muted = [path for path in (*SOURCES, *(ROOT / "tests").rglob("*.py")) if mark.search(path.read_text("utf-8"))]
    assert not muted


def test_files_and_functions_are_of_readable_length():
    long = []
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > LONGEST_FILE:
            long.append((path.name, text.count("\n")))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.end_lineno - node.lineno + 1 - len((ast.get_docstring(node) or "").splitlines())
                if body > LONGEST_FUNCTION:
                    long.append((f"{path.name}:{node.name}", body))
    assert not long
