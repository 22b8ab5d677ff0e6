"""A study of a random model on a few dozen pairs, and a reward that counts words."""

from pathlib import Path

from train.small_run import pairs, start_model, write_rows

JUDGE = f"{Path(__file__).as_posix()}:goods"


def goods(prompts, responses, rows):
    """Words `good` of each response, and a little for its length: a reward with ties."""
    return [response.split().count("good") + 0.125 * (len(response.split()) > 3) for response in responses]


def study(folder, **changes):
    """The content of a study's recipe, its model and data written into a folder."""
    return {
        "model": str(start_model(folder / "model")),
        "data": str(write_rows(folder / "train.jsonl", pairs(40))),
        "eval": {"data": str(write_rows(folder / "eval.jsonl", pairs(12, seed=1))), "samples": 10, "max_new_tokens": 6},
        "train": {"batch_size": 8, "lr": 1e-2, "epochs": 1, "precision": "fp32"},
        "tokens": {"max_length": 64},
        "every": {"eval": 0.5, "checkpoint": 1.0},
        "study": {
            "judge": JUDGE,
            "seeds": 2,
            "samples": 40,
            "levels": [0.02, 5],
            "variants": [
                {"name": "DPO", "recipe": {"objective": {"name": "dpo"}}, "grid": {"objective.beta": [0.1, 1]}},
                {"name": "Preferred-FT", "recipe": {"objective": "sft", "train": {"lr": 2e-2}}},
            ],
            **changes,
        },
    }
