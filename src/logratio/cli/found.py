"""A finding of the checks before a run, as lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.style import Style
from rich.text import Text

from ..report.text import visible

_STYLES = {"pass": "green", "note": "cyan", "warn": "yellow", "fail": "bold red"}
_SHOWN = 300


def lines(finding: Mapping[str, Any], verdict: str) -> list[Text]:
    """Return a finding's sentence with its time; where it is no pass, remedy and examples too (of tokens always).

    What a model is trained on is green and underlined, and named so; what it only reads is dim.

    Args:
        finding: As `Finding.as_json` gives it.
        verdict: pass, note, warn or fail.
    """
    seconds = finding["seconds"]
    head = Text(f"{verdict:4}", style=_STYLES[verdict])
    head.append(f"  {finding['name']}: {one_line(finding['says'])}", style=Style())
    if seconds is not None:
        head.append(f" [{seconds:.3f} s]", style="dim")
    out = [head]
    if verdict != "pass" and finding["remedy"]:
        out.append(Text(f"      {one_line(finding['remedy'])}"))
    shown = verdict != "pass" or finding["name"].endswith("tokens_shown")
    for example in finding["examples"] if shown else ():
        out.append(Text(f"      {one_line(example['origin'])}", style="dim"))
        for name, text in example["texts"].items():
            trained = name.endswith("trained on")
            line = Text(f"      {one_line(name)}: ", style="dim")
            line.append(_cut(one_line(text)), style="green underline" if trained else "dim")
            out.append(line)
    return out


def one_line(text: str) -> str:
    """Return a text as a terminal may show it: on one line, a newline as ⏎, and nothing that hides, turns or commands.

    A row of data can hold anything; no character of it reaches the terminal that `report.text.visible` spells out.
    """
    return visible(text).replace("\n", "⏎")


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]} … {text[-_SHOWN // 2 :]}"
