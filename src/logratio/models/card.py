"""The model card: what was trained, from what, with which objective, and how it did."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..files import atomic_path
from .save import PROVENANCE

Json = Mapping[str, Any]

_SNAPSHOT = re.compile(r"/models--([^/]+)/snapshots/([^/]+)$")
"""Where the hub's cache keeps a model."""


def write_card(run: Path, folder: Path | None = None) -> Path:
    """Write the card of a run's `model/`, or of the model in `folder` that was exported from it; return its path.

    Raises:
        LogratioError: The file cannot be written.
    """
    folder = folder or run / "model"
    text = card(
        manifest=_json(run / "manifest.json"),
        config=yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")),
        evaluation=_json(run / "evaluation.json"),
        provenance=_json(folder / PROVENANCE),
    )
    target = folder / "README.md"
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return target


def card(*, manifest: Json, config: Json, evaluation: Json, provenance: Json) -> str:
    """Return a model card in Markdown, with the front matter that model hubs read.

    Args:
        manifest: A run's `manifest.json`.
        config: Its resolved recipe.
        evaluation: Metric → {mean, low, high, n}; a null mean was not measured.
        provenance: `provenance.json` of the saved weights.
    """
    base = known_elsewhere(provenance["base"])
    objective = {**manifest["objective"], "name": Path(manifest["objective"]["name"]).name}  # one's own has a path
    adapter, scores = provenance["kind"] == "adapter", objective.get("head") == "score"
    front = {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-classification" if scores else "text-generation",
        **({"base_model": base["name"]} if base["hub"] else {}),
        "tags": ["logratio", objective["name"]],
    }
    settings = {key: value for key, value in config["objective"].items() if key != "name"}
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False).strip()}\n---",
        f"# {_inline(Path(base['name']).name)}, {_inline(objective['name'])}",
        _opening(manifest, base, adapter, scores),
        "## Training",
        _facts(
            {
                "Data": ", ".join(_part(part) for part in config["data"]),
                "Rows": _rows(manifest, config),
                "Data's hash": manifest.get("data", {}).get("fingerprint"),
                "Chat template's hash": manifest.get("template_hash"),
                "Objective": objective["name"],
                "Loss": objective["formula"],
                "Source": objective["source"],
                "Settings": ", ".join(f"{key} = {value}" for key, value in settings.items()),
                "Reference": _reference(manifest, config),
                "Reference's identity": (manifest.get("reference") or {}).get("identity"),
                "Learning rate": f"{config['train']['lr']} ({manifest['lr_source']})",
                "Weights": manifest.get("weights"),
                "Versions": ", ".join(f"{name} {number}" for name, number in manifest["versions"].items()),
            }
        ),
        "## Evaluation",
        _table(evaluation),
        _limits(scores),
    ]
    return "\n\n".join(parts) + "\n"


def _limits(scores: bool) -> str:
    who, unsaid = (
        ("the scores tell", "how they rank what a policy trained on them will write, nor other prompts")
        if scores
        else ("the policy tells", "that people prefer what the policy writes, nor how it does on other prompts")
    )
    return (
        f"Accuracy says that {who} the annotators' choice from the other answer on prompts held out from the same "
        f"data. It does not say {unsaid}."
    )


def _use(adapter: bool) -> str:
    """Return how a reward model is loaded, and where its scores are."""
    names = "with `num_labels=1`, PEFT installed, then its `config.pad_token_id` set to the tokenizer's"
    return (
        "It gives a response one number, its score, at the response's last token (end of turn included). Load it with "
        f"`AutoModelForSequenceClassification.from_pretrained`{f' ({names})' if adapter else ''}; `logits` are scores. "
        "Only differences between responses to one prompt were learned from people."
    )


def _opening(manifest: Json, base: Json, adapter: bool, scores: bool) -> str:
    name = f"`{base['name']}`" + (f" at revision `{base['revision']}`" if base["revision"] else "")
    if base["fingerprint"]:
        name += f" (hash of its weights `{base['fingerprint']}`)"
    what = "A reward model, trained" if scores else "Trained"
    if not adapter:
        return f"{what} with logratio from {name}." + (f"\n\n{_use(adapter)}" if scores else "")
    use = (
        "To use it, load this folder with `AutoModelForCausalLM.from_pretrained` (PEFT installed), which loads the "
        "base and puts the adapter on it."
    )
    kind = "low-rank adapter and scalar head of a reward model" if scores else "low-rank adapter"
    return (
        f"A {kind}, trained with logratio on {name}.\n\n{_use(adapter) if scores else use} To merge, run `logratio "
        "export` with `--merge`: it checks that the base is the one named here, adds s·B·A to each adapted weight W in "
        "float32, puts modules that were trained whole in place of the base's, unties a tied head that has changed, "
        "and writes the result in the base's dtype."
    )


def known_elsewhere(base: Json) -> dict[str, Any]:
    """Return a base by hub name and revision, also where it lies in the hub's cache; any other folder by its name."""
    path = Path(base["name"])
    if not path.is_absolute():
        return {**base, "hub": True}
    if cached := _SNAPSHOT.search(path.as_posix()):
        return {**base, "name": cached[1].replace("--", "/"), "revision": cached[2], "hub": True}
    return {**base, "name": path.name, "hub": False}


def _reference(manifest: Json, config: Json) -> str:
    """Return what the reference is, without paths of the machine where it was trained."""
    text = str((manifest.get("reference") or {}).get("description") or "none")
    model = manifest.get("model", {})
    for name in filter(None, (model.get("name"), model.get("base"), config.get("reference"))):
        text = text.replace(name, known_elsewhere({"name": name})["name"])
    return text


def _part(part: Any) -> str:
    path = Path(part["path"])
    return (path.name if path.is_absolute() else str(part["path"])) + (
        f" × {part['weight']:g}" if part.get("weight", 1) != 1 else ""
    )


def _rows(manifest: Json, config: Json) -> str:
    """Return what was read of the data, without paths of the machine where it was trained."""
    text = "; ".join(manifest.get("rows", ()))
    for path in (Path(part["path"]) for part in config["data"]):
        text = text.replace(str(path), path.name) if path.is_absolute() else text
    return text


def _facts(values: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {_inline(value)}" for name, value in values.items() if value)


def _table(evaluation: Json) -> str:
    rows = [(name, value) for name, value in evaluation.items() if isinstance(value, Mapping)]
    measured = [(name, value) for name, value in rows if value.get("mean") is not None]
    if not measured:
        return "Nothing was measured on held-out data."
    lines = ["| metric | mean | 95 % interval | n |", "| --- | ---: | ---: | ---: |"]
    for name, value in measured:
        known = value.get("low") is not None and value.get("high") is not None
        ends = f"{value['low']:.4g} to {value['high']:.4g}" if known else "unknown"
        lines.append(f"| {_inline(name)} | {value['mean']:.4g} | {ends} | {value.get('n', 'unknown')} |")
    return "\n".join(lines)


def _inline(value: Any) -> str:
    """Return a value as one line of Markdown in which nothing of it acts as markup."""
    text = html.escape(" ".join(str(value).split()), quote=False)
    for mark in "\\`*_[]|":
        text = text.replace(mark, f"\\{mark}")
    return text


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
