"""Which way a model samples: with its prompts encoded once, or, where its architecture does not allow it, plainly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from ..logps.policy import TOLERANCE
from ..models import anatomy
from .sampling import Rules, Sample
from .shared import sample_shared

_KEPT = 1e-6
"""Samples keep their log-probs in float32, so that these may differ by so much where a model computes in float64."""

_TRIED: WeakKeyDictionary[nn.Module, Route] = WeakKeyDictionary()


@dataclass(frozen=True)
class Route:
    """How a model samples.

    Attributes:
        name: "shared", each prompt encoded once; or "plain", by transformers' own cache.
        reason: Why, one sentence to print.
    """

    name: Literal["shared", "plain"]
    reason: str


def route(model: nn.Module, reach: int) -> Route:
    """Return the way for prompts and samples that come to `reach` tokens together.

    What the configuration does not rule out is tried once a model: both ways must give the same log-probs.
    """
    obstacle = _obstacle(model, reach)
    if obstacle is not None:
        return Route("plain", obstacle)
    key = anatomy.unwrapped(model)
    if key not in _TRIED:
        _TRIED[key] = _tried(model)
    return _TRIED[key]


def _obstacle(model: nn.Module, reach: int) -> str | None:
    known = anatomy.obstacle(model)
    if known is not None:
        return known
    name, text = type(anatomy.unwrapped(model)).__name__, anatomy.unwrapped(model).config.get_text_config()
    if next(model.parameters()).device.type != "cpu":
        return "keys and values of samples are kept apart on a CPU only"
    if not anatomy.accepts(model, "logits_to_keep"):
        return f"{name} computes logits of all tokens or none"
    window = getattr(text, "sliding_window", None)
    kinds = set(getattr(text, "layer_types", None) or ["sliding_attention" if window else "full_attention"])
    if kinds - {"full_attention", "sliding_attention"}:
        return f"{name} has layers of other kinds than attention"
    if "sliding_attention" in kinds and (window or 0) < reach:
        return f"{name} sees {window} tokens back, and prompt and sample may come to {reach}"
    return None


def _tried(model: nn.Module) -> Route:
    """Sample from a short and a longer prompt, and score the samples by whole rows."""
    name = type(anatomy.unwrapped(model)).__name__
    vocabulary = int(anatomy.unwrapped(model).config.get_text_config().vocab_size)
    prompts = [np.arange(1, 1 + length, dtype=np.int32) % vocabulary for length in (5, 9)]
    rules = Rules(k=2, limit=3, stops=np.zeros(0, np.int64), temperature=1.0, seed=0)
    try:
        drawn = sample_shared(model, prompts, rules, 1 << 10, apart=6)
        difference = max(_difference(model, prompt, samples) for prompt, samples in zip(prompts, drawn, strict=True))
    except Exception as error:  # architectures fail in ways of their own; the plain way asks nothing of them
        first = str(error).strip().split("\n")[0].rstrip(".")
        return Route("plain", f"{name} cannot encode a prompt once for its samples: {type(error).__name__}: {first}")
    tolerance = max(TOLERANCE[next(model.parameters()).dtype], _KEPT)
    if not difference <= tolerance:
        return Route("plain", f"{name} differs by {difference:.1e} nat when a prompt is encoded once for its samples")
    return Route("shared", f"equal to whole rows within {difference:.1e} nat on a trial (tolerance {tolerance:g})")


def _difference(model: nn.Module, prompt: Any, samples: list[Sample]) -> float:
    tokens = np.stack([sample.tokens for sample in samples])
    ids = torch.from_numpy(np.concatenate((np.tile(prompt, (len(samples), 1)), tokens), axis=1)).long()
    logits = model(input_ids=ids, use_cache=False, return_dict=True).logits[:, len(prompt) - 1 : -1]
    logp = logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    whole = logp.gather(2, ids[:, len(prompt) :, None])[..., 0]
    ours = torch.from_numpy(np.stack([sample.logps for sample in samples]))
    return float(((whole - ours).abs() / whole.abs().clamp(min=1.0)).max())
