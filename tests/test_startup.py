"""What a fresh process loads, and that help costs next to nothing: what is imported is waited for."""

import os
import subprocess
import sys

HEAVY = {"transformers", "datasets", "tokenizers", "pyarrow", "peft", "bokeh", "pandas", "accelerate", "bitsandbytes"}


STAGES = {
    "import logratio": HEAVY | {"torch", "numpy", "pydantic", "yaml"},
    "import logratio.objectives as o; [o.load(name) for name in o.names()]": HEAVY,
    "import logratio.cli.train": HEAVY,
    "import logratio.train.api": HEAVY - {"tokenizers"},
}
"""What a process does, in turn, and what it must not have loaded by then."""


def loaded(*stages: str) -> list[set[str]]:
    """Top-level modules that a fresh process has loaded after each of these stages."""
    told = "\nimport sys; print('LOADED', *{name.partition('.')[0] for name in sys.modules})\n"
    code = "".join(stage + told for stage in stages)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [set(line.split()[1:]) for line in done.stdout.splitlines() if line.startswith("LOADED ")]


def test_nothing_heavy_is_loaded_before_it_is_needed():
    found = loaded(*STAGES)
    assert len(found) == len(STAGES) and "torch" in found[1]
    for stage, own in zip(STAGES, found, strict=True):
        assert "logratio" in own and not own & STAGES[stage], stage


def test_help_costs_little_and_loads_no_library():
    (found,) = loaded("import logratio.cli.app as app\ntry:\n    app.main(['--help'])\nexcept SystemExit: pass")
    assert not found & (HEAVY | {"torch", "numpy", "pydantic", "yaml", "cyclopts", "rich"})
    before = os.times()
    shown = subprocess.run([sys.executable, "-m", "logratio", "--help"], capture_output=True, text=True, check=True)
    after = os.times()
    assert "quickstart" in shown.stdout
    assert after.children_user + after.children_system - before.children_user - before.children_system < 0.3
