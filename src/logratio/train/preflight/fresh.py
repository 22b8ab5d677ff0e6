"""What a run on fresh responses has to have right before it draws: stop tokens, judge, log-probs, enough responses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ...batch.group import Columns, Floats, Group
from ...batch.needs import Needs
from ...errors import LogratioError
from ...findings import Example, Finding
from ...logps.policy import TOLERANCE
from ...logps.whole import by_group, whole
from ..drawn import Row, dead, judged
from ..rollouts import RolloutSource
from .scene import FEW, difference

Figures = dict[str, float | int | str | None]

MOST = 4
"""Responses of the policy to a prompt that checks draw at most."""
LONGEST = 256
"""Tokens of such a response at most."""


@dataclass(frozen=True)
class Rehearsal:
    """The first prompts of a run, answered and judged as its first phase will answer and judge them, within limits.

    A sample is a function of phase, prompt, its number and weights, and a lower limit cuts it, so that the phase draws
    the same again, and a judge with a cache is not paid twice for what was not cut. How long a run takes is not known
    before it has drawn, so that responses are few and short whatever it draws itself. What judging cost is told with
    the run's first step.

    Attributes:
        source: What draws, before its first step.
    """

    source: RolloutSource

    @cached_property
    def _phase(self) -> tuple[list[Row], LogratioError | None]:
        prompts = self.source.prompts.step(0).groups[:FEW]
        draw = self.source.draw
        limits = {"k": self.k, "max_new_tokens": min(LONGEST, draw.rollout.max_new_tokens)}
        draw = replace(draw, rollout=draw.rollout.model_copy(update=limits))
        rows, failure = draw.phase(self.source.learner, prompts, 0, self.source.reference)
        self.source.rehearsed.extend(rows)
        return rows, failure

    @property
    def rows(self) -> list[Row]:
        """A row a prompt, as a phase's file has them."""
        return self._phase[0]

    @property
    def failure(self) -> LogratioError | None:
        """The error of a judge that stopped."""
        return self._phase[1]

    @property
    def k(self) -> int:
        """Responses of the policy to a prompt; a rival's follow them."""
        return min(MOST, self.source.draw.rollout.k)

    def cut(self, row: Row) -> bool:
        """Whether a response to a prompt was cut that the run would let go on."""
        return self.source.draw.rollout.max_new_tokens > LONGEST and not all(row["ended"])

    @property
    def responses(self) -> int:
        """Responses of the policy to all of the prompts."""
        return self.k * len(self.rows)


def stop_tokens(scene: Rehearsal) -> Finding:
    """Whether a response can end, and with nothing but what the tokenizer takes for a special token."""
    tokenizer, stops = scene.source.draw.tokenizer, scene.source.draw.stop_ids
    special = set(tokenizer.all_special_ids) | {at for at, one in tokenizer.added_tokens_decoder.items() if one.special}
    plain = [stop for stop in stops if stop not in special]
    texts = [repr(tokenizer.decode([stop], skip_special_tokens=False)) for stop in stops]
    figures: Figures = {"stop_tokens": ", ".join(map(str, stops)), "ordinary": len(plain)}
    if not stops:
        says = "No token ends a response, so that each goes on to rollout.max_new_tokens."
        return Finding("stop_tokens", "stop", says, "Give the tokenizer an EOS token.", figures)
    if plain:
        listed = _listed(scene)
        named = ", ".join(
            f"{stop} ({text}), which {'the generation config' if stop in listed else 'the chat template'} names"
            for stop, text in zip(stops, texts, strict=True)
            if stop in plain
        )
        remedies = (
            ("Mend eos_token_id in generation_config.json, if the tokenizer is another's.", set(plain) & listed),
            ("Mark the template's end of turn as a special token of the tokenizer.", set(plain) - listed),
        )
        return Finding(
            "stop_tokens",
            "look",
            f"A response ends at token {named}; to the tokenizer that is ordinary text.",
            " ".join(remedy for remedy, of in remedies if of),
            figures,
        )
    return Finding("stop_tokens", "fine", f"A response ends at {' or '.join(texts)}, special to both.", figures=figures)


def _listed(scene: Rehearsal) -> set[int]:
    """Return the stop tokens of the model's generation config."""
    listed = getattr(getattr(scene.source.learner.policy.model, "generation_config", None), "eos_token_id", None)
    return set(listed if isinstance(listed, list) else [] if listed is None else [listed])


def judge_answers(scene: Rehearsal) -> Finding:
    """Whether the judge says something finite of what the policy answers to the first prompts."""
    known, lost = judged(scene.rows), [row for row in scene.rows if "failed" in row]
    figures: Figures = {
        "prompts": len(scene.rows),
        "responses": scene.responses,
        "failed": len(lost),
    }
    by = scene.source.draw.judge.description
    if scene.failure is not None:
        says = f"The judge has no verdict: {scene.failure}"
        return Finding("judge_answers", "stop", says, "Try it by itself with `logratio eval`.", figures)
    if lost:
        silent = not known and not any(map(scene.cut, lost))
        return Finding(
            "judge_answers",
            "stop" if silent else "look",
            f"The judge ({by}) gives no verdict on {len(lost)} of the first {len(scene.rows)} prompts, at first "
            f"because {lost[0]['failed']}; such prompts are left out.",
            "Mend the judge, or begin with prompts that it can judge." if silent else "Mend it, unless it is meant so.",
            figures,
        )
    scores = [score for row in known for score in row["scores"][: scene.k]]
    figures |= {"score_mean": float(np.mean(scores)), "score_least": min(scores), "score_most": max(scores)}
    says = (
        f"{by} judged {scene.responses} responses to {len(known)} prompts, from {min(scores):.4g} to {max(scores):.4g}."
    )
    return Finding("judge_answers", "fine", says[0].upper() + says[1:], figures=figures, examples=(_shown(known[0]),))


