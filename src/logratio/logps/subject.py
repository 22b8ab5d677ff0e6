"""What is scored, and against what: a run directory, a model's name, or a model in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from ..batch.needs import Head
from ..config import VERSION, RunConfig, TemplateConfig
from ..errors import ReferenceChoiceError, RunError
from ..metrics import PER_TOKEN
from ..models.adapters import reference_view
from ..models.device import best_device
from ..models.load import Loaded, load_model, loaded, stored_fingerprint, stored_head
from .policy import Policy

First = TypeVar("First")
Second = TypeVar("Second")


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Attributes:
        source: Folder or hub name of the policy, or the policy itself.
        config: Recipe of the run that made it; None for a model by itself.
        manifest: That run's manifest.
    """

    source: str | Loaded
    config: RunConfig | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What to call it."""
        return self.source if isinstance(self.source, str) else self.source.name

    @property
    def head(self) -> Head:
        """What it ends in."""
        return stored_head(self.source) if isinstance(self.source, str) else self.source.head

    @property
    def beta(self) -> float:
        """What scales a difference of log-ratios to a margin: the run's β, IPO's τ; 0.1 where it has none in 1/nat."""
        objective = self.config.objective if self.config else {}
        if objective.get("name") in PER_TOKEN:
            return 0.1
        return float(objective.get("beta", objective.get("tau", 0.1)))

    @property
    def template(self) -> TemplateConfig:
        """How its prompts are written: as the run was told, with the values that it settled on."""
        own = self.config.template if self.config else TemplateConfig()
        settled = self.manifest.get("template")
        return own.model_copy(update={"kwargs": settled["kwargs"]}) if settled else own


@dataclass(frozen=True)
class Reference:
    """The distribution that log-ratios are measured against.

    Attributes:
        source: Folder or hub name, or a model; None for the weights under the policy's own adapter.
        text: What it is, to print.
        fingerprint: What its weights must hash to; None if nothing is recorded.
    """

    source: str | Loaded | None
    text: str
    fingerprint: str | None = None


def subject_of(run_or_model: Any, tokenizer: Any = None) -> Subject:
    """Return what is to be evaluated.

    Args:
        run_or_model: A run directory, a model's folder or hub name, a `Loaded`, or a transformers model.
        tokenizer: Goes with a transformers model.

    Raises:
        RunError: A run without a model, or a recipe that cannot be read.
    """
    if isinstance(run_or_model, Loaded):
        return Subject(run_or_model)
    if not isinstance(run_or_model, (str, Path)):
        if tokenizer is None:
            raise RunError("a model in memory needs its tokenizer; pass tokenizer=… beside it.")
        return Subject(loaded(run_or_model, tokenizer))
    folder = Path(run_or_model)
    if not (folder / "config.yaml").is_file():
        return Subject(str(run_or_model))
    if not (folder / "model" / "config.json").is_file() and not (folder / "model" / "adapter_config.json").is_file():
        raise RunError(
            f"{folder} holds a run that has not finished (model/ is missing); "
            f"finish it with: logratio train --resume {folder}"
        )
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return Subject(str(folder / "model"), _recipe(folder / "config.yaml"), manifest)


def _recipe(file: Path) -> RunConfig:
    """Return the recipe of a run.

    Raises:
        RunError: Another version wrote it, or a hand changed it, so that it cannot be read.
    """
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    try:
        return RunConfig.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise RunError(
            f"{file} is of version {document.get('version', 'unknown')} and cannot be read as version {VERSION} "
            f"({'.'.join(map(str, first['loc']))}: {first['msg']}); use the logratio that made the run, or start from "
            f"its weights with {file.parent / 'model'}."
        ) from error


def reference_of(subject: Subject, policy: Loaded, asked: Any) -> Reference | None:
    """Return the reference: the one asked for, else the run's own, else the weights under an adapter, else none.

    Args:
        subject: What is evaluated.
        policy: The same, loaded.
        asked: None, "start", "base", a folder or hub name, a `Loaded`, or a model with the policy's tokenizer.

    Raises:
        ReferenceChoiceError: "start" of a model that no run made, or "base" without an adapter.
    """
    if asked is not None and not isinstance(asked, (str, Path)):
        other = asked if isinstance(asked, Loaded) else loaded(asked, policy.tokenizer)
        return Reference(other, other.name)
    choice = str(asked) if asked is not None else (subject.config.reference if subject.config else "")
    if choice == "start":
        return _start(subject)
    if choice == "base" or (not choice and policy.adapter != "none"):
        return _base(subject, policy)
    return Reference(choice, choice) if choice else None


def _start(subject: Subject) -> Reference:
    if subject.config is None:
        raise ReferenceChoiceError(
            f'reference: start means the model that a run began with, and "{subject.name}" is no run directory; '
            "give the run directory, or the folder or name of the model to compare with."
        )
    name = subject.config.model
    return Reference(name, f"{name}, with which the run began", subject.manifest["model"]["fingerprint"])


def _base(subject: Subject, policy: Loaded) -> Reference:
    if policy.adapter != "none":
        return Reference(None, f"{policy.base}, the weights under the adapter")
    if subject.config is not None:
        name = str(subject.manifest["model"]["base"])
        return Reference(name, f"{name}, the weights under the run's adapter")
    raise ReferenceChoiceError(
        f'reference: base means the weights under an adapter, and "{policy.name}" has none; '
        "give the folder or name of the model to compare with."
    )


def compare(
    subject: Subject,
    asked: Any,
    of_policy: Callable[[Loaded, Policy], First],
    of_reference: Callable[[First, Loaded, Policy], Second],
) -> tuple[First, Second | None, str | None]:
    """Compute something of the policy, then something of its reference, if it has one.

    A reference with weights of its own is loaded only after the policy has been freed.

    Args:
        subject: What is evaluated.
        asked: The reference, as in `reference_of`.
        of_policy: (model, policy around it) → a result.
        of_reference: (that result, reference, policy around it) → another. A reference that was in memory already has
            the fingerprint "".

    Returns:
        Both results and what the reference is, in words; the last two None where there is no reference.
    """
    with opened(subject.source) as (own, policy):
        against = reference_of(subject, own, asked)
        first = of_policy(own, policy)
        if against is None:
            return first, None, None
        if against.source is None:
            with reference_view(own, "base"):
                under = _under_adapter(own) if isinstance(subject.source, str) else _unnamed(own)
                return first, of_reference(first, under, policy), against.text
        vocabulary = own.tokenizer.get_vocab()
    del own, policy
    with opened(against.source, against.fingerprint) as (other, reference):
        _require_vocabulary(other, vocabulary)
        other = other if isinstance(against.source, str) else _unnamed(other)
        return first, of_reference(first, other, reference), against.text


def _under_adapter(own: Loaded) -> Loaded:
    """Describe the weights under an adapter as the model that they are by themselves."""
    return replace(own, name=own.base, fingerprint=stored_fingerprint(own.base), adapter="none")


def _unnamed(own: Loaded) -> Loaded:
    """Describe a model in memory without a fingerprint: its weights may have changed since that was taken."""
    return replace(own, fingerprint="")


@contextmanager
def opened(
    source: str | Loaded, fingerprint: str | None = None, *, head: Head = "lm"
) -> Iterator[tuple[Loaded, Policy]]:
    """Yield a model with a policy around it, on the GPU if there is one; what was loaded here is freed afterwards.

    A model that was in memory already gets its own attention function back.

    Raises:
        ReferenceChoiceError: Its weights are not those that `fingerprint` tells of.
    """
    own = source if isinstance(source, Loaded) else load_model(source, head=head)
    if fingerprint is not None and own.fingerprint != fingerprint:
        raise ReferenceChoiceError(
            f'the weights of "{own.name}" are not known to be those with which the run began (their hash differs), so '
            "they may not be its reference; put those back, or name a model to compare with as the reference."
        )
    if isinstance(source, str):
        own.model.to(best_device())
    policy = Policy(own.model)
    try:
        yield own, policy
    finally:
        policy.take("plain", "closed")


def _require_vocabulary(reference: Loaded, vocabulary: Mapping[str, int]) -> None:
    """Check that the reference reads token ids as the policy does.

    Raises:
        ReferenceChoiceError: Its tokenizer has other tokens.
    """
    if reference.tokenizer.get_vocab() != vocabulary:
        raise ReferenceChoiceError(
            f'the tokenizer of the reference "{reference.name}" has other tokens than the policy\'s, so their '
            "log-probs cannot be compared; choose a reference with the same tokenizer."
        )
