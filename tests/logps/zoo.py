"""Small random models of many architectures, batches for them, and the comparison of the two paths."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch

from logratio.batch.group import Group
from logratio.batch.needs import Needs
from logratio.batch.packed import PackedBatch, pack
from logratio.logps.policy import Policy
from logratio.models.dropout import switch_off_dropout

V = 97
SIZES = dict(vocab_size=V, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48)
KV = dict(SIZES, num_key_value_heads=2, max_position_embeddings=128)
TOKENS = dict(bos_token_id=1, eos_token_id=2, pad_token_id=0)
WINDOW = 5
"""Smaller than the sequences, so that sliding windows cut."""

CONFIGS: dict[str, tuple[str, dict]] = {
    "llama": ("Llama", dict(KV, tie_word_embeddings=False)),
    "llama tied": ("Llama", dict(KV, tie_word_embeddings=True)),
    "llama biased": ("Llama", dict(KV, attention_bias=True, mlp_bias=True)),
    "qwen2": ("Qwen2", dict(KV)),
    "qwen2 window": ("Qwen2", dict(KV, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1)),
    "qwen3": ("Qwen3", dict(KV, head_dim=8)),
    "mistral window": ("Mistral", dict(KV, sliding_window=WINDOW)),
    "gemma2": (
        "Gemma2",
        dict(KV, head_dim=8, sliding_window=WINDOW, attn_logit_softcapping=2.0, final_logit_softcapping=3.0),
    ),
    "gemma3": ("Gemma3Text", dict(KV, head_dim=8, sliding_window=WINDOW, sliding_window_pattern=2)),
    "gpt2": ("GPT2", dict(vocab_size=V, n_embd=32, n_layer=3, n_head=4, n_positions=128)),
    "gpt-neox": ("GPTNeoX", dict(SIZES, max_position_embeddings=128, rotary_pct=0.5)),
    "phi3": ("Phi3", dict(KV)),
    "phi3 window": ("Phi3", dict(KV, sliding_window=WINDOW)),
    "olmo2": ("Olmo2", dict(KV)),
    "cohere": ("Cohere", dict(KV, logit_scale=0.3)),
    "granite": ("Granite", dict(KV, logits_scaling=3.0, attention_multiplier=0.2, residual_multiplier=0.5)),
    "phi": ("Phi", dict(KV)),
    "stablelm": ("StableLm", dict(KV)),
    "smollm3": ("SmolLM3", dict(KV)),
    "opt": (
        "OPT",
        dict(vocab_size=V, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, ffn_dim=48)
        | dict(max_position_embeddings=128, word_embed_proj_dim=32),
    ),
    "mixtral": ("Mixtral", dict(KV, num_local_experts=4, num_experts_per_tok=2, output_router_logits=True)),
    "qwen3-moe": (
        "Qwen3Moe",
        dict(KV, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24)
        | dict(output_router_logits=True, router_aux_loss_coef=0.1, decoder_sparse_step=1),
    ),
    "phimoe window": ("Phimoe", dict(KV, num_local_experts=4, num_experts_per_tok=2, sliding_window=WINDOW)),
    "gpt-oss": (
        "GptOss",
        dict(KV, head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=WINDOW)
        | dict(layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
    ),
    "falcon": (
        "Falcon",
        dict(vocab_size=V, hidden_size=32, num_hidden_layers=3, num_attention_heads=4)
        | dict(new_decoder_architecture=True, num_kv_heads=2),
    ),
    "mamba": ("Mamba", dict(vocab_size=V, hidden_size=32, num_hidden_layers=2, state_size=8)),
}


def build(name: str, *, dtype: torch.dtype = torch.float32, spread: float = 0.3) -> torch.nn.Module:
    """A random model. Weights are spread wide, so that a token's log-prob leans on its whole context."""
    import transformers

    family, settings = CONFIGS[name]
    config = getattr(transformers, f"{family}Config")(**settings, **TOKENS)
    config._attn_implementation_internal = None
    torch.manual_seed(0)
    kind = {"Gemma3Text": "Gemma3"}.get(family, family)
    model = getattr(transformers, f"{kind}ForCausalLM" if family != "GPT2" else "GPT2LMHeadModel")(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, spread, generator=generator)
            else:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    switch_off_dropout(model)
    return model.to(dtype).train()


def group(
    rng: np.random.Generator, prompt: int, lengths: list[int], *, vocabulary: int = V, gaps: bool = True
) -> Group:
    """Random tokens; with gaps, some response tokens carry no loss."""
    ids = [rng.integers(3, vocabulary, n).astype(np.int32) for n in (prompt, *lengths)]
    loss = tuple(rng.random(n) < (0.8 if gaps else 2.0) for n in lengths)
    return Group(0, ids[0], tuple(ids[1:]), loss, np.zeros((0, 2), np.int32))


def uneven(vocabulary: int = V, *, empty_prompt: bool = True) -> PackedBatch:
    """K = 1, 2 and 4 with uneven lengths, a prompt of one token and (if wanted) one of none."""
    rng = np.random.default_rng(3)
    shapes = [(5, [3, 12]), (1, [4]), (14, [2, 9, 1, 7]), (8, [6, 6])] + ([(0, [5, 2])] if empty_prompt else [])
    return pack([group(rng, prompt, lengths, vocabulary=vocabulary) for prompt, lengths in shapes])


@dataclass(frozen=True)
class Difference:
    """Largest differences between the shared and the plain path.

    Attributes:
        values: Over log-probs and the auxiliary loss, nats.
        gradients: Over parameters, relative to the largest element of all gradients.
        extras: Over entropy and Σπ².
    """

    values: float
    gradients: float
    extras: float


def difference(model: torch.nn.Module, batch: PackedBatch, **settings) -> Difference:
    """Compare the paths in values and in the gradients of every trainable parameter."""
    policy = Policy(model, **settings)
    needs = Needs(extras=("entropy", "square"), temperature=0.7)
    found = []
    for path in ("shared", "plain"):
        policy.take(path, "test")
        policy.zero_grad()
        logps = policy(batch, needs)
        coefficients = torch.linspace(-1, 2, len(logps.policy_R), dtype=logps.policy_R.dtype)
        loss = (logps.policy_R * coefficients).sum() + (0 if logps.auxiliary is None else 7 * logps.auxiliary)
        with warnings.catch_warnings():
            loss.backward()
        auxiliary = torch.zeros(1) if logps.auxiliary is None else logps.auxiliary.detach()[None]
        values = torch.cat((logps.policy_R.detach(), auxiliary))
        gradients = {n: p.grad.clone() for n, p in policy.named_parameters() if p.requires_grad and p.grad is not None}
        found.append((values, gradients, torch.cat((logps.entropy_R, logps.square_R))))
    (values, gradients, extras), (values_, gradients_, extras_) = found
    assert gradients.keys() == gradients_.keys()
    scale = max(float(g.abs().max()) for g in gradients_.values())
    worst = max(float((gradients[n] - gradients_[n]).abs().max()) for n in gradients)
    return Difference(float((values - values_).abs().max()), worst / scale, float((extras - extras_).abs().max()))


def exact_norms(model: torch.nn.Module) -> torch.nn.Module:
    """Swap RMS norms that compute in float32 for ones that keep float64, so that float64 means float64."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child).__name__.endswith("RMSNorm"):
                norm = torch.nn.RMSNorm(len(child.weight), eps=child.variance_epsilon, dtype=torch.float64)
                norm.weight.data.copy_(child.weight.data)
                setattr(parent, name, norm)
    return model
