"""A study of a random model on a few dozen pairs, and a reward that counts words."""

import json
from pathlib import Path

from train.small_run import pairs, start_model, write_rows

JUDGE = f"{Path(__file__).as_posix()}:goods"
PICKY = f"{Path(__file__).as_posix()}:picky"
ANSWER = f"{Path(__file__).as_posix()}:answer"
THINKS = (
    "{% for m in messages %}{{ ' <think>' if m['role'] == 'assistant' else '' }}{{ m['content'] }}{% endfor %}"
    "{{ ' <think>' if add_generation_prompt else '</s>' }}"
)


def goods(prompts, responses, rows):
    """Words `good` of each response, and a little for its length: a reward with ties."""
    return [response.split().count("good") + 0.125 * (len(response.split()) > 3) for response in responses]


def picky(prompts, responses, rows):
    """The same, and nothing to say of a response with a word `bad`."""
    scores = zip(goods(prompts, responses, rows), responses, strict=True)
    return [None if "bad" in text.split() else score for score, text in scores]


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


def answer(prompts, responses, rows):
    """The row's `answer`; more where a response is shown, or where the prompt is no chat of one turn."""
    both = zip(prompts, responses, strict=True)
    wrong = [text != "" or [one["role"] for one in prompt] != ["user"] for prompt, text in both]
    return [float(row["answer"]) + 100 * more for row, more in zip(rows, wrong, strict=True)]


def opening_thoughts(document):
    """The same study on chats whose template opens a thought, each held-out row with its number as `answer`."""
    model = Path(document["model"])
    words = model / "tokenizer.json"
    words.write_text(words.read_text().replace('" so"', '" <think>"'))
    told = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**told, "chat_template": THINKS}))
    for file in map(Path, (document["data"], document["eval"]["data"])):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        write_rows(file, [{**_chat(row), "answer": n} for n, row in enumerate(rows)])
    return document


def _chat(row):
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    return {name: [{"role": role, "content": row[name]}] for name, role in roles.items()}
