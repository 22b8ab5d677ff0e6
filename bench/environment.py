"""The peer's own virtual environment: made once, outside the project's, with the versions that the project has."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from logratio.files import cache_root

TRL = "1.16.0"
SAME = ("transformers", "accelerate", "datasets", "tokenizers", "safetensors", "numpy", "huggingface_hub", "pyarrow")
"""What both sides shall have in the same version, beside torch."""

SHOWN = ("torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy")


class EnvironmentMissing(Exception):
    """The peer cannot be installed here; says why in one sentence."""


def default() -> Path:
    """Return where the environment lies unless another place is asked for."""
    return cache_root() / "bench" / f"trl-{TRL}"


def python_of(folder: Path) -> Path:
    """Return the environment's interpreter."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def usable(folder: Path) -> bool:
    """Whether the environment is there and holds the wanted TRL, on the torch of this one."""
    found = versions(folder) if python_of(folder).is_file() else {}
    return found.get("trl") == TRL and _release(found.get("torch", "")) == _release(version("torch"))


def ensure(folder: Path) -> Path:
    """Return the interpreter of an environment with TRL, installing it on first use.

    Raises:
        EnvironmentMissing: pip could not install it, or the folder holds something else.
    """
    python = python_of(folder)
    if usable(folder):
        return python
    if folder != default() and folder.is_dir() and any(folder.iterdir()):
        raise EnvironmentMissing(
            f"{folder} is not empty and holds no TRL {TRL} on torch {_release(version('torch'))}, and installing would "
            "empty it: name a folder that is empty or absent, or leave --trl-env out."
        )
    print(f"installing TRL {TRL} into {folder}, once; this takes some minutes", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    torch = _release(version("torch"))
    _pip(python, f"torch=={torch}")
    pins = [f"torch=={torch}", *(f"{name}=={found}" for name in SAME if (found := _own(name)))]
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pins) + "\n", encoding="utf-8")
    try:
        _pip(python, f"trl=={TRL}", "-c", str(constraints))
    except EnvironmentMissing as error:
        print(f"TRL does not take the project's versions ({error}); torch alone is held", flush=True)
        constraints.write_text(pins[0] + "\n", encoding="utf-8")
        _pip(python, f"trl=={TRL}", "-c", str(constraints))
    return python


def versions(folder: Path) -> dict[str, str]:
    """Return name → version of what the environment holds, as far as it is shown; empty if it does not work."""
    ask = (
        "import json\nfrom importlib.metadata import version, PackageNotFoundError\nfound = {}\n"
        f"for name in {('trl', *SHOWN)!r}:\n"
        "    try:\n        found[name] = version(name)\n    except PackageNotFoundError:\n        pass\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run([str(python_of(folder)), "-c", ask], capture_output=True, text=True, check=False)
    found: dict[str, str] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found


def own_versions() -> dict[str, str]:
    """Return name → version of what this process has."""
    return {name: found for name in ("logratio", *SHOWN) if (found := _own(name))}


def _release(found: str) -> str:
    return found.partition("+")[0]  # builds of one release differ in what follows


def _own(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _pip(python: Path, *arguments: str) -> None:
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "-q", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise EnvironmentMissing(f"pip install {' '.join(arguments)} failed: {last}")
