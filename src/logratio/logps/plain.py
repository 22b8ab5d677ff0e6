"""The readable slow path: one response per row, right-padded, full log-softmax. The fast path equals it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..batch.logps import Logps
from ..batch.needs import Needs
from ..batch.packed import PackedBatch
from ..models.anatomy import accepts, router_coefficient


def plain(model: nn.Module, batch: PackedBatch, needs: Needs, reference_RV: Tensor | None = None) -> Logps:
    """Log-probs of a batch's scored tokens, by the model's own forward and `torch.log_softmax`.

    Every response becomes a row of its own, its prompt before it. Padding is on the right, masked by length.

    Args:
        model: The transformers (or PEFT) model.
        batch: Groups.
        needs: What is wanted of them.
        reference_RV: The reference's `table`, where the divergence from it is needed.
    """
    logp_RV, auxiliary = table(model, batch, needs)
    probs_RV = logp_RV.detach().exp()
    return Logps(
        policy_R=logp_RV.gather(1, batch.target_R[:, None]).squeeze(1),
        entropy_R=-(probs_RV * logp_RV.detach()).sum(1) if "entropy" in needs.extras else None,
        square_R=probs_RV.square().sum(1) if "square" in needs.extras else None,
        auxiliary=auxiliary,
        divergence_R=None if reference_RV is None else (reference_RV.exp() * (reference_RV - logp_RV)).sum(1),
    )


def table(model: nn.Module, batch: PackedBatch, needs: Needs) -> tuple[Tensor, Tensor | None]:
    """Return log-probs of the whole vocabulary at each scored token, [R, V], and a mixture-of-experts model's loss."""
    device = batch.tokens_T.device
    ids_SL, length_S = rows(batch)
    column_L = torch.arange(ids_SL.shape[1], device=device)
    mask_SL = column_L < length_S[:, None]
    arguments = {"input_ids": ids_SL, "attention_mask": mask_SL.long(), "use_cache": False}
    if accepts(model, "position_ids"):
        arguments["position_ids"] = column_L.expand_as(ids_SL)
    output = model(**arguments)
    column_R = batch.positions_T.index_select(0, batch.source_R)
    logits_RV = output.logits.flatten(0, 1).index_select(0, batch.response_R * ids_SL.shape[1] + column_R)
    wide = torch.float64 if logits_RV.dtype == torch.float64 else torch.float32
    coefficient = router_coefficient(model)
    auxiliary = None if coefficient is None else coefficient * output.aux_loss
    return torch.log_softmax(logits_RV.to(wide) / needs.temperature, dim=-1), auxiliary


def rows(batch: PackedBatch) -> tuple[Tensor, Tensor]:
    """Unpack a batch: token ids [S, L], zero-padded on the right, and the length of each row [S]."""
    spans = batch.spans
    start_S = spans.prompt_start_G.index_select(0, spans.group_S).tolist()
    length_S = spans.prompt_length_G.index_select(0, spans.group_S).tolist()
    sequences = [
        torch.cat((batch.tokens_T[start : start + prompt], batch.tokens_T[own : own + length]))
        for start, prompt, own, length in zip(
            start_S, length_S, spans.response_start_S.tolist(), spans.response_length_S.tolist(), strict=True
        )
    ]
    lengths = torch.tensor([len(sequence) for sequence in sequences], device=batch.tokens_T.device)
    return nn.utils.rnn.pad_sequence(sequences, batch_first=True), lengths
