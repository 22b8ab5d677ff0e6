import json

import pytest

from logratio.config import DataPart
from logratio.errors import ConfigError
from logratio.label.drawn import drawn_file
from logratio.label.items import read_tasks
from small_files import write_model

SETTINGS = {"max_new_tokens": 6, "temperature": 1.0}


def test_two_models_or_one_are_drawn_once_and_taken_up_again(tmp_path):
    models = [str(write_model(tmp_path / name, seed)) for seed, name in enumerate("mn")]
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Review the plot of film{n} :"}) + "\n" for n in range(3)))
    told = []
    drawn = {"seed": 0, "tell": told.append, **SETTINGS}
    file = drawn_file(models, str(prompts), tmp_path / "labels.jsonl", **drawn)
    assert file.name == "labels.samples.jsonl" and "3 prompts" in told[-1]
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["models"] for row in rows] == [models] * 3
    content = file.read_bytes()
    assert drawn_file(models, str(prompts), tmp_path / "labels.jsonl", **drawn) == file
    assert file.read_bytes() == content and "drawn before" in told[-1]
    with pytest.raises(ConfigError, match="drawn otherwise"):
        drawn_file(models, str(prompts), tmp_path / "labels.jsonl", **{**drawn, "seed": 1})
    alone = drawn_file(models[:1], str(prompts), tmp_path / "alone.jsonl", **drawn)
    first = json.loads(alone.read_text().splitlines()[0])
    assert first["models"] == models[:1] * 2 and first["responses"][0] == rows[0]["responses"][0]
    assert {one.source for task in read_tasks([DataPart(path=str(file))]) for one in task.responses} == set(models)
