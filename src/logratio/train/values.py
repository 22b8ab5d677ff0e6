"""What gives a run its values: made or loaded, trained beside the policy, and saved beside its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..batch.needs import Needs
from ..config import RunConfig, ValueConfig
from ..errors import ModelError
from ..logps.policy import Policy
from ..logps.value import Critic, ValueHead
from ..models import anatomy
from ..models.load import Loaded, load_model, stored_head
from ..models.save import save_model
from ..models.value import load_head, save_head

PREFIX = "value."
"""How the names of its weights begin in the optimiser and in checkpoints."""


@dataclass(frozen=True)
class Valued:
    """The value part of a run.

    Attributes:
        part: The head, or the critic.
        source: The critic with its names; None of a shared body.
        origin: Where it comes from, one line to print.
        rate: Its learning rate as a multiple of the policy's.
    """

    part: ValueHead | Critic
    source: Loaded | None
    origin: str
    rate: float

    def save(self, weights: Mapping[str, Tensor], tokenizer: Any, to: Path) -> None:
        """Write `value/`: a critic as transformers' sequence classification, a head as its two tensors.

        Args:
            weights: Trained weights by the optimiser's names, full; others than its own are not looked at.
            tokenizer: Saved with a critic.
            to: The folder.
        """
        own = {name.removeprefix(PREFIX): weight for name, weight in weights.items() if name.startswith(PREFIX)}
        if self.source is None:
            save_head(own, to, of="../model")
        else:
            inside = {name.removeprefix("model."): weight for name, weight in own.items()}
            save_model(self.source, tokenizer, to, state=inside)


def value_part(config: RunConfig, needs: Needs, model: Loaded, tokenizer: Any, device: torch.device) -> Valued | None:
    """Make or load what gives the values, on the policy's device; None where the objective needs none.

    A fresh head is 0, so that values begin at 0. All of its weights are trained, beside an adapter too.

    Args:
        config: The recipe.
        needs: What the objective reads.
        model: The policy.
        tokenizer: Its tokenizer.
        device: Where it computes.

    Raises:
        ModelError: `value.start` holds nothing that fits.
    """
    if not needs.value:
        return None
    own = config.value or ValueConfig()
    if own.body == "shared":
        width = anatomy.hidden_width(model.model)
        head, origin = ValueHead(width), "fresh, 0"
        if own.start is not None:
            head.load_state_dict(load_head(_inside(own.start), width))
            origin = f"from {own.start}"
        return Valued(head.to(device), None, f"a head on the policy's own hidden states, {origin}", own.lr)
    critic = _critic(config, own, model, tokenizer)
    critic.model.to(device)
    part = Critic(critic.model, checkpointing=config.train.checkpointing)
    return Valued(part, critic, f"a critic of its own, {critic.name}, head {critic.head_origin}", own.lr)


def _critic(config: RunConfig, own: ValueConfig, model: Loaded, tokenizer: Any) -> Loaded:
    if own.start is None and model.name != config.model:
        raise ModelError(
            "value.body is separate, and the model is given as an object, whose body cannot be loaded a second time; "
            "give value.start, the folder of a reward model or language model."
        )
    name = str(_inside(own.start)) if own.start is not None else config.model
    fresh = stored_head(name) == "lm"
    critic = load_model(name, seed=config.train.seed, head="score")
    if fresh:
        for weight in anatomy.unwrapped(critic.model).score.parameters():
            nn.init.zeros_(weight)
        critic = replace(critic, head_origin="fresh, 0")
    known, vocabulary = critic.tokenizer.get_vocab(), tokenizer.get_vocab()
    if any(known.get(token) != place for token, place in vocabulary.items()):
        raise ModelError(
            f"{name} is to give the values, and its tokenizer has other tokens than the policy's, so that it would "
            "read another text; give a model with the same tokenizer, or value.body shared."
        )
    return critic


def _inside(start: str) -> Path:
    """Return the folder itself, or of a run its value/."""
    inside = Path(start) / "value"
    return inside if inside.is_dir() else Path(start)


def named_weights(policy: Policy) -> dict[str, nn.Parameter]:
    """Return the trainable weights of model and value part by the names that optimiser and checkpoints know them by."""
    parts = {"": policy.model, PREFIX: policy.value}
    return {
        f"{prefix}{name}": weight
        for prefix, part in parts.items()
        if part is not None
        for name, weight in part.named_parameters()
        if weight.requires_grad
    }


def of_model(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights that belong to the model itself, without those of the value part."""
    return {name: weight for name, weight in weights.items() if not name.startswith(PREFIX)}
