"""What the model will read and learn, as tokens: shown, counted at both ends, and compared with generation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np

from ...batch.group import Bools, Group, Ints, scored_masks
from ...config import RunConfig
from ...data.template import ChatTemplate, wants_bos
from ...errors import TemplateError
from ...findings import Example, Finding
from ..setup import DataSet, Inputs

SHOWN = 2
"""Groups that are shown."""
COUNTED = 64
"""Groups whose tokens are counted."""
SOME = 0.1
"""Share of responses from which a fault is the tokenizer's or the template's doing, and no row's own text."""
MOST = 0.4
"""The same of responses that begin with their prompt, as some do by themselves, among those where that can be seen."""
_TELLING = 2
"""Tokens beyond which a prompt that a response begins with is no chance."""
_MASKED = {
    "size": "have another length than their response",
    "first": "leave out the first token",
    "prompt": "score the prompt again",
    "header": "score the header of a turn",
}
_LONGEST = 2000
_SHOWN = 60
_ROOM = 8
"""Tokens looked at before a header, which may begin in the midst of one."""

TRAINED, READ = "trained on", "read only"
"""What a span of tokens is, in the names of an example's texts."""


@dataclass(frozen=True)
class Tokenised:
    """The data of a run before a model is loaded.

    Attributes:
        config: The recipe.
        data: Tokenised groups.
        tokenizer: What made them.
        date: What a template that reads the clock is told.
        inputs: Objects given in place of names.
    """

    config: RunConfig
    data: DataSet
    tokenizer: Any
    date: str
    inputs: Inputs

    @cached_property
    def template(self) -> ChatTemplate | None:
        """The chat template as the data was rendered with it; None where none was used."""
        used = self.data.prepared.report.template
        return None if used is None else ChatTemplate(self.tokenizer, used.kwargs, self.date)

    @cached_property
    def counted(self) -> list[Group]:
        """Some of the groups that are trained on, spread evenly, without borrowed responses."""
        positions = self.data.train
        places = np.linspace(0, len(positions) - 1, min(COUNTED, len(positions))).astype(int)
        chosen = positions[np.unique(places)]
        return [self.data.prepared.groups[int(i)] for i in chosen]


def shown(scene: Tokenised) -> Finding:
    """Show the first examples as the model sees them, span by span, each with whether it is trained on."""
    groups = [scene.data.prepared.groups[int(i)] for i in scene.data.train[:SHOWN]]
    figures = {
        "trained_tokens": sum(int(mask.sum()) for group in groups for mask in scored_masks(group)),
        "tokens": sum(group.tokens for group in groups),
    }
    examples = tuple(
        Example(
            origin=str(scene.data.prepared.groups.origin(int(i))),
            why="What the model reads, and what of it is trained on.",
            texts=dict(_spans(group, scene.tokenizer)),
        )
        for i, group in zip(scene.data.train[:SHOWN], groups, strict=True)
    )
    bare = [group.row for group in groups if any(not mask.any() for mask in scored_masks(group))]
    if bare:
        says = f"A response of data row {bare[0]} has no token that is trained on."
        return Finding(
            "tokens_shown", "stop", says, "Check tokens.loss_on and the chat template.", figures, None, examples
        )
    trained, tokens = figures["trained_tokens"], figures["tokens"]
    says = f"{trained} of the {tokens} tokens of the first {len(groups)} groups are trained on."
    return Finding("tokens_shown", "fine", says, figures=figures, examples=examples)


def mask(scene: Tokenised) -> Finding:
    """Whether what is scored is what the assistant wrote: all of a first turn, no prompt, no header of a turn."""
    header = _header_tokens(scene)
    rows: dict[str, list[int]] = {name: [] for name in _MASKED}
    for group in scene.counted:
        for ids, own in zip(group.responses, group.loss, strict=False):
            fault = _mask_fault(group, ids, own, header, scene.config.tokens.loss_on)
            if fault:
                rows[fault].append(group.row)
    responses = sum(len(group.responses) for group in scene.counted)
    figures: dict[str, float | int | str | None] = {
        "responses": responses,
        **{name: len(at) for name, at in rows.items()},
    }
    found = [f"{len(at)} of {responses} {_MASKED[name]} (first: data row {at[0]})" for name, at in rows.items() if at]
    if not found:
        says = f"The masks of {responses} responses cover what the assistant wrote and nothing else."
        return Finding("loss_mask", "fine", says, figures=figures)
    telling = sum(len(group.responses) for group in scene.counted if len(group.prompt) - 1 > _TELLING)
    many = any(len(at) > (MOST * telling if name == "prompt" else SOME * responses) for name, at in rows.items())
    return Finding(
        "loss_mask",
        "stop" if many or rows["size"] else "look",
        f"Of the masks of responses, {'; '.join(found)}.",
        "Check tokens.loss_on and the chat template; look at the tokens shown above.",
        figures,
    )