def _shown(row: Row) -> Example:
    texts = {"prompt": str(row["prompt"])}
    judged = zip(row["responses"], row["scores"], strict=True)
    texts |= {f"response {number}, score {score:.4g}": text for number, (text, score) in enumerate(judged, 1)}
    return Example(f"data row {row['row']}", "What the policy wrote, and what the judge said of it.", texts)


def sampler_agrees(scene: Rehearsal) -> Finding:
    """Whether what the sampler says of its own draws is what the trainer says, at the temperature of sampling."""
    name, learner = "sampler_agrees", scene.source.learner
    if any(row["sampled"] is None for row in scene.rows):
        return Finding(name, "note", "The engine does not tell log-probs, so that they cannot be compared.")
    groups = [_answered(row, scene.k) for row in scene.rows]
    needs = Needs(temperature=learner.temperature)
    logps = whole(lambda batch: learner.policy(batch, needs), groups, bin_tokens=learner.bin_tokens)
    own = np.concatenate(by_group(groups, logps)[0])
    apart = difference(
        own, _floats([value for row in scene.rows for each in row["sampled"][: scene.k] for value in each])
    )
    bound = TOLERANCE[next(learner.policy.parameters()).dtype]
    figures: Figures = {"apart": apart, "allowed": bound, "tokens": len(own)}
    if apart <= bound:
        says = f"Sampler and trainer agree on {len(own)} tokens that were drawn, within {apart:.2g} nat."
        return Finding(name, "fine", says, figures=figures)
    says = (
        f"Sampler and trainer differ by up to {apart:.2g} nat on tokens that were drawn; rounding is below {bound:g}."
    )
    if scene.source.draw.engine is not None:
        remedy = "Check that the server holds the weights that the run starts from; rounding of its own is harmless."
        return Finding(name, "look", says, remedy, figures)
    remedy = "Try train.path plain; where that agrees, this architecture is not drawn from as it is trained."
    return Finding(name, "stop", says, remedy, figures)


def _answered(row: Row, k: int) -> Group:
    tokens = tuple(np.array(own, np.int32) for own in row["tokens"][:k])
    return Group(
        row=int(row["row"]),
        prompt=np.array(row["prompt_tokens"], np.int32),
        responses=tokens,
        loss=tuple(np.ones(len(own), np.bool_) for own in tokens),
        edges=np.zeros((0, 2), np.int32),
        columns=Columns(response={"weight": np.ones(len(tokens), np.float32)}),
    )


def enough_responses(scene: Rehearsal) -> Finding:
    """Whether the responses to a prompt differ, and are judged differently where that is what is learned."""
    name, k, rows = "enough_responses", scene.k, scene.rows
    objective, settings = scene.source.learner.objective, scene.source.learner.settings
    compares = objective.data == "pairs" or objective.responses(settings) > 1
    alike = sum(k > 1 and all(own == row["tokens"][0] for own in row["tokens"][:k]) for row in rows)
    known = [row for row in judged(rows) if not scene.cut(row)]
    lost = sum(map(dead, known))
    figures: Figures = {"k": k, "prompts": len(rows), "the_same": alike, "judged_alike": lost}
    figures |= {"cut": sum(map(scene.cut, rows))}
    if alike == len(rows) and k > 1:
        says = f"The {k} responses to each of {len(rows)} prompts are the same, token by token."
        return Finding(name, "look", says, "Raise rollout.temperature, or look at what the policy writes.", figures)
    if compares and known and lost == len(known):
        return Finding(
            name,
            "look",
            f"The first {k} responses to each of {len(known)} prompts were judged alike, and the objective learns from "
            "how they differ.",
            "Raise rollout.k, choose prompts that are neither too easy nor too hard, or set rollout.redraw.",
            figures,
        )
    if compares and not known and any(map(scene.cut, rows)):
        says = f"Responses go beyond the {LONGEST} tokens at which checks cut them, so that their scores say little."
        return Finding(name, "note", says, figures=figures)
    if k == 2 and getattr(settings, "normalise", "none") != "none":
        says = "Of the scores of 2 responses, divided by their standard deviation, nothing is left but the order."
        return Finding(name, "note", says, "Raise rollout.k, or set objective.normalise to none.", figures)
    says = f"{k} responses to a prompt, judged differently for {len(known) - lost} of {len(known)} prompts."
    return Finding(name, "fine", says, figures=figures)


def _floats(values: list[float]) -> Floats:
    return np.array(values, np.float32)
