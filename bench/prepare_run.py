"""One measurement of preparation, in a process of its own: `python -m bench.prepare_run SPEC RESULT`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from logratio.config import DataPart, RowsConfig, TemplateConfig, TokensConfig
from logratio.data.parts import in_parts
from logratio.data.prepare import prepare
from logratio.data.prepared import Prepared, held_out
from logratio.data.read import rows
from logratio.data.source import read_records
from logratio.data.tokenize import Encoder
from logratio.models.load import load_tokenizer
from logratio.records import Pair
from logratio.train.source import FileSource

from .machine import peak_memory

SEED, BATCH, HOLDOUT, MOST = 0, 64, 0.05, 500
ROWS = RowsConfig(skip_bad_rows=True)
Spec = dict[str, Any]


def run(spec: Spec) -> dict[str, Any]:
    """Return what one kind of run found; `seconds` are wall and CPU, of all threads."""
    tokenizer = load_tokenizer(spec["tokenizer"])
    kinds: dict[str, Callable[[Spec, Any], dict[str, Any]]] = {
        "prepare": _prepare,
        "open": _first_step,
        "bulk": _bulk,
        "stages": _stages,
    }
    base = peak_memory()
    found = kinds[spec["kind"]](spec, tokenizer)
    return {**found, "kind": spec["kind"], "pairs": spec["pairs"], "base_memory": base, "peak_memory": peak_memory()}


def _prepared(spec: Spec, tokenizer: Any) -> Prepared:
    tokens = TokensConfig(max_length=2048)
    return prepare(
        Path(spec["data"]), kind="pairs", tokenizer=tokenizer, tokens=tokens, template=TemplateConfig(), rows=ROWS
    )


def _prepare(spec: Spec, tokenizer: Any) -> dict[str, Any]:
    with Clock() as clock:
        prepared = _prepared(spec, tokenizer)
    return {"seconds": clock.spent, "groups": len(prepared.groups), "fingerprint": prepared.fingerprint}


def _first_step(spec: Spec, tokenizer: Any) -> dict[str, Any]:
    """Open tokens that are there already, divide them by prompt, order them, and read the first step's groups."""
    with Clock() as clock:
        prepared = _prepared(spec, tokenizer)
        held = held_out(prepared.prompt_hash, share=HOLDOUT, most=MOST, seed=SEED)
        step = FileSource(prepared.groups, (~held).nonzero()[0], BATCH, 1.0, SEED).step(0)
        tokens = sum(int(ids.sum()) for group in step.groups for ids in (group.prompt, *group.responses))
    return {"seconds": clock.spent, "groups": len(prepared.groups), "read": tokens > 0}


def _bulk(spec: Spec, tokenizer: Any) -> dict[str, Any]:
    """Encode the texts that preparation encodes, all in memory, by the tokenizer library alone: the better call."""
    backend = tokenizer.backend_tokenizer
    texts = [text for prompt, whole, other in _texts(spec) for text in (prompt, whole, other)]
    spent = {}
    for name in ("encode_batch", "encode_batch_fast"):
        with Clock() as clock:
            for at in range(0, len(texts), spec["bulk_batch"]):
                getattr(backend, name)(texts[at : at + spec["bulk_batch"]], add_special_tokens=False)
        spent[name] = clock.spent
    best = min(spent, key=lambda name: spent[name][spec["clock"]])
    return {"seconds": spent[best], "call": best, "calls": spent, "texts": len(texts), "usable": len(texts) // 3}


def _stages(spec: Spec, tokenizer: Any) -> dict[str, Any]:
    """Time ever longer parts of the way, so that each stage is what it adds to the one before."""
    part = (DataPart(path=spec["data"]),)
    with Clock() as reading:
        for _ in rows(part[0]):
            pass
    with Clock() as validating:
        for _ in read_records(part, ROWS):
            pass
    encoder = Encoder(tokenizer, template=None, kind="pairs")
    with Clock() as encoding:
        for _ in encoder.stream(in_parts(read_records(part, ROWS))):
            pass
    with Clock() as storing:
        _prepared(spec, tokenizer)
    bulk = _bulk(spec, tokenizer)
    return {
        "passes": {
            "rows": reading.spent,
            "records": validating.spent,
            "tokens": encoding.spent,
            "shards": storing.spent,
        },
        "bulk": bulk,
    }


def _texts(spec: Spec) -> list[tuple[str, str, str]]:
    found = []
    for record in islice(read_records((DataPart(path=spec["data"]),), ROWS), spec["bulk_pairs"]):
        assert isinstance(record, Pair)
        prompt = str(record.prompt)
        found.append((prompt, prompt + str(record.chosen), prompt + str(record.rejected)))
    return found


class Clock:
    """Wall and CPU seconds of a block, of all threads of this process."""

    def __enter__(self) -> Clock:
        self._began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.spent = [time.perf_counter() - self._began[0], time.process_time() - self._began[1]]


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(run(json.loads(Path(sys.argv[1]).read_text()))), encoding="utf-8")
