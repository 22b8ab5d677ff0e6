"""Where the parts of a transformers model lie: body, language-model head, router loss, attention registry."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelError

_SCALES = ("logit_scale", "lm_head_multiplier", "output_multiplier")
_SOFTCAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
_TRANSFORMERS_OWN = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flash_attention_4", "flex_attention")


@dataclass(frozen=True)
class HeadParts:
    """The language-model head as the fused log-prob reads it.

    Attributes:
        weight_VD: [V, D]; with LoRA on the head W + Σ s·B A, formed anew at each call, so that A and B get gradients.
        bias_V: [V] or None.
        scale: Multiplies the raw logits.
        softcap: c of c·tanh(·/c), or None.
    """

    weight_VD: Tensor
    bias_V: Tensor | None
    scale: float
    softcap: float | None


def unwrapped(model: nn.Module) -> Any:
    """Return the transformers model inside a PEFT wrapper (adapters stay in place), or the model itself."""
    inner = getattr(model, "get_base_model", None)
    return inner() if inner is not None else model


def body(model: nn.Module) -> nn.Module:
    """Return the part that maps token ids to normalised hidden states.

    Raises:
        ModelError: The architecture keeps body and head in one module.
    """
    causal = unwrapped(model)
    inner: nn.Module = causal.base_model
    if inner is causal:
        raise ModelError(f"{type(causal).__name__} has no body apart from its head, so its log-probs cannot be fused.")
    return inner


def hidden_width(model: nn.Module) -> int:
    """Return D, the width of the body's hidden states."""
    width: int = unwrapped(model).config.get_text_config().hidden_size
    return width


def head_parts(model: nn.Module) -> HeadParts:
    """Return the head's effective weight and what is done to its logits.

    Raises:
        ModelError: The head is no linear layer.
    """
    causal = unwrapped(model)
    layer = causal.get_output_embeddings()
    weight_VD, bias_V = _linear(layer)
    scale = 1.0
    for name in _SCALES:
        scale *= getattr(causal.config, name, None) or 1.0
    scale /= getattr(causal.config, "logits_scaling", None) or 1.0
    return HeadParts(weight_VD, bias_V, float(scale), softcap_of(causal))


def softcap_of(causal: Any) -> float | None:
    """Return c of c·tanh(·/c), by which a transformers model caps its logits, or None."""
    found = next((cap for name in _SOFTCAPS if (cap := getattr(causal.config, name, None))), None)
    return None if found is None else float(found)


def score_parts(model: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Return the scalar head of a reward model: weight [1, D], and bias [1] or None.

    Raises:
        ModelError: It has none, or one of another shape.
    """
    scorer = unwrapped(model)
    layer = getattr(scorer, "score", None)
    if layer is None:
        raise ModelError(f"{type(scorer).__name__} has no scalar head called score; use a decoder's reward model.")
    weight_1D, bias_1 = _linear(layer)
    if len(weight_1D) != 1:
        raise ModelError(f"the head of {type(scorer).__name__} gives {len(weight_1D)} numbers, and a score is one.")
    return weight_1D, bias_1


def _linear(layer: Any) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of a linear layer, seen through PEFT's wrappers in their present state."""
    if hasattr(layer, "modules_to_save"):
        off = layer.disable_adapters or not layer.active_adapters
        return _linear(layer.original_module if off else layer.modules_to_save[layer.active_adapters[0]])
    if not hasattr(layer, "base_layer"):
        if not isinstance(layer, nn.Linear):
            raise ModelError(f"the head is a {type(layer).__name__}, not a linear layer, so it cannot be fused.")
        return layer.weight, layer.bias
    weight_VD, bias_V = _linear(layer.base_layer)
    if layer.disable_adapters or layer.merged:
        return weight_VD, bias_V
    for name in layer.active_adapters:
        if name not in layer.lora_A:
            continue
        if name in getattr(layer, "lora_magnitude_vector", {}) or layer.lora_bias[name]:
            raise ModelError(f'adapter "{name}" on the head is no plain LoRA (DoRA, or with a bias): not fused.')
        delta_VD = layer.lora_B[name].weight @ layer.lora_A[name].weight
        weight_VD = weight_VD + (layer.scaling[name] * delta_VD).to(weight_VD.dtype)
    return weight_VD, bias_V


def router_coefficient(model: nn.Module) -> float | None:
    """Return the coefficient of the load-balancing loss, or None where the model has none or keeps it off."""
    config = unwrapped(model).config
    if not getattr(config, "output_router_logits", False):
        return None
    return float(getattr(config, "router_aux_loss_coef", 0.0))


def router_loss(model: nn.Module, router_logits: tuple[Tensor, ...], weight_T: Tensor) -> Tensor:
    """Return the load-balancing loss of the model's own module, over tokens counted `weight_T` times each."""
    causal = unwrapped(model)
    balance: Callable[..., Tensor] = vars(sys.modules[type(causal).__module__])["load_balancing_loss_func"]
    return balance(router_logits, causal.num_experts, causal.num_experts_per_tok, weight_T[None])


def accepts(model: nn.Module, argument: str) -> bool:
    """Whether the model's forward takes the keyword argument."""
    parameters = inspect.signature(unwrapped(model).forward).parameters.values()
    return any(p.name == argument or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def obstacle(model: nn.Module) -> str | None:
    """Return why the architecture cannot share prompts between responses, as far as its class tells; else None."""
    causal = unwrapped(model)
    name = type(causal).__name__
    if getattr(causal, "_is_stateful", False):
        return f"{name} carries a recurrent state along the row, so responses cannot share a prompt"
    if not causal._can_set_attn_implementation():
        return f"{name} does not take its attention from transformers' attention interface"
    if getattr(causal.config, "attention_chunk_size", None):
        return f"{name} attends in chunks of positions, which the shared layout does not follow"
    return None


def register_attention(name: str, function: Callable[..., tuple[Tensor, None]]) -> None:
    """Make `function` selectable as an attention implementation, with the masks of scaled-dot-product attention."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, sdpa_mask)


def own_attention(model: nn.Module) -> str:
    """Return the name of transformers' implementation for this model: the one in use, or its class's default."""
    causal = unwrapped(model)
    current = str(causal.config._attn_implementation)
    return current if current in _TRANSFORMERS_OWN else "sdpa" if causal._supports_sdpa else "eager"


def set_attention(model: nn.Module, name: str) -> None:
    """Select a registered attention implementation."""
    unwrapped(model).set_attn_implementation(name)


def recompute_activations(model: nn.Module) -> None:
    """Let every block recompute its activations in the backward pass, while the model is in training mode.

    Raises:
        ModelError: The architecture does not know how.
    """
    causal = unwrapped(model)
    if not causal.supports_gradient_checkpointing:
        raise ModelError(f"{type(causal).__name__} cannot recompute activations; use train.checkpointing: false.")
    settings = {"use_reentrant": False}
    if hasattr(causal, "activation_checkpointing_enable"):
        causal.activation_checkpointing_enable(activation_checkpointing_kwargs=settings)
    else:  # its name in earlier releases of transformers 5
        causal.gradient_checkpointing_enable(gradient_checkpointing_kwargs=settings)


def no_mask(device: torch.device) -> Tensor:
    """Return the four-dimensional mask that keeps transformers from building one: the layout replaces it."""
    return torch.zeros(1, 1, 1, 1, device=device)
