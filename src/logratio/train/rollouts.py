"""Steps from fresh responses: the policy draws, a judge judges, the objective labels, and the loop trains as ever."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from torch import nn

from ..batch.group import Columns, Floats, Group, Ints
from ..batch.needs import Needs
from ..config import RolloutConfig
from ..data.prompts import Asking
from ..errors import ConfigError, JudgeError, LogratioError
from ..files import write_rows
from ..logps.policy import Policy
from ..logps.reference import require_finite
from ..logps.whole import by_group, whole
from ..maths.counter import stream
from ..rollout.engine import BuiltIn, Engine, alike
from ..rollout.generate import generate_by
from ..rollout.judge import Judge, Verdict
from ..rollout.mixture import generate_between
from ..rollout.sampling import Rules, Sample
from . import drawn
from .drawn import Choice, Row
from .gradient import Learner
from .judges import TimedJudge
from .memory import drawing_within_memory
from .phases import Phases, Place
from .redraw import filled, further
from .rewards import asked_of, lengths_of, text_of
from .rundir import RunDirectory
from .source import FileSource, Step
from .texts import beside

Reference = Callable[[], AbstractContextManager[Policy]] | None
"""Yields the reference as a policy; None where none is needed."""

_SILENT = 16
"""Prompts in a row without a verdict at which a judge is taken to be out of order."""


@dataclass(frozen=True)
class Draw:
    """How responses are drawn and judged.

    Attributes:
        rollout: The recipe's part.
        choice: What of them is learned from.
        judge: Whatever prefers.
        asking: Text and other fields of each prompt, by position in the data.
        tokenizer: Turns tokens into the text that the judge sees.
        stop_ids: Tokens that end a response.
        seed: Of the run.
        engine: What draws in place of the built-in sampler, from weights of its own.
    """

    rollout: RolloutConfig
    choice: Choice
    judge: Judge
    asking: Sequence[Asking]
    tokenizer: Any
    stop_ids: Sequence[int]
    seed: int
    engine: Engine | None = None

    def phase(
        self, learner: Learner, prompts: Sequence[Group], phase: int, reference: Reference
    ) -> tuple[list[Row], LogratioError | None]:
        """Draw and judge; return the rows, and the error of a judge that stopped, with which nothing is judged.

        A sample is a function of (seed, phase, prompt, how often the phase had it before, its number, weights), so a
        phase drawn again is the same, and a prompt that comes twice in it is answered anew.
        """
        samples = self._samples(learner, prompts, phase, reference)
        rivals = len(samples[0]) - self.rollout.k
        texts = [[text_of(one, self.tokenizer) for one in own] for own in samples]
        asked = [
            asked_of(self.asking[group.row], own, group.prompt, self.tokenizer)
            for group, own in zip(prompts, texts, strict=True)
        ]
        verdicts: Sequence[Verdict]
        failure: LogratioError | None = None
        try:
            verdicts = self.judge(asked)
        except LogratioError as error:
            failure, verdicts = error, [Verdict(failed=str(error))] * len(asked)
        rows = [
            drawn.row_of(
                group.row,
                group.prompt.tolist(),
                self.asking[group.row],
                own,
                said,
                verdict,
                rivals,
                lengths_of(said, group.prompt, self.tokenizer),
            )
            for group, own, said, verdict in zip(prompts, samples, texts, verdicts, strict=True)
        ]
        return rows, failure

    def _samples(
        self, learner: Learner, prompts: Sequence[Group], phase: int, reference: Reference
    ) -> list[list[Sample]]:
        """Return the policy's responses to each prompt, and behind them as many of a rival where there is one."""
        found: list[list[Sample]] = [[] for _ in prompts]
        for again, members in enumerate(_occurrences(prompts)):
            ids = [prompts[i].prompt for i in members]
            for i, own in zip(members, self._drawn(learner, ids, (phase, again), reference), strict=True):
                found[i] = own
        return alike(found)

    def _drawn(
        self, learner: Learner, ids: Sequence[Ints], turn: tuple[int, int], reference: Reference
    ) -> list[list[Sample]]:
        """Return `_samples` of prompts that differ, which come for the `turn[1]`-th time in phase `turn[0]`."""
        phase, again = turn
        share = learner.objective.rivals(learner.settings)

        def rules(whose: str) -> Rules:
            seed = int(stream(self.seed, whose, phase, *([again] if again else [])).integers(1 << 62))
            stops = np.asarray(self.stop_ids, np.int64)
            return Rules(self.rollout.k, self.rollout.max_new_tokens, stops, self.rollout.temperature, seed)

        model = learner.policy.model
        own = (self.engine or BuiltIn(model))(ids, rules("rollout"))
        if not share:
            return own
        assert reference is not None
        if share == 1:
            with reference() as other:
                rivals = generate_by(other.model, ids, rules("rival"))
        else:
            rivals = generate_between(model, lambda: _model_of(reference), share, ids, rules("rival"))
        return [[*mine, *theirs] for mine, theirs in zip(own, rivals, strict=True)]