def _mask_fault(group: Group, ids: Ints, own: Bools, header: list[int], loss_on: str) -> str | None:
    bare = group.prompt[1:].tolist()  # the first may be a BOS, which stands once
    tokens = ids.tolist()
    if len(own) != len(ids):
        return "size"
    if len(group.prompt) and loss_on != "last" and not own[0]:
        return "first"
    if (
        len(bare) > _TELLING
        and (tokens[: len(bare)] == bare or tokens[1 : 1 + len(bare)] == bare)
        and own[len(bare) - 1]
    ):
        return "prompt"
    spans = (slice(at, at + len(header)) for at in range(len(tokens) - len(header) + 1)) if len(header) > 1 else ()
    return "header" if any(tokens[span] == header and own[span].any() for span in spans) else None


def ends(scene: Tokenised) -> Finding:
    """Count BOS and end tokens per response: one BOS where it is wanted, one end token, and that one trained on."""
    tokenizer = scene.tokenizer
    stops = _stops(scene)
    bos = tokenizer.bos_token_id if tokenizer.bos_token_id not in stops else None
    wanted = int(bos is not None and wants_bos(tokenizer))
    counts = {"responses": 0, "without_end": 0, "end_not_trained": 0, "end_doubled": 0, "bos_inside": 0, "bos_wrong": 0}
    first: dict[str, int] = {}
    for group in scene.counted:
        cut = scene.config.tokens.overflow == "truncate" and _at_limit(group, scene.config.tokens.max_length)
        faults = _prompt_faults(group.prompt, bos, wanted)
        for ids, mask in zip(group.responses, group.loss, strict=True):
            counts["responses"] += 1
            for fault in (*faults, *_end_faults(ids, mask, stops, bos, cut=cut)):
                counts[fault] += 1
                first.setdefault(fault, group.row)
    return _ends_found(counts, first, wanted)


def _stops(scene: Tokenised) -> set[int]:
    """Return the tokens with which a response may end, as the tokenising path chooses them."""
    template = scene.template
    own = {scene.tokenizer.eos_token_id}
    if template is None:
        return own
    return own | (set(scene.tokenizer.all_special_ids) if template.end_of_turn is None else {template.end_of_turn})


def _prompt_faults(prompt: Ints, bos: int | None, wanted: int) -> Iterator[str]:
    if bos is not None and len(prompt):
        begin = next((at for at, token in enumerate(prompt.tolist()) if token != bos), len(prompt))
        if begin > 1 or begin < wanted:
            yield "bos_wrong"


def _end_faults(ids: Ints, mask: Bools, stops: set[int], bos: int | None, *, cut: bool) -> Iterator[str]:
    if not cut:
        if int(ids[-1]) not in stops:
            yield "without_end"
        elif not mask[-1]:
            yield "end_not_trained"
        elif len(ids) > 1 and int(ids[-2]) in stops:
            yield "end_doubled"
    if bos is not None and bool((ids == bos).any()):
        yield "bos_inside"


def _at_limit(group: Group, most: int) -> bool:
    return len(group.prompt) + max(map(len, group.responses)) >= most


def _ends_found(counts: dict[str, int], first: dict[str, int], wanted: int) -> Finding:
    n = counts["responses"]
    told = {
        "without_end": "do not end with an end token, so the model would not learn to stop",
        "end_not_trained": "end with a token that carries no loss, so the model would not learn to stop",
        "end_doubled": "end with two end tokens, of which at generation only the first is ever seen",
        "bos_wrong": f"begin with another number of BOS than {'1' if wanted else 'at most 1'}",
        "bos_inside": "hold a BOS inside",
    }
    found = [
        f"{counts[name]} of {n} responses {what} (first: data row {first[name]})"
        for name, what in told.items()
        if counts[name]
    ]
    if not found:
        begin = "its sequence begins with one BOS, and it" if wanted else "it"
        says = f"{n} responses: of each, {begin} ends with one trained end token."
        return Finding("sequence_ends", "fine", says, figures=counts)
    share = max(counts[name] for name in told) / max(1, n)
    return Finding(
        "sequence_ends",
        "stop" if share > SOME else "look",
        f"{'; '.join(found)}.",
        "Look at these rows: text that holds special tokens, a template that adds them, or a tokenizer without EOS.",
        counts,
    )


