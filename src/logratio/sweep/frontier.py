"""What a study found: every run's points, the frontier above them, best-of-N, and rewards at equal KL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..evaluate.frontier import BIAS, best_of_n, beta_ladder, frontier_at, gibbs_tilts
from ..evaluate.tracks import Track, crossing, reward_at
from ..maths.intervals import mean_interval
from .points import Ruler, measured, reference_rewards
from .record import Entry
from .study import Planned, setting_of

FRONTIER = "frontier.json"

ENOUGH = 0.9
"""Share of the prompts that all runs must have been measured on."""


def compose(planned: Planned, folder: Path, entries: Sequence[Entry], ruler: Ruler) -> dict[str, Any]:
    """Return what `frontier.json` holds: points of all runs, frontier, best-of-N, and rewards at equal KL."""
    config = planned.config
    points = {entry["name"]: measured(folder / entry["name"], ruler) for entry in entries}
    reference = reference_rewards(folder, ruler)
    common = _common([rows[0]["prompts"] for rows in points.values() if rows], folder)
    points = {name: [_at(row, common) for row in rows] for name, rows in points.items()}
    rewards = np.array(reference["rewards"]) if reference else None
    tilts = [] if rewards is None else gibbs_tilts(rewards, beta_ladder(rewards))
    ns = [] if rewards is None else [2**i for i in range(rewards.shape[1].bit_length()) if 2**i <= rewards.shape[1]]
    bests = [] if rewards is None else best_of_n(rewards, ns)
    variants = list(dict.fromkeys(entry["values"]["variant"] for entry in entries))
    tracks = {name: _tracks([e for e in entries if e["values"]["variant"] == name], points) for name in variants}
    levels = []
    for level in config.levels:
        best = crossing([one.distance for one in bests], [one.reward.mean or 0.0 for one in bests], level)
        rows = {name: asdict(reward_at(own, level)) for name, own in tracks.items() if own}
        levels.append({"kl": level, "frontier": frontier_at(tilts, level), "best_of_n": best, "methods": rows})
    return {
        "title": folder.name,
        "judge": config.judge.model_dump(mode="json", exclude_defaults=True),
        "model": planned.model,
        "seeds": list(config.seeds),
        "prompts": len(rewards) if rewards is not None else None,
        "samples": ruler.samples,
        "reference": None if rewards is None else mean_interval(rewards.mean(1)).to_json(),
        "lost": _lost(points, reference),
        "bias": BIAS,
        "tilts": [{**asdict(tilt), "trusted": tilt.trusted} for tilt in tilts],
        "best_of_n": [{**asdict(best), "distance": best.distance} for best in bests],
        "runs": [_run(entry, points[entry["name"]]) for entry in entries],
        "settings": _settings(entries, points),
        "levels": levels,
    }


def _common(prompts: Sequence[Sequence[str]], folder: Path) -> list[str]:
    """Return the prompts that all runs were measured on; an objective's data rules may have left some out of a run.

    Raises:
        ConfigError: They are too few of all to speak for them.
    """
    if not prompts:
        return []
    shared = set(prompts[0]).intersection(*prompts[1:])
    most = max(map(len, prompts))
    if len(shared) < ENOUGH * most:
        raise ConfigError(
            f"of up to {most} prompts the runs in {folder} share {len(shared)}, so their points do not compare; give "
            "all the same eval.data, with eval.max_groups large enough for it, and another --output."
        )
    return [name for name in prompts[0] if name in shared]


def _at(row: Mapping[str, Any], common: Sequence[str]) -> dict[str, Any]:
    """Return a row of points with its values at some prompts alone; NaN for both where the judge had no verdict."""
    place = {name: i for i, name in enumerate(row["prompts"])}
    rewards, kls = (np.array([row[key][place[name]] for name in common], np.float64) for key in ("rewards", "kls"))
    return {**row, "rewards": rewards, "kls": np.where(np.isfinite(rewards), kls, np.nan)}


def _lost(points: Mapping[str, Sequence[Mapping[str, Any]]], reference: Mapping[str, Any] | None) -> str:
    """Return on how many samples the judge had no verdict, a sentence; "" where it had one on all."""
    rows = [row for own in points.values() for row in own]
    lost, of = sum(row.get("lost", 0) for row in rows), sum(len(row["prompts"]) for row in rows)
    also = 0 if reference is None else reference.get("lost", 0)
    if not lost + also:
        return ""
    return (
        f"The judge had no verdict on {lost:,} of {of:,} samples of the runs and on {also:,} of the reference's; they "
        "are left out."
    )


def lines(document: Mapping[str, Any]) -> list[str]:
    """Return the rewards at equal KL as lines of text, a method each, under what bounds them."""
    levels = document["levels"]
    names = list(dict.fromkeys(name for level in levels for name in level["methods"]))
    rows = [["", *(f"{level['kl']:g} nat" for level in levels)]]
    rows += [
        [title, *("—" if level[key] is None else f"{level[key]:.2f}" for level in levels)]
        for title, key in (("frontier", "frontier"), ("best-of-N", "best_of_n"))
    ]
    rows += [[name, *(_told(level["methods"].get(name)) for level in levels)] for name in names]
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    told = ["".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return [*told, lost] if (lost := document.get("lost")) else told


def _told(found: Mapping[str, Any] | None) -> str:
    if found is None or found["reward"]["mean"] is None:
        return "—"
    measure = found["reward"]
    ends = "" if measure["low"] is None else f" [{measure['low']:.2f}, {measure['high']:.2f}]"
    return f"{measure['mean']:.2f}{ends} {found['setting']}".rstrip()


def _tracks(entries: Sequence[Entry], points: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Track]:
    return [
        Track(
            setting_of(entry["values"]),
            np.array([row["kls"] for row in rows]),
            np.array([row["rewards"] for row in rows]),
        )
        for entry in entries
        if (rows := points[entry["name"]])
    ]


def _run(entry: Entry, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    kept = ("step", "reward", "kl", "lost", "length", "tokens", "seconds")
    values = entry["values"]
    return {
        "name": entry["name"],
        "variant": values["variant"],
        "setting": setting_of(values),
        "seed": values["seed"],
        "status": entry["status"],
        "error": entry["error"],
        "seconds": entry["seconds"],
        "points": [{key: row[key] for key in kept if key in row} for row in rows],
    }


def _settings(entries: Sequence[Entry], points: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return each setting's evaluations, averaged over its runs, with intervals over prompts and runs."""
    groups: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        if points[entry["name"]]:
            groups.setdefault((entry["values"]["variant"], setting_of(entry["values"])), []).append(entry["name"])
    out = []
    for (variant, setting), names in groups.items():
        own = [points[name] for name in names]
        count = min(map(len, own))
        means = []
        for m in range(count):
            rewards, kls = (np.array([rows[m][key] for rows in own]) for key in ("rewards", "kls"))
            means.append({"step": own[0][m]["step"], "reward": _pooled(rewards), "kl": _pooled(kls)})
        out.append({"variant": variant, "setting": setting, "runs": names, "points": means})
    return out


def _pooled(values: NDArray[np.float64]) -> dict[str, Any]:
    """Return the mean of [runs, prompts] with a 95 % interval: prompts and runs vary, each by its own share.

    NaN, of a sample without a verdict, counts in no mean.
    """
    known = np.ma.masked_invalid(values)
    over_prompts = mean_interval(known.mean(0).compressed())
    if len(values) < 2 or over_prompts.se is None or over_prompts.mean is None:
        return over_prompts.to_json()
    between = float(known.mean(1).var(ddof=1)) / len(values)
    se = float(np.sqrt(over_prompts.se**2 + between))
    half = 1.96 * se
    mean = over_prompts.mean
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": int(known.count()), "se": se}
