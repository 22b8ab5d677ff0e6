"""What tests of the checks share: the checks' names, small runs of every kind, and what is found of them."""

import json

import small_run

from logratio.errors import PreflightError
from logratio.train.preflight.subject import check
from logratio.train.recipe import resolve

BEFORE = [
    "tokens_shown",
    "loss_mask",
    "sequence_ends",
    "generation_template",
    "unknown_tokens",
    "rows_lost",
    "held_out",
    "learning_rate",
    "longest_batch",
    "reference_storage",
    "reference_cache",
    "first_forward",
    "two_forwards",
    "batch_order",
    "reference_at_start",
    "prefix_sharing",
    "packing",
    "padding",
    "gradient_reaches",
    "micro_batches",
    "budget",
]
DURING = {"reference_pass", "parameters_moved", "loss_fell", "updates_kept", "checkpoint_reload"}
KINDS = {
    "dpo": {},
    "lora": {"lora": {"r": 4, "alpha": 8}},
    "kto": {"objective": "kto"},
    "bf16": {"train.precision": "bf16"},
    "divergence": {"objective": "tdpo"},
    "moving": {"reference_sync": {"every": 2}},
    "plain": {"train.path": "plain"},
    "sft": {"objective": "sft"},
    "reward": {"objective": "reward", "eval.samples": 0},
    "bco": {"objective": "bco"},
    "checkpointing": {"train.checkpointing": True},
}


def world_of(kind, folder):
    """Arguments of a small run of a kind."""
    labels = kind in ("kto", "bco")
    return {**small_run.world(folder, rows=small_run.labelled if labels else small_run.pairs), **KINDS[kind]}


def checked(arguments, *, full=True, **changes):
    """What `logratio check` finds, by name."""
    arguments = {**small_run.RECIPE, **arguments, **changes}
    found = check(resolve({}, {"output": "unused", **arguments}), full=full)
    return {each.name: each for each in found}


def own(names):
    """Those of the names that are not the audit's."""
    return [name for name in names if not name.startswith("audit")]


def ill(found):
    """What is not as it should be among findings by name, but for held-out pairs, which are few in these runs."""
    return [each.says for name, each in found.items() if each.level in ("look", "stop") and name != "held_out"]


def during(folder, **changes):
    """The findings of a run's first steps, by name; of one that stops, those up to there."""
    arguments = {
        **small_run.world(folder),
        "output": folder / "run",
        "eval.samples": 0,
        "every.eval": 1,
        "preflight": True,
        **changes,
    }
    try:
        small_run.run(**arguments)
    except PreflightError as error:
        stopped = str(error)
    else:
        stopped = None
    kept = json.loads((folder / "run" / "preflight.json").read_text())
    return {each["name"]: each for each in kept if each["name"] in DURING}, stopped
