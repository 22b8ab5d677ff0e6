"""The peer's side, run by the peer's own interpreter: `python peer.py SPEC RESULT`. It imports nothing of ours.

TRL 1.16's DPOTrainer takes texts alone, so its preparation is replaced by the ready token ids; it would otherwise
decide anew where a prompt ends. Everything else is its own: collator, model, head, loss, loop, optimiser.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

VARIANTS: dict[str, dict[str, Any]] = {
    "precomputed": {"precompute_ref_log_probs": True},
    "live": {"precompute_ref_log_probs": False},
    "precomputed, 2 pairs at once": {"precompute_ref_log_probs": True, "micro": 2},
    "precomputed, 1 pair at once": {"precompute_ref_log_probs": True, "micro": 1},
    "precomputed, checkpointing": {"precompute_ref_log_probs": True, "gradient_checkpointing": True},
    "precomputed, 1 pair at once, memory kept": {"precompute_ref_log_probs": True, "micro": 1, "kept": True},
}
"""Settings of TRL that are tried: the reference before the steps or within each, and how many pairs go through the
model at once (`micro`; the rest is accumulated), which decides how much padding there is. `kept`: its process is given
by the environment what ours sets for itself, huge pages and a heap that keeps freed memory."""
KEPT = {"THP_MEM_ALLOC_ENABLE": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}


def now() -> tuple[float, float]:
    """Return (wall clock, seconds of processor time of this process)."""
    return time.time(), time.process_time()


def since(mark: tuple[float, float]) -> tuple[float, float]:
    """Return the time since a mark."""
    wall, cpu = now()
    return wall - mark[0], cpu - mark[1]


def pairs(held: dict[str, Any], steps: int) -> list[dict[str, list[int]]]:
    """Return the first steps' pairs, an edge a row, in the order in which the other side takes them."""
    chosen = held["order"][: steps * held["groups_a_step"]]
    groups = [held["groups"][index] for index in chosen]
    return [
        {
            "prompt_ids": group["prompt"],
            "chosen_ids": group["responses"][winner],
            "rejected_ids": group["responses"][loser],
        }
        for group in groups
        for winner, loser in group["edges"]
    ]


def config(spec: dict[str, Any], batch: int) -> dict[str, Any]:
    """Return DPOConfig's keywords."""
    variant = dict(VARIANTS[spec["variant"]])
    micro = variant.pop("micro", batch)
    variant.pop("kept", None)
    if batch % micro:
        micro = 1
    return {
        "output_dir": spec["output"],
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": batch // micro,
        "num_train_epochs": 1,
        "learning_rate": spec["lr"],
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_grad_norm": spec["clip"],
        "beta": spec["beta"],
        "loss_type": ["sigmoid"],
        "max_length": None,
        "bf16": spec["precision"] == "bf16",
        "gradient_checkpointing": False,
        "train_sampling_strategy": "sequential",
        "seed": spec["seed"],
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "logging_strategy": "no",
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        **variant,
    }


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Train; return marks in time, the reference's time, losses and peak memory."""
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    torch.set_num_threads(spec["threads"])
    marks: dict[str, tuple[float, float]] = {}
    reference = [0.0, 0.0]
    losses: list[float] = []

    class Measured(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, *given: Any) -> Any:
            began = now()
            done = super()._precompute_ref_logps(*given)
            reference[:] = since(began)
            return done

        def compute_loss(self, *given: Any, **named: Any) -> Any:
            loss = super().compute_loss(*given, **named)
            losses.append(float(loss.detach()))
            return loss

    class Borders(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            marks["begin"] = now()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.setdefault("warm", now())

        def on_train_end(self, *_: Any, **__: Any) -> None:
            marks["trained"] = now()

    held = json.loads(Path(spec["tokens"]).read_text(encoding="utf-8"))
    settings = config(spec, held["pairs_a_step"])
    trainer = Measured(
        model=spec["model"],
        args=DPOConfig(**settings),
        train_dataset=Dataset.from_list(pairs(held, spec["steps"])),
        processing_class=AutoTokenizer.from_pretrained(spec["model"], local_files_only=True),
        callbacks=[Borders()],
    )
    if trainer.ref_model is not None:
        time_forward(trainer.ref_model, reference)
    trainer.train()
    trainer.save_model()
    pieces = settings["gradient_accumulation_steps"]
    marks["left"] = now()
    return {
        "marks": marks,
        "reference": reference,
        "reference_inside": trainer.ref_model is not None,
        "losses": [sum(losses[at : at + pieces]) / pieces for at in range(0, len(losses), pieces)],
        "peak_memory": peak_memory(),
        "path": path_taken(trainer, settings),
    }


def time_forward(model: Any, total: list[float]) -> None:
    """Add the time of every forward pass of a model to `total`."""
    started: list[tuple[float, float]] = []
    model.register_forward_pre_hook(lambda *_: started.append(now()))

    def after(*_: Any) -> None:
        wall, cpu = since(started.pop())
        total[0] += wall
        total[1] += cpu

    model.register_forward_hook(after)


def path_taken(trainer: Any, settings: dict[str, Any]) -> list[str]:
    """Return lines on what the peer did: head, attention, optimiser, padding."""
    from trl.kernels.chunked_logprob import _use_triton

    fused = _use_triton(trainer.accelerator.device)
    optimiser = getattr(trainer.args.optim, "value", trainer.args.optim)
    at_once = settings["per_device_train_batch_size"]
    scored = "response positions only" if fused else "every position, prompt and padding too"
    return [
        f"head: fused, {'Triton' if fused else 'torch (its Triton kernel needs a GPU)'}, {scored}",
        f"attention: {trainer.model.config._attn_implementation}, each pair's prompt encoded twice, rows padded",
        f"optimiser: {optimiser}; pairs through the model at once: {at_once}",
        "padding_free: switched off by TRL 1.16 itself; Liger: needs a GPU",
    ]


def peak_memory() -> int:
    """Return this process's largest resident memory, bytes; on Linux by program, not by ancestry."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    Path(sys.argv[2]).write_text(
        json.dumps(run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))), encoding="utf-8"
    )
