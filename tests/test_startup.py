"""What a fresh process loads, and that help costs next to nothing: what is imported is waited for."""

import os
import subprocess
import sys

import pytest

HEAVY = {"transformers", "datasets", "tokenizers", "pyarrow", "peft", "bokeh", "pandas", "accelerate", "bitsandbytes"}


def loaded(code: str) -> set[str]:
    """Top-level modules that a fresh process has loaded after running `code`."""
    shown = f"{code}\nimport sys; print('LOADED', *sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("LOADED ")[2].split())


@pytest.mark.parametrize(
    ("code", "light_of"),
    [
        ("import logratio", HEAVY | {"torch", "numpy", "pydantic", "yaml"}),
        ("import logratio.objectives as o; [o.load(name) for name in o.names()]", HEAVY),
        ("import logratio.cli.train", HEAVY),
        ("import logratio.train.api", HEAVY - {"tokenizers"}),
    ],
    ids=["package", "every objective", "recipe and its checks", "what trains"],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code, light_of):
    found = loaded(code)
    assert "logratio" in found and not found & light_of


def test_help_costs_little_and_loads_no_library():
    found = loaded("import logratio.cli.app as app\ntry:\n    app.main(['--help'])\nexcept SystemExit: pass")
    assert not found & (HEAVY | {"torch", "numpy", "pydantic", "yaml", "cyclopts", "rich"})
    before = os.times()
    shown = subprocess.run([sys.executable, "-m", "logratio", "--help"], capture_output=True, text=True, check=True)
    after = os.times()
    assert "quickstart" in shown.stdout
    assert after.children_user + after.children_system - before.children_user - before.children_system < 0.3
