"""The report of a run: its files → `report.html`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import atomic_path
from . import browser, held, kit
from .answers import answers
from .beside import Beside, read_beside
from .found import PASSING, blocks, counted
from .fresh import fresh, references
from .kit import Block, Facts, Interval, Notice, Page, Prose, Section
from .names import RETAIN, metric
from .panels import not_finite, plots
from .read import Row, RunFiles, interval, read_run
from .render import render
from .summary import Measured, tiles, verdict
from .text import number, plain


def write_report(run: Path, target: Path | None = None) -> Path:
    """Write the report of a run directory and return its path, by default `report.html` in it.

    Reads `manifest.json`, `config.yaml`, `metrics.jsonl`, `samples.jsonl` and `evaluation.json`, of which it says what
    is absent, and as far as they are there `preflight.json`, `audit.json`, `findings.json`, `learned.json`,
    `where.json`, `margins.jsonl`, `pairs.jsonl` and `rounds/`.

    Raises:
        RunError: `run` holds no readable manifest.
        LogratioError: The page cannot be written.
    """
    target = target or run / "report.html"
    html = render(compose(read_run(run), read_beside(run)))
    with atomic_path(target) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return target


def compose(run: RunFiles, beside: Beside) -> Page:
    """Return the report of a run as a page."""
    measured = measured_of(run)
    answer = verdict(measured)
    notices = [*notices_of(run), *(Notice("warn", problem) for problem in beside.problems)]
    asked = answers(answer, measured, beside, notices)
    distrusted = any(own.tone == "bad" for own in asked.answers)
    sections = [
        *_findings(beside),
        Section("Gain against distance", held.distances(run), _DISTANCE),
        Section("Held-out pairs", _held(run, beside)),
        Section("Rounds and judging", fresh(run, beside.rounds), references(beside.rounds)),
        Section("Curves", plots(run) or [Prose(["No metric was logged."])], _curves_lead(run)),
        Section("Evaluation", _evaluation(run, measured)),
        *([] if _scores(run) and not beside.held.pairs else [_browser(run, beside)]),
        Section("What this page does not show", [Prose(_limits(measured))]),
        Section("How it was run", _how(run)),
    ]
    return Page(
        title=f"{Path(_model(run)).name}, {_objective(run)}",
        kicker="logratio run report",
        headline=answer.headline,
        tone="warn" if distrusted and answer.tone == "good" else answer.tone,
        support="",
        notices=notices,
        top=[asked, kit.Tiles(tiles(measured)), Facts(_facts(run))],
        sections=[section for section in sections if section.blocks],
        footer=f"Written from {run.path.name}/ by logratio. The page holds its own data and makes no request.",
    )


_DISTANCE = "Each evaluation at the distance of the policy's samples from the reference, in the order of training."


def _findings(beside: Beside) -> list[Section]:
    """Return a section for everybody who looked at the run."""
    parts = (
        ("Findings", "diagnosis", beside.findings, None, "What the run's own numbers say about it"),
        ("Preflight", "preflight", beside.preflight, PASSING, "Checked before and during the first steps"),
        ("Data audit", "audit", beside.audited, None, "What the training data was found to hold"),
        ("What the reward has learned", "learned", beside.learned, None, "Held-out margins explained by simple cues"),
        ("Where the weights changed", "where", beside.where, None, "By layer and module"),
    )
    return [
        Section(title, blocks(found, prefix, words), f"{lead}: {counted(found, words)}.")
        for title, prefix, found, words, lead in parts
        if found
    ]


def _held(run: RunFiles, beside: Beside) -> list[Block]:
    """Return what became of single pairs: their margins, beside their lengths, and as probabilities."""
    calibrated = held.calibration(run)
    figures = (
        held.distribution(run, beside.held),
        held.against_length(beside.held),
        None if isinstance(calibrated, str) else calibrated,
    )
    said = [Prose([f"Calibration: {calibrated}"])] if isinstance(calibrated, str) else []
    return [*(figure for figure in figures if figure is not None), *said]


def _browser(run: RunFiles, beside: Beside) -> Section:
    shown = browser.browser(run.samples, beside.held)
    if shown is None:
        return Section("Samples, before and after", [Prose(["No samples were written."])])
    title = "Samples, before and after" if run.samples else "Held-out pairs, one by one"
    return Section(title, [shown], browser.lead(run.samples, beside.held))


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


def measured_of(run: RunFiles) -> Measured:
    """Return what a run was measured to be, at step 0 and at its end, or as far as it got."""
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


def notices_of(run: RunFiles) -> list[Notice]:
    """Return what must be known before any number is read: how the run ended, and what is broken or absent."""
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
    shown: list[Block] = [Facts(facts)]
    if rows := manifest.get("rows"):
        lines = rows if isinstance(rows, list) else [rows]
        shown.append(kit.Code("Rows kept and dropped", "\n".join(plain(line) for line in lines)))
    if run.config_text:
        shown.append(kit.Code("config.yaml, as resolved", run.config_text))
    if manifest.get("data"):
        shown.append(kit.Code("Data's hashes", json.dumps(manifest["data"], indent=2, ensure_ascii=False)))
    return shown
