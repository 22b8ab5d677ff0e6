"""160,000 pairs in under three minutes on two cores: `pytest -m slow -s tests/audit/test_audit_speed.py`."""

import gzip
import json
import random
import re
import time

import pytest

from logratio.audit.brief import brief
from logratio.audit.run import audit

PAIRS, FAULTY = 160_000, 0.02


def multiplied(source, count, seed=0):
    """Yield rows of the lengths of real transcripts, made of their sentences; a few repeat or contradict another."""
    drawn = random.Random(seed)
    with gzip.open(source, "rt", encoding="utf-8") as file:
        real = [json.loads(line) for line in file]
    sentences = [part for row in real for part in re.split(r"(?<=[.?!\n]) +", row["chosen"]) if len(part) > 20]
    sizes = [(row["chosen"].count(". ") + 1, row["chosen"].count("\n\nHuman:")) for row in real]
    before = None
    for _ in range(count):
        if before and drawn.random() < FAULTY:
            yield {"chosen": before["rejected"], "rejected": before["chosen"]} if drawn.random() < 0.5 else before
            continue
        length, turns = drawn.choice(sizes)
        prompt = "".join(
            f"\n\nHuman: {' '.join(drawn.choices(sentences, k=1 + length // (2 * turns + 1)))}\n\nAssistant:"
            + (f" {' '.join(drawn.choices(sentences, k=1 + length // (2 * turns + 1)))}" if turn < turns - 1 else "")
            for turn in range(max(1, turns))
        )
        chosen, rejected = (f" {' '.join(drawn.choices(sentences, k=drawn.randint(1, 5)))}" for _ in range(2))
        before = {"chosen": prompt + chosen, "rejected": prompt + rejected}
        yield before


@pytest.mark.slow
def test_many_pairs_take_minutes(shared_data, tmp_path):
    file = tmp_path / "pairs.jsonl"
    with open(file, "w", encoding="utf-8") as out:
        for row in multiplied(shared_data / "hh-harmless" / "train.jsonl.gz", PAIRS):
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    wall, used = time.perf_counter(), time.process_time()
    own = audit(file)
    wall, used = time.perf_counter() - wall, time.process_time() - used
    print(
        f"\n{own.rows.count:,} rows, {file.stat().st_size / 1e6:.0f} MB: {wall:.0f} s, {used:.0f} s of processor time"
    )
    print(f"  {own.seconds:6.1f} s reading")
    for found in own.findings:
        print(f"  {found.seconds:6.1f} s {found.name}: {found.says}")
    wall, used_brief = time.perf_counter(), time.process_time()
    brief(file)
    print(f"in brief: {time.perf_counter() - wall:.1f} s, {time.process_time() - used_brief:.1f} s of processor time")
    assert used < 1.5 * 180, "one and a half cores for three minutes"
