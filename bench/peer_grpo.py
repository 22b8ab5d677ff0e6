"""The peer's side of `on-policy`, run by the peer's own interpreter: `python -m bench.peer_grpo SPEC RESULT`."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from .peer import peak_memory

VARIANTS = {"whole step at once": 0, "8 responses at once": 8, "4 responses at once": 4}
"""How many responses go through the model at once when gradients are made; 0: all. The rest is accumulated."""


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Train by GRPO; return the clock at the end of each step and what was drawn."""
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(spec["threads"])
    ends: list[float] = []
    drawn: list[int] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.time())

    def score(completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        drawn.extend(map(len, completion_ids))
        return [text.count("e") / 10 for text in completions]

    responses = spec["prompts_a_step"] * spec["k"]
    at_once = VARIANTS[spec["variant"]] or responses
    settings = GRPOConfig(
        output_dir=spec["output"],
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=responses // at_once,
        num_generations=spec["k"],
        max_completion_length=spec["tokens"],
        temperature=1.0,
        top_k=0,
        beta=spec["beta"],
        loss_type="grpo",
        learning_rate=spec["lr"],
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        max_steps=spec["steps"],
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        seed=0,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = GRPOTrainer(
        model=spec["model"],
        reward_funcs=score,
        args=settings,
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in spec["prompts"]]),
        processing_class=AutoTokenizer.from_pretrained(spec["model"], local_files_only=True, padding_side="left"),
        callbacks=[Clock()],
    )
    trainer.train()
    return {"ends": ends, "responses": len(drawn), "tokens": sum(drawn), "peak_memory": peak_memory()}


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    Path(sys.argv[2]).write_text(
        json.dumps(run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))), encoding="utf-8"
    )