def generation(scene: Tokenised) -> Finding:
    """Whether prompts end with what the chat template puts before an answer when the model is asked to write one."""
    name, report, template = "generation_template", scene.data.prepared.report, scene.template
    bare = report.rendered.get("plain text", 0)
    if template is None:
        if scene.tokenizer.chat_template:
            return Finding(
                name,
                "look",
                "The tokenizer has a chat template and template.use is none: rows are learned as plain text, and a "
                "chat at generation would look different.",
                "Leave template.use at auto, or generate from plain text too.",
            )
        return Finding(name, "fine", "No chat template: prompts are plain text, at generation too.")
    header = _header(template)
    if bare and bare == sum(report.rendered.values()):
        return Finding(
            name,
            "look",
            f"All {bare:,} rows are text without a prompt: the chat template is not used, and at generation it is.",
            "Bring prompt and response in columns of their own.",
        )
    groups = [group for group in scene.counted if len(group.prompt)]
    wrong = [group for group in groups if not _ends_with(group.prompt, header, scene.tokenizer)]
    figures: dict[str, float | int | str | None] = {"prompts": len(groups), "without_header": len(wrong)}
    text = header if len(header) <= _SHOWN else f"…{header[-_SHOWN:]}"
    if not wrong or len(wrong) <= bare:
        says = f"{len(groups) - len(wrong)} prompts end as at generation, with {text!r}."
        return Finding(name, "fine", says, figures=figures)
    return Finding(
        name,
        "stop",
        f"{len(wrong)} of {len(groups)} prompts (first: data row {wrong[0].row}) do not end with {text!r}, which the "
        "chat template puts before an answer: the model would learn after another prompt than it meets.",
        "Set template.kwargs as at generation (as enable_thinking), or mend the template.",
        figures,
    )


def _header(template: ChatTemplate) -> str:
    """Return the text that asks for an answer; "" where the template cannot be asked, or puts nothing there."""
    chat = ({"role": "user", "content": "?"},)
    try:
        whole, before = (template.render(chat, generation=generation) for generation in (True, False))
    except TemplateError:
        return ""
    return whole.removeprefix(before) if whole.startswith(before) else ""


def _ends_with(prompt: Ints, header: str, tokenizer: Any) -> bool:
    """Compare as text, since the header may merge with what precedes it."""
    tail = prompt[-(len(header) + _ROOM) :].tolist()
    return str(tokenizer.backend_tokenizer.decode(tail, skip_special_tokens=False)).endswith(header)


def _header_tokens(scene: Tokenised) -> list[int]:
    """Return the header as tokens, where it begins with a special one, so that text cannot hold it."""
    if scene.template is None:
        return []
    backend = scene.tokenizer.backend_tokenizer
    ids: list[int] = backend.encode(_header(scene.template), add_special_tokens=False).ids
    special = {at for at, token in scene.tokenizer.added_tokens_decoder.items() if token.special}
    return ids if ids and ids[0] in special else []


def _spans(group: Group, tokenizer: Any) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of a group's spans in order; a name says which sequence, and whether it is trained on."""
    if len(group.prompt):
        yield f"prompt, {READ}", _decoded(tokenizer, group.prompt)
    labels = _labels(group)
    for label, ids, mask in zip(labels, group.responses, scored_masks(group), strict=True):
        runs = [
            (trained, [at for at, _ in part]) for trained, part in groupby(enumerate(mask.tolist()), lambda p: p[1])
        ]
        for number, (trained, places) in enumerate(runs, 1):
            place = f" {number}" if len(runs) > 1 else ""
            yield (
                f"{label}{place}, {TRAINED if trained else READ}",
                _decoded(tokenizer, ids[places[0] : places[-1] + 1]),
            )


def _labels(group: Group) -> Sequence[str]:
    if len(group.responses) == 2 and len(group.edges) == 1:
        names = ["", ""]
        names[int(group.edges[0][0])], names[int(group.edges[0][1])] = "chosen", "rejected"
        return names
    return ["response" if len(group.responses) == 1 else f"response {k}" for k in range(1, len(group.responses) + 1)]


def _decoded(tokenizer: Any, ids: Ints) -> str:
    text = str(tokenizer.decode(ids.tolist(), skip_special_tokens=False))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"
