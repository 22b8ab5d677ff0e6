"""A finding of the checks before a run, as lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.style import Style
from rich.text import Text

_STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red"}
_SHOWN = 300
_CONTROLS = {code: chr(0x2400 + code) for code in range(32)} | {10: "⏎", 127: "␡", 0x9B: "␛"}
"""Control characters as their pictures, so that a row of data cannot speak to the terminal."""
_TURNING = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F), "�")


def lines(finding: Mapping[str, Any], verdict: str) -> list[Text]:
    """Return a finding's sentence with its time; where it is no pass, remedy and examples too (of tokens always).

    What a model is trained on is green and underlined, and named so; what it only reads is dim.

    Args:
        finding: As `Finding.as_json` gives it.
        verdict: pass, warn or fail.
    """
    seconds = finding["seconds"]
    head = Text(f"{verdict:4}", style=_STYLES[verdict])
    head.append(f"  {finding['name']}: {visible(finding['says'])}", style=Style())
    if seconds is not None:
        head.append(f" [{seconds:.3f} s]", style="dim")
    out = [head]
    if verdict != "pass" and finding["remedy"]:
        out.append(Text(f"      {visible(finding['remedy'])}"))
    shown = verdict != "pass" or finding["name"] == "tokens_shown"
    for example in finding["examples"] if shown else ():
        out.append(Text(f"      {visible(example['origin'])}", style="dim"))
        for name, text in example["texts"].items():
            trained = name.endswith("trained on")
            line = Text(f"      {visible(name)}: ", style="dim")
            line.append(_cut(visible(text)), style="green underline" if trained else "dim")
            out.append(line)
    return out


def visible(text: str) -> str:
    """Return a text on one line with control characters as pictures, and marks that turn the direction as �."""
    return text.translate(_CONTROLS).translate(_TURNING)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]} … {text[-_SHOWN // 2 :]}"