@dataclass
class RolloutSource:
    """Steps from what the present policy draws, phase by phase; nothing is read ahead.

    A phase is on disk, whole, before anything is learned from it: a run that stops in its midst goes on from there,
    and one that stops before its first checkpoint draws it again, the same.

    Attributes:
        prompts: Yields the batches of prompts.
        phases: Which of them are drawn for together.
        draw: How.
        learner: The policy that draws and is trained.
        reference: The reference, as it then is, where log-probs of it are needed; None otherwise.
        run: Where phases are kept.
        texts: What is imitated beside them, of which step s has batch s; None where nothing is.
        rehearsed: What was drawn and judged before the first step, which tells what that cost.
    """

    prompts: FileSource
    phases: Phases
    draw: Draw
    learner: Learner
    reference: Reference
    run: RunDirectory
    texts: FileSource | None = None
    rehearsed: list[Row] = field(default_factory=list, repr=False)
    ahead: ClassVar[bool] = False
    _held: _Phase | None = field(default=None, repr=False)
    _told: set[str] = field(default_factory=set, repr=False)

    @property
    def steps(self) -> int:
        """Steps in the run, ≥ 1."""
        return self.phases.steps

    def step(self, index: int) -> Step:
        """Return step `index`; its phase is drawn with the first of its steps, and otherwise read where it is not held.

        Raises:
            MemoryBudgetError: Drawing, judging or scoring does not fit.
            JudgeError: The judge failed, and nothing is to be skipped; or it fails on everything of late.
            CheckpointError: The file of a phase that had begun is gone.
        """
        place = self.phases.place(index)
        if place.first:
            with drawing_within_memory(place.phase, self.draw.rollout, self.learner.bin_tokens):
                self._held = self._drawn(place.phase)
        elif self._held is None or self._held.number != place.phase:
            self._held = self._read(place.phase)
        # Objectives of sampled responses measure the mismatch themselves, against the old log-probs.
        compared = place.first and self.learner.objective.data != "prompts"
        groups = self._groups(self._held, place)
        if self._pairs and not any(map(drawn.paired, groups)):
            groups = []  # or moments alone would move the weights
        if self.texts is not None:
            groups = beside(groups, self.texts.step(index).groups)
        note = self._note(self._held) if place.first else ""
        measures = self._held.told(place)
        if index == 0:
            for name, cost in drawn.costs(self.rehearsed).items():
                measures[name] = measures.get(name, 0.0) + cost
        return Step(index, groups, measures, compared, note)

    def _groups(self, phase: _Phase, place: Place) -> list[Group]:
        """Return a batch; where the policy is the one that drew, the objective takes its own log-probs for the old."""
        groups = phase.batches[place.batch]
        return [_without_old(group) for group in groups] if place.first else groups

    @property
    def _pairs(self) -> bool:
        """Whether pairs are what is learned from: by an objective of pairs, or one whose terms are all of edges."""
        terms = self.learner.objective.terms(self.learner.settings).values()
        return self.draw.choice.data == "pairs" or all(term.unit == "edge" for term in terms)

    def _note(self, phase: _Phase) -> str:
        """Return that prompts of a phase give no pair, where it is the first such phase, or the first without any."""
        groups = [group for batch in phase.batches for group in batch]
        without = sum(not drawn.paired(group) for group in groups)
        kind = "all" if without == len(groups) else "some"
        if not (self._pairs and without) or kind in self._told:
            return ""
        self._told.add(kind)
        return drawn.pairless(phase.number, without, len(groups))

    def _drawn(self, number: int) -> _Phase:
        batches = [self.prompts.step(index).groups for index in self.phases.batches(number)]
        prompts = [group for batch in batches for group in batch]
        timed = TimedJudge(self.draw.judge)
        draw = replace(self.draw, judge=timed)
        places, failure = filled(
            lambda prompts: draw.phase(self.learner, prompts, number, self.reference),
            prompts,
            further(self.prompts, number, prompts),
            self.draw.rollout.redraw,
        )
        rows = [row for place in places for row in place]
        sizes = [sum(map(len, own)) for own in _split(places, [len(batch) for batch in batches])]
        path = drawn.file_of(self.run.path, number)
        if failure is not None or self._silent(number, rows):
            write_rows(path, rows)
            raise failure or JudgeError(
                f"the judge ({self.draw.judge.description}) gives no verdict on any prompt of late, in phase "
                f"{number + 1} because {rows[0]['failed']}, so nothing is left to learn from; what was drawn, and why, "
                f"is in {path}: mend the judge, then resume."
            )
        before = {name: value.item() for name, value in self.learner.state.items()}
        chosen = [[self.draw.choice.group(row) for row in drawn.learned(own)] for own in _split(rows, sizes)]
        for row, own in zip(drawn.learned(rows), self._columns(chosen), strict=True):
            row["columns"] = {name: values.tolist() for name, values in own.items()}
        if self.draw.rollout.offload:
            gc.collect()  # the reference holds itself in cycles
        rows[0]["batches"], rows[0]["state"] = sizes, before
        write_rows(path, rows)
        phase, state = self._labelled(number, rows)
        self.learner.set_state(state)
        return replace(phase, seconds=timed.seconds)

    def _silent(self, number: int, rows: Sequence[Row]) -> bool:
        """Whether the judge had no verdict on the last prompts, `_SILENT` or more of them, or on any of the run's.

        A small phase may lose all of its prompts to chance; the phases before it, on disk, say whether it did.
        """
        lost = 0
        for phase in range(number, -1, -1):
            own = rows if phase == number else drawn.read(drawn.file_of(self.run.path, phase))
            lost += len(own)
            if drawn.judged(own):
                return False
            if lost >= _SILENT:
                return True
        return number + 1 == self.phases.count

    def _columns(self, batches: Sequence[Sequence[Group]]) -> list[dict[str, Floats]]:
        """Return the log-probs of each group under policy and reference as they are now, in the bins to be trained."""
        learner = self.learner
        batches = [groups for groups in batches if groups]  # of others the judge had no verdict
        needs = replace(learner.needs, extras=(), divergence=False)
        found: list[dict[str, Floats]] = [{} for groups in batches for _ in groups]

        def take(policy: Callable[..., Any], name: str, needs: Needs) -> None:
            into = iter(found)
            for groups in batches:
                logps = whole(lambda batch: policy(batch, needs), groups, bin_tokens=learner.bin_tokens)
                values, _ = by_group(groups, logps)
                require_finite(groups, values, f"{name} log-prob of a fresh response")
                own = [next(into) for _ in groups]
                for columns, value in zip(own, values, strict=True):
                    columns[name] = value
                if logps.value_R is not None and name == "old":
                    parts = np.split(logps.value_R.numpy(), np.cumsum([len(value) for value in values])[:-1])
                    for columns, value in zip(own, parts, strict=True):
                        columns["value_old"] = value

        if learner.objective.data == "prompts" and (needs.old or needs.value or self._again):
            take(learner.policy, "old", needs)
        plain = Needs(temperature=needs.temperature)
        if learner.needs.reference and learner.moving is not None:
            attached = [group for groups in batches for group in learner.with_reference(groups)]
            for own, group in zip(found, attached, strict=True):
                own["reference"] = group.columns.token["reference"]
        elif self.reference is not None and batches:
            with self.reference() as reference:
                take(reference, "reference", plain)
        return found

    @property
    def _again(self) -> bool:
        """Whether a phase has more than one step."""
        return self.phases.steps > self.phases.count

    def _read(self, number: int) -> _Phase:
        return self._labelled(number, drawn.read(drawn.file_of(self.run.path, number)))[0]

    def _labelled(self, number: int, rows: Sequence[Row]) -> tuple[_Phase, dict[str, float]]:
        """Return a phase from its rows, with what the objective makes of them, and the objective's state after it."""
        sizes, before = rows[0]["batches"], rows[0]["state"]
        batches = []
        for own in _split(rows, sizes):
            known = drawn.learned(own)
            batches.append([_with_columns(self.draw.choice.group(row), row["columns"]) for row in known])
        flat = [group for batch in batches for group in batch]
        labelled, after = self.learner.objective.label(flat, self.learner.settings, before) if flat else (flat, {})
        if [group.row for group in labelled] != [group.row for group in flat]:
            raise ConfigError(
                f"this objective's label returned {len(labelled)} groups for {len(flat)}, or others; it has to return "
                "the groups that it was given, in their order, with columns added."
            )
        made = _split(labelled, [len(batch) for batch in batches])
        told = [
            drawn.measures(own, batch, pairs=self._pairs) for own, batch in zip(_split(rows, sizes), made, strict=True)
        ]
        paid = [drawn.costs(own) for own in _split(rows, sizes)]
        return _Phase(number, made, told, paid), {**before, **after}


