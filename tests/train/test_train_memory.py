"""The memory estimate is made of the model's own sizes."""

import torch
from small_run import run, world

from logratio.config import TrainConfig
from logratio.train.memory import estimate
from worlds import tiny_llama


def test_weights_gradients_moments_and_activations_by_hand():
    model = tiny_llama()
    count = sum(weight.numel() for weight in model.parameters())
    found = estimate(model, TrainConfig(), bf16=False, device=torch.device("cpu"))
    assert (found.weights, found.gradients, found.moments) == (4 * count, 4 * count, 8 * count)
    assert found.per_token == 2 * (16 * 32 + 3 * 64) * 4  # layers, widths, bytes
    assert found.fixed == 16 * count


def test_a_run_states_the_estimate_of_its_model(tmp_path):
    said = []

    def listen(event):
        said.extend(event.data["lines"] if event.kind == "open" else [])

    run(**world(tmp_path, n=16), output=tmp_path / "run", on_event=listen)
    line = next(line for line in said if line.startswith("memory:"))
    assert "activations 0.01 GiB for bins of 4096 tokens" in line  # 4,096 · 2 · (16·16 + 3·24) · 4 B = 0.0100 GiB
