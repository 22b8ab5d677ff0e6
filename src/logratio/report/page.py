"""The report of a run: its files → `report.html`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import atomic_path
from . import kit
from .kit import Block, Facts, Interval, Notice, Page, Prose, Sample, Section
from .names import RETAIN, metric
from .panels import not_finite, plots
from .read import Row, RunFiles, interval, read_run
from .render import render
from .summary import Measured, tiles, verdict
from .text import number, plain

PROMPTS = 24
"""Prompts in the sample browser; further ones are counted."""

CHARACTERS = 8_000
"""Characters of one prompt or sample that are shown; further ones are counted."""


def write_report(run: Path) -> Path:
    """Write `report.html` into a run directory and return its path.

    Reads `manifest.json`, `config.yaml`, `metrics.jsonl`, `samples.jsonl` and `evaluation.json`; what is absent or
    unreadable is said on the page.

    Raises:
        RunError: `run` holds no readable manifest.
        LogratioError: The page cannot be written.
    """
    target = run / "report.html"
    html = render(compose(read_run(run)))
    with atomic_path(target) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return target


def compose(run: RunFiles) -> Page:
    """Return the report of a run as a page."""
    measured = _measured(run)
    answer = verdict(measured)
    notices = _notices(run)
    sick = any(notice.tone == "bad" for notice in notices)
    sections = [
        Section("Curves", plots(run) or [Prose(["No metric was logged."])], _curves_lead(run)),
        Section("Evaluation", _evaluation(run, measured)),
        *([] if _scores(run) else [Section("Samples, before and after", _samples(run), _samples_lead(run))]),
        Section("What this page does not show", [Prose(_limits(measured))]),
        Section("How it was run", _how(run)),
    ]
    return Page(
        title=f"{Path(_model(run)).name}, {_objective(run)}",
        kicker="logratio run report",
        headline=answer.headline,
        tone="warn" if sick and answer.tone == "good" else answer.tone,
        support=answer.support,
        notices=notices,
        top=[kit.Tiles(tiles(measured)), Facts(_facts(run))],
        sections=sections,
        footer=f"Written from {run.path.name}/ by logratio. The page holds its own data and makes no request.",
    )


def _model(run: RunFiles) -> str:
    return plain(run.config.get("model") or _mapping(run.manifest.get("model")).get("name") or "unnamed model")


def _objective(run: RunFiles) -> str:
    named = (_mapping(run.manifest.get("objective")), _mapping(run.config.get("objective")))
    return plain(next((entry["name"] for entry in named if entry.get("name")), "objective not recorded"))


def _scores(run: RunFiles) -> bool:
    """Whether a reward model was trained, which does not generate."""
    return _mapping(run.manifest.get("objective")).get("head") == "score"


def _finished(run: RunFiles) -> bool:
    """Whether training came to its end; the last evaluation is written only then."""
    status = run.manifest.get("status")
    return status == "finished" or (status == "running" and bool(run.evaluation))


def _measured(run: RunFiles) -> Measured:
    logged = run.evals[0] if run.evals and run.evals[0]["step"] == 0 else {}
    first = run.evaluation.get("before") or logged  # of a best checkpoint: step 0 on the prompts it is reported on
    if run.evaluation:
        last, what = run.evaluation, "final model" if _scores(run) else "final policy"
    elif run.evals and run.evals[-1]["step"] > 0:
        last = run.evals[-1]
        what = f"step {last['step']:,}"
    else:
        last, what = {}, "no step"
    return Measured(_intervals(first), _intervals(last), what, generates=not _scores(run))


def _intervals(row: Row) -> dict[str, Interval]:
    found = {name: interval(row, name) for name in row if name not in ("kind", "step", "time")}
    return {name: value for name, value in found.items() if value is not None}


def _notices(run: RunFiles) -> list[Notice]:
    notices = []
    status = run.manifest.get("status")
    last = max((row["step"] for row in (*run.train, *run.evals)), default=0)
    reached = f"the last logged step is {last:,}"
    if total := run.manifest.get("steps"):
        reached += f" of {total:,}"
    if status == "running" and not _finished(run):
        notices.append(Notice("warn", f"The run was not finished when this page was written: {reached}."))
    elif status == "interrupted":
        resume = f"`logratio train --resume {run.path.name}` goes on from there"
        notices.append(Notice("warn", f"The run was interrupted: {reached}; {resume}."))
    elif not _finished(run):
        cause = plain(run.manifest.get("error") or "no cause was recorded").rstrip(".")
        notices.append(
            Notice("bad", f"The run did not finish (status: {plain(status or 'unknown')}): {cause}; {reached}.")
        )
    if broken := not_finite(run):
        notices.append(Notice("bad", broken))
    notices += [Notice("warn", problem) for problem in run.problems]
    return notices


def _facts(run: RunFiles) -> list[tuple[str, str]]:
    manifest, config = run.manifest, run.config
    objective, reference = _mapping(manifest.get("objective")), _mapping(manifest.get("reference"))
    settings = _mapping(config.get("objective"))
    options = ", ".join(f"{key} = {plain(value)}" for key, value in settings.items() if key != "name")
    name = _objective(run)
    facts = [
        ("Model", _model(run)),
        ("Data", _data(config.get("data"))),
        ("Objective", f"{name} ({options})" if options else name),
        ("Formula", plain(objective.get("formula", "not recorded"))),
        ("Reference", plain(reference.get("description") or reference.get("kind") or "none")),
        ("Learning rate", _rate(run)),
    ]
    if run.train:
        seconds = run.train[-1].get("time")
        took = f" in {_duration(seconds)}" if isinstance(seconds, (int, float)) and math.isfinite(seconds) else ""
        facts.append(("Trained", f"{run.train[-1]['step']:,} steps{took}"))
    return facts


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _data(parts: Any) -> str:
    if not isinstance(parts, list):
        return plain(parts) if parts else "not recorded"
    said = []
    for part in parts:
        weight = _mapping(part).get("weight", 1)
        said.append(plain(_mapping(part).get("path", part)) + (f" × {weight}" if weight != 1 else ""))
    return ", ".join(said)


def _rate(run: RunFiles) -> str:
    rate = _mapping(run.config.get("train")).get("lr", "not recorded")
    source = run.manifest.get("lr_source")
    said = number(rate) if isinstance(rate, float) else plain(rate)
    return f"{said} ({plain(source)})" if source else said


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    if minutes:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{rest} s"


def _curves_lead(run: RunFiles) -> str:
    said = [f"{len(run.train):,} logged steps and {len(run.evals)} evaluations."] if run.train or run.evals else []
    return " ".join([*said, "The zoom tool, shown over a plot, moves all of them together."])


def _evaluation(run: RunFiles, measured: Measured) -> list[Block]:
    if not measured.after:
        return [Prose(["No evaluation was written. `logratio eval RUN --data FILE` measures this run on any data."])]
    rows = []
    for name, after in measured.after.items():
        shown = metric(name)
        label = f"{shown.label} ({shown.unit})" if shown.unit else shown.label
        rows.append([label, measured.before.get(name), after, str(after.n) if after.n is not None else None])
    columns = ["metric", "step 0", measured.after_what, "n"]
    caption = "Means with 95\u202f% intervals; bars run from 0 to 100\u202f% with a tick at half"
    return [kit.Table(caption, columns, rows)]


def _samples(run: RunFiles) -> list[Block]:
    texts: dict[tuple[str, int], dict[int, Sample]] = {}
    for row in run.samples:
        key = (plain(row.get("prompt", "")), row.get("index", 0))
        ended = row.get("ended")
        sample = Sample(row["step"], _cut(plain(row["text"])), ended if isinstance(ended, bool) else None)
        texts.setdefault(key, {})[sample.step] = sample
    if not texts:
        return [Prose(["No samples were written."])]
    kept = list(texts.items())[:PROMPTS]
    prompted = [kit.Prompted(_cut(prompt), [by[step] for step in sorted(by)]) for (prompt, _), by in kept]
    return [kit.Samples(prompted)]


def _cut(text: str) -> str:
    beyond = len(text) - CHARACTERS
    return text if beyond <= 0 else f"{text[:CHARACTERS]} … [{beyond:,} more characters in samples.jsonl]"


def _samples_lead(run: RunFiles) -> str:
    shown = len({(plain(row.get("prompt", "")), row.get("index", 0)) for row in run.samples})
    more = f" Shown are the first {PROMPTS} of {shown}; samples.jsonl has all." if shown > PROMPTS else ""
    return f"The same prompts with the same random numbers, at the steps you choose; picked before training.{more}"


def _limits(measured: Measured) -> list[str]:
    said = [
        "Accuracy says that the policy tells the annotators' choice from the other answer on held-out prompts of the "
        "same data. It does not say that people prefer what the policy writes, nor how it does on other prompts."
        if measured.generates
        else "Accuracy says that the scores tell the annotators' choice from the other answer on held-out prompts of "
        "the same data. It does not say how they rank what a policy trained on them will write, nor other prompts. A "
        "reward model does not generate, so there are no samples and no KL.",
        "Intervals cover the choice of held-out prompts only. Another seed, or another order of the data, is one more "
        "run; this page shows one.",
    ]
    if measured.generates and not any(name == RETAIN for name in measured.after):
        said.append(
            "Whether other abilities were kept was not measured: `logratio eval RUN --retain FILE` compares the loss "
            "on texts of your own before and after."
        )
    return said


def _how(run: RunFiles) -> list[Block]:
    manifest = run.manifest
    reference, objective = _mapping(manifest.get("reference")), _mapping(manifest.get("objective"))
    facts = [
        ("Started", plain(manifest.get("started", "not recorded"))),
        ("Status", "finished" if _finished(run) else plain(manifest.get("status", "not recorded"))),
        ("Weights in model/", plain(manifest.get("weights", "not recorded"))),
        ("Objective's source", plain(objective.get("source", "not recorded"))),
        ("Reference's identity", plain(reference.get("identity", "none"))),
        ("Chat template's hash", plain(manifest.get("template_hash") or "none")),
        *((f"{name}", plain(version)) for name, version in _mapping(manifest.get("versions")).items()),
    ]
    blocks: list[Block] = [Facts(facts)]
    if rows := manifest.get("rows"):
        lines = rows if isinstance(rows, list) else [rows]
        blocks.append(kit.Code("Rows kept and dropped", "\n".join(plain(line) for line in lines)))
    if run.config_text:
        blocks.append(kit.Code("config.yaml, as resolved", run.config_text))
    if manifest.get("data"):
        blocks.append(kit.Code("Data's hashes", json.dumps(manifest["data"], indent=2, ensure_ascii=False)))
    return blocks