def _occurrences(prompts: Sequence[Group]) -> list[list[int]]:
    """Return the positions at which each prompt comes for the first time, those at which one comes again, and so on."""
    seen: Counter[bytes] = Counter()
    turns: list[list[int]] = []
    for i, group in enumerate(prompts):
        name = group.prompt.tobytes()
        if seen[name] == len(turns):
            turns.append([])
        turns[seen[name]].append(i)
        seen[name] += 1
    return turns


@contextmanager
def _model_of(reference: Callable[[], AbstractContextManager[Policy]]) -> Iterator[nn.Module]:
    with reference() as policy:
        yield policy.model


@dataclass(frozen=True)
class _Phase:
    number: int
    batches: list[list[Group]]
    measures: list[dict[str, float]]
    costs: list[dict[str, float]]
    seconds: float = 0.0

    def told(self, place: Place) -> dict[str, float]:
        """Return a step's measures; what judging cost is told once, in the first pass, and its time at the first."""
        seconds = {"judge_seconds": round(self.seconds, 3)} if place.first else {}
        costs = self.costs[place.batch] if place.epoch == 0 else {}
        return {**self.measures[place.batch], **costs, **seconds}


def _split(items: Sequence[Any], sizes: Sequence[int]) -> list[list[Any]]:
    ends = np.cumsum([0, *sizes]).tolist()
    return [list(items[begin:end]) for begin, end in zip(ends[:-1], ends[1:], strict=True)]


def _with_columns(group: Group, columns: dict[str, Sequence[float]]) -> Group:
    return group.with_columns(token={name: np.array(values, np.float32) for name, values in columns.items()})


def _without_old(group: Group) -> Group:
    columns = group.columns
    token = {name: values for name, values in columns.token.items() if name != "old"}
    return replace(group, columns=Columns(token, columns.response, columns.edge, columns.group))
