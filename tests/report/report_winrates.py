"""Folders of win rates as `logratio winrate` leaves them, without a model."""

import json


def measure(mean, half=0.05, n=100):
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": n, "se": half / 2}


NONE = {"mean": None, "low": None, "high": None, "n": 0, "se": None}


def pair(a, b, rate=0.6, **parts):
    return {
        "a": a,
        "b": b,
        "prompts": 4,
        "wins": 2,
        "ties": 1,
        "losses": 1,
        "same": 0,
        "failed": 0,
        "rate": {**measure(rate), "bootstrap": [rate - 0.05, rate + 0.05]},
        "matched": measure(rate - 0.02),
        "controlled": {
            **measure(rate - 0.03),
            "model": 0.3,
            "length": 0.2,
            "difficulty": None,
            "strength": 1.0,
            "spread": 40.0,
        },
        "flips": measure(0.08, 0.02),
        "shown_first": measure(0.52),
        "longer": measure(0.55),
        "both_bad": measure(0.01, 0.01),
        "length_a": 70.0,
        "length_b": 60.0,
        "categories": {"maths": measure(0.7), "code": measure(0.5)},
        **parts,
    }


def model(name):
    return {
        "model": name,
        "file": False,
        "characters": measure(70, 5),
        "thought_characters": None,
        "tokens": measure(17, 1),
        "ended": measure(0.98, 0.01),
        "empty": 1,
    }


def place(name, rank, points):
    return {"model": name, "points": measure(points, 30), "rank": rank, "best": rank, "worst": rank}


def at(names, temperature=1.0, pairs=None):
    every = [pair(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return {
        "temperature": temperature,
        "models": [model(name) for name in names],
        "pairs": every if pairs is None else pairs,
        "ranking": [place(name, i + 1, 1050 - 50 * i) for i, name in enumerate(names)],
        "misfit": 0.03,
        "cycles": [],
    }


def result(names=("runs/dpo", "start/model"), temperatures=(1.0,), **parts):
    return {
        "models": list(names),
        "judge": "function rewards.py:score",
        "prompts": 4,
        "category": "category",
        "difficulty": None,
        "settings": {"k": 1, "max_new_tokens": 128, "seed": 0},
        "date": "2024-05-06",
        "version": "0.1.0",
        "usage": {"tokens_in": 1200.0},
        "at": [at(names, heat) for heat in temperatures],
        **parts,
    }


VALUES = (1.0, 1.0, 0.5, 0.0)


def duels(names=("runs/dpo", "start/model"), temperature=1.0, **parts):
    return [
        {
            "prompt": f"Question {i}?",
            "origin": f"prompts.jsonl, row {i + 1}",
            "category": "maths",
            "temperature": temperature,
            "index": 0,
            "a": a,
            "b": b,
            "answer_a": f"first answer {i}",
            "answer_b": f"second answer {i}",
            "value": value,
            "forward": value,
            "backward": value,
            "flipped": False,
            "both_bad": i == 3,
            "same": False,
            "failed": "",
            **parts,
        }
        for k, a in enumerate(names)
        for b in names[k + 1 :]
        for i, value in enumerate(VALUES)
    ]


def write_folder(folder, document=None, rows=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "winrate.json").write_text(json.dumps(document or result()))
    text = "".join(json.dumps(row) + "\n" for row in (duels() if rows is None else rows))
    (folder / "duels.jsonl").write_text(text)
    return folder
