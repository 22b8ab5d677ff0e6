"""A device without float64, as Apple's GPUs are, trains to the CPU's numbers: all that adds up in float64 is elsewhere.

There is no such device at hand: an emulated one refuses float64, and CPU tensors among its own.
"""

import json
import subprocess
import sys

import pytest
import torch
from test_train_processes import HERE, environment
from test_train_rollouts import REWARD

from logratio.errors import ConfigError
from logratio.models.device import best_device, desk
from logratio.train.distributed import start
from logratio.train.memory import free_memory

DRAWN = {"rollout": {"k": 4, "max_new_tokens": 6}, "train.batch_size": 8}
JOBS = {
    "items, with all checks": {"objective": "dpo", "preflight": True},
    "a whole step": {"objective": "beta_dpo"},
}
SLOW = {
    "labels": {"objective": "kto"},
    "scores": {"objective": "reward"},
    "whole vocabulary": {"objective": "tdpo"},
    "an adapter": {"objective": "dpo", "lora": {"r": 4}},
    "a moving reference": {"objective": "dpo", "reference_sync": {"every": 2, "alpha": 0.6}},
    "masters": {"objective": "ipo", "train.precision": "bf16"},
    "sampling": {"objective": "grpo", **DRAWN, "preflight": True},
    "values": {"objective": "ppo", **DRAWN},
    "a rival": {"objective": "nash_md", **DRAWN},
}
LEAST = 1e-5


def apart(folder, jobs):
    """Return each job's largest difference."""
    (folder / "rewards.py").write_text(REWARD)
    asked = []
    for number, job in enumerate(jobs):
        own = folder / str(number)
        own.mkdir()
        judge = {"judge": f"{folder}/rewards.py:score"} if "rollout" in job else {}
        asked.append([str(own), {**job, **judge}])
    (folder / "jobs.json").write_text(json.dumps(asked))
    command = [sys.executable, HERE / "device_worker.py", folder / "jobs.json", folder / "apart.json"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "apart.json").read_text())


def test_training_and_evaluation_are_those_of_the_cpu(tmp_path):
    for name, (off, where) in zip(JOBS, apart(tmp_path, list(JOBS.values())), strict=True):
        assert off < LEAST, (name, off, where)


@pytest.mark.slow
def test_every_kind_of_run_is_that_of_the_cpu(tmp_path):
    for name, (off, where) in zip(SLOW, apart(tmp_path, list(SLOW.values())), strict=True):
        assert off < (0.05 if name == "masters" else LEAST), (name, off, where)


def test_only_a_device_without_float64_has_its_desk_elsewhere():
    assert desk(torch.device("mps")) == torch.device("cpu")
    for kind in ("cpu", "cuda"):
        assert desk(torch.device(kind)) == torch.device(kind)


def test_the_device_is_apples_where_torch_has_one(monkeypatch):
    monkeypatch.delenv("LOGRATIO_DEVICE", raising=False)
    assert best_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert best_device() == torch.device("mps")
    monkeypatch.setenv("LOGRATIO_DEVICE", "cpu")
    assert best_device() == torch.device("cpu")
    monkeypatch.setenv("LOGRATIO_DEVICE", "cuda")
    with pytest.raises(ConfigError, match="LOGRATIO_DEVICE is cuda, and torch has only mps and cpu here"):
        best_device()


def test_several_processes_refuse_a_device_that_only_one_can_use(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setenv("LOGRATIO_DEVICE", "mps")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="LOGRATIO_DEVICE is mps, and torchrun started 2 processes"):
        start("auto")


def test_apples_memory_is_what_the_system_recommends_less_what_is_taken(monkeypatch):
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 10 << 30)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 3 << 30)
    assert free_memory(torch.device("mps")) == 7 << 30
