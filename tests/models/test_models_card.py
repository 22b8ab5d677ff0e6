"""The model card says what the manifest and the evaluation say, and nothing in them acts as markup."""

import json

import pytest
import yaml

from logratio.models.card import card, write_card

MANIFEST = {
    "rows": ["9,700 rows read", "9,641 pairs kept"],
    "data": {"fingerprint": "da7a"},
    "template_hash": "7e41",
    "reference": {"kind": "start", "identity": "1de4", "description": "the model as loaded"},
    "objective": {
        "name": "dpo",
        "formula": "−log σ(β·(Δ⁺ − Δ⁻)), mean over pairs",
        "source": "arXiv:2305.18290, Eq. 7",
    },
    "lr_source": "default of dpo",
    "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
    "weights": "the last step",
}
CONFIG = {
    "data": [{"path": "pairs.jsonl", "weight": 1.0}, {"path": "more.jsonl", "weight": 2.0}],
    "objective": {"name": "dpo", "beta": 0.1},
    "train": {"lr": 1e-6},
}
EVALUATION = {
    "accuracy": {"mean": 0.6466, "low": 0.6035, "high": 0.6877, "n": 480},
    "kl": {"mean": 7.01, "low": None, "high": None, "n": 1},
    "margin": {"mean": None, "low": None, "high": None, "n": 0},
}
HUB = {"kind": "model", "base": {"name": "org/base", "revision": "abc123", "fingerprint": None}, "dtype": "bfloat16"}
LOCAL = {
    "kind": "adapter",
    "base": {"name": "/models/base", "revision": None, "fingerprint": "c0ffee"},
    "dtype": "float32",
}


def text_of(**changed):
    parts = {"manifest": MANIFEST, "config": CONFIG, "evaluation": EVALUATION, "provenance": HUB}
    return card(**{**parts, **changed})


def front_matter(text):
    _, front, _ = text.split("---\n", 2)
    return yaml.safe_load(front)


def test_data_objective_reference_versions_and_evaluation_are_stated():
    text = text_of()
    for said in (
        "pairs.jsonl, more.jsonl × 2",
        "−log σ(β·(Δ⁺ − Δ⁻)), mean over pairs",
        "arXiv:2305.18290, Eq. 7",
        "beta = 0.1",
        "the model as loaded",
        "torch 2.13.0, transformers 5.23.0",
        "`org/base` at revision `abc123`",
        "| accuracy | 0.6466 | 0.6035 to 0.6877 | 480 |",
        "| kl | 7.01 | unknown | 1 |",
    ):
        assert said in text, said
    assert "| margin" not in text


def test_front_matter_names_a_hub_base_but_no_folder():
    front = front_matter(text_of())
    assert front == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": "org/base",
        "tags": ["logratio", "dpo"],
    }
    assert "base_model" not in front_matter(text_of(provenance=LOCAL))


def test_an_adapters_card_names_the_base_by_content_and_says_how_to_merge():
    text = text_of(provenance=LOCAL)
    assert front_matter(text)["library_name"] == "peft"
    assert "`base` (hash of its weights `c0ffee`)" in text and "`--merge`" in text


def test_no_path_of_this_machine_is_in_the_card():
    """Of a folder its name and hash are told, of one in the hub's cache the hub's name and revision."""
    reference = {"description": "/models/base with the fresh adapter off", "identity": "1de4"}
    manifest = {**MANIFEST, "model": {"name": "/models/base", "base": "/models/base"}, "reference": reference}
    config = {**CONFIG, "data": [{"path": "/data/pairs.jsonl"}, {"path": "org/set:train"}], "reference": "start"}
    text = text_of(provenance=LOCAL, manifest=manifest, config=config)
    assert "- Reference: base with the fresh adapter off" in text and "- Data: pairs.jsonl, org/set:train" in text
    cached = "/home/me/.cache/huggingface/hub/models--org--base-1b/snapshots/abc123"
    told = {**reference, "description": f"{cached} as loaded, before the first step"}
    manifest = {**manifest, "model": {"name": cached, "base": cached}, "reference": told}
    hub = {**LOCAL, "base": {"name": cached, "revision": None, "fingerprint": "c0ffee"}}
    from_cache = text_of(provenance=hub, manifest=manifest)
    assert "`org/base-1b` at revision `abc123`" in from_cache and "# base-1b, dpo" in from_cache
    assert "- Reference: org/base-1b as loaded" in from_cache
    assert front_matter(from_cache)["base_model"] == "org/base-1b"
    own = text_of(manifest={**MANIFEST, "objective": {**MANIFEST["objective"], "name": "/home/me/mine.py:steep"}})
    assert "- Objective: mine.py:steep" in own and front_matter(own)["tags"] == ["logratio", "mine.py:steep"]
    for card_text in (text, from_cache, own):
        assert not {start for start in ("/models/", "/data/", "/home") if start in card_text}


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "a | b\n\n# heading", "[x](javascript:y) `z` *w*"])
def test_hostile_names_stay_text(hostile):
    data = [{"path": hostile, "weight": 1.0}]
    [line] = [
        line
        for line in text_of(config={**CONFIG, "data": data}, evaluation={hostile: EVALUATION["kl"]}).splitlines()
        if line.startswith("- Data:")
    ]
    assert "<script" not in line and "\n# heading" not in line
    assert not {mark for mark in "[]`*|" if mark in line.replace(f"\\{mark}", "")}


def test_without_evaluation_or_reference_the_card_says_so():
    text = text_of(evaluation={}, manifest={**MANIFEST, "reference": None})
    assert "Nothing was measured on held-out data." in text and "- Reference: none" in text


def test_the_card_of_a_run_lies_beside_its_weights(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (tmp_path / "evaluation.json").write_text(json.dumps(EVALUATION))
    (tmp_path / "model" / "provenance.json").write_text(json.dumps(HUB))
    assert write_card(tmp_path).read_text(encoding="utf-8") == text_of()
