"""`logratio init` as a person uses it: a recipe for a model and data, which then runs unchanged."""

import gzip
import json
import shutil

import pytest
import yaml
from commands import called

from logratio.train.recipe import resolve
from small_files import write_model, write_pairs


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("init")
    write_model(folder / "model")
    write_pairs(folder / "pairs.jsonl", 96)
    return folder


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_recipe_of_init_trains_unchanged(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    code, out, _ = called(capsys, "init", "model", "pairs.jsonl", "--output", "first.yaml")
    assert code == 0 and "logratio train first.yaml" in out
    code, out, err = called(capsys, "train", "first.yaml", "--eval.samples", "0")
    assert code == 0, err
    recipe, run = (yaml.safe_load((place / name).read_text()) for name in ("first.yaml", "runs/first/config.yaml"))
    assert recipe["train"]["lr"] == run["train"]["lr"] and recipe["objective"]["beta"] == run["objective"]["beta"]
    (rate,) = (line for line in (place / "first.yaml").read_text().splitlines() if line.strip().startswith("lr:"))
    (check,) = (
        each
        for each in json.loads((place / "runs/first/preflight.json").read_text())
        if each["name"] == "learning_rate"
    )
    assert rate.endswith("as far as this one moves a large one") and f" {check['figures']['suggested']:.1g}," in rate
    steps = json.loads((place / "runs/first/manifest.json").read_text())["steps"]
    assert f"{steps} steps" in (place / "first.yaml").read_text()


def test_figures_of_the_recipe_are_those_of_the_data(place, capsys):
    rows = [{"prompt": f"Review film{n} :", "chosen": " good" * (n + 1), "rejected": " bad ."} for n in range(40)]
    data = written(place / "lengths.jsonl", rows)
    code, _, _ = called(capsys, "init", place / "model", data, "--output", place / "lengths.yaml")
    text = (place / "lengths.yaml").read_text()
    longest = 1 + 3 + 40 + 1  # BOS, prompt, the longest response, EOS
    assert code == 0 and f"longest {longest}" in text and resolve(place / "lengths.yaml").config.tokens.max_length == 64
    assert resolve(place / "lengths.yaml").config.train.batch_size == 8 and "0.2}" in text


def test_of_texts_without_prompts_none_is_held_out_and_the_recipe_says_so(place, capsys):
    data = written(place / "texts.jsonl", [{"text": f"film{n} is good ."} for n in range(20)])
    assert called(capsys, "init", place / "model", data, "--output", place / "texts.yaml")[0] == 0
    text = (place / "texts.yaml").read_text()
    assert "# no group: prompts are held out whole" in text
    assert "20 groups would make 1 step\n" in text and "epochs: 1.0  # 3 steps\n" in text


@pytest.mark.parametrize(
    ("groups", "line"),
    [
        (60, "  eval: 1.0  # besides the one at the start, at the end"),
        (250, "  eval: 0.5  # about every 16 steps"),
        (450, "  eval: 0.2  # about every 11 steps"),
        (8000, None),
    ],
)
def test_a_short_run_evaluates_less_often(place, groups, line, capsys):
    rows = [{"prompt": f"film{n} :", "chosen": " good .", "rejected": " bad ."} for n in range(groups)]
    data = written(place / f"{groups}.jsonl", rows)
    assert called(capsys, "init", place / "model", data, "--output", place / f"{groups}.yaml")[0] == 0
    found = [each for each in (place / f"{groups}.yaml").read_text().splitlines() if each.startswith("  eval:")]
    assert found == ([] if line is None else [line])


def test_rows_beyond_the_models_positions_are_counted(place, capsys):
    rows = [{"prompt": "Review :", "chosen": " good" * n, "rejected": " bad ."} for n in (3, 3, 400)]
    data = written(place / "long.jsonl", rows)
    assert called(capsys, "init", place / "model", data, "--output", place / "long.yaml")[0] == 0
    text = (place / "long.yaml").read_text()
    assert "max_length: 256" in text and "1 of 3 rows are longer" in text


@pytest.mark.parametrize(
    ("row", "objective"),
    [
        ({"prompt": "Review :", "chosen": " good .", "rejected": " bad ."}, "dpo"),
        ({"prompt": "Review :", "completion": " good .", "label": True}, "kto"),
        ({"prompt": "Review :", "completion": " good ."}, "sft"),
        ({"prompt": "Review :", "responses": [" good .", " bad ."], "scores": [2.0, 1.0]}, "dpo"),
    ],
)
def test_the_objective_fits_what_the_rows_hold(place, row, objective, capsys, tmp_path):
    data = written(tmp_path / "rows.jsonl", [row] * 3)
    assert called(capsys, "init", place / "model", data, "--output", tmp_path / "recipe.yaml")[0] == 0
    assert resolve(tmp_path / "recipe.yaml").config.objective["name"] == objective


def parameters(config):
    """Count a Llama's: in each layer attention, the gated layer and two norms; embeddings once, and the last norm."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"] + config["num_key_value_heads"]
    layer = 2 * width * config["head_dim"] * heads + 3 * width * inner + 2 * width
    return config["num_hidden_layers"] * layer + width * (config["vocab_size"] + 1)


def test_a_model_whose_moments_do_not_fit_gets_an_adapter(place, capsys, tmp_path):
    """Its weights are never made: the folder holds a config of some 10¹⁰ parameters and no weights at all."""
    shutil.copytree(place / "model", tmp_path / "large", ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((tmp_path / "large" / "config.json").read_text())
    wide = {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64}
    config |= {**wide, "num_key_value_heads": 8, "head_dim": 128}
    (tmp_path / "large" / "config.json").write_text(json.dumps(config))
    words = ["init", tmp_path / "large", place / "pairs.jsonl", "--output", tmp_path / "large.yaml"]
    assert called(capsys, *words)[0] == 0
    recipe = resolve(tmp_path / "large.yaml").config
    text = (tmp_path / "large.yaml").read_text()
    assert recipe.lora is not None and recipe.lora.r == 16 and recipe.train.lr == pytest.approx(5e-6)
    assert f"{parameters(config) / 1e9:.1f}B parameters" in text
    assert "too large for this machine" in text or "an adapter takes little" in text


def test_what_a_person_wrote_stays(place, capsys, tmp_path):
    kept = tmp_path / "mine.yaml"
    kept.write_text("model: mine\n")
    code, _, err = called(capsys, "init", place / "model", place / "pairs.jsonl", "--output", kept)
    assert code == 2 and "exists" in err and kept.read_text() == "model: mine\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model", "nowhere.jsonl"], "nowhere.jsonl"),
        (["nowhere", "pairs.jsonl"], "nowhere"),
        (["model", "pairs.jsonl", "--objective", "dpoo"], "dpo"),
        (["model", "pairs.jsonl", "--output", "recipe.txt"], "ends in .yaml"),
        (["model", "prompts.jsonl"], "prompts without responses"),
    ],
)
def test_mistakes_are_answered_in_a_sentence_and_write_nothing(place, words, said, capsys, monkeypatch):
    monkeypatch.chdir(place)
    written(place / "prompts.jsonl", [{"prompt": "Review :"}])
    code, _, err = called(capsys, "init", *words)
    assert code == 2 and said in err and not (place / "recipe.yaml").exists()


def test_a_file_name_cannot_write_into_the_recipe(place, capsys, tmp_path):
    """A line break in a comment would begin a key of its own."""
    data = tmp_path / "a\nstop_on: collapse\n#.jsonl.gz"
    with gzip.open(data, "wt") as file:
        file.write((place / "pairs.jsonl").read_text())
    assert called(capsys, "init", place / "model", data, "--output", tmp_path / "recipe.yaml")[0] == 0
    recipe = resolve(tmp_path / "recipe.yaml").config
    assert recipe.stop_on is None and recipe.data[0].path == str(data)
