"""What goes to the tokenizer in one call: many records, or few long ones; none is lost or moved."""

from logratio.data.parts import in_parts, next_part
from logratio.records import Demonstration, Origin, Pair, Ranked

ORIGIN = Origin("x.jsonl", 1)


def pair(characters):
    return Pair(prompt="p" * characters, chosen="c" * characters, rejected="", origin=ORIGIN)


def test_short_records_go_together_in_order():
    records = [pair(n % 7) for n in range(2500)]
    parts = list(in_parts(records))
    assert [(part.at, len(part.records)) for part in parts] == [(0, 1024), (1024, 1024), (2048, 452)]
    assert [record for part in parts for record in part.records] == records


def test_a_part_ends_with_the_record_that_fills_it():
    records = [pair(1 << 19)] * 20  # each is encoded as four times its prompt's length: prompt, and twice with it
    parts = [len(part.records) for part in in_parts(records)]
    assert parts == [2] * 10
    assert len(next_part(iter([pair(1 << 23)] * 3))) == 1


def test_every_response_of_every_kind_counts():
    turns = ({"role": "user", "content": "x" * (1 << 20)},)
    ranked = Ranked(prompt=turns, responses=("a", "b", "c"), scores=(1.0, 2.0, 3.0), origin=ORIGIN)
    shown = Demonstration(prompt="", response="y" * (1 << 22), origin=ORIGIN)
    assert [len(part.records) for part in in_parts([ranked, shown, shown])] == [1, 1, 1]


def test_a_shard_takes_no_more_than_it_has_room_for():
    reading = iter([pair(1)] * 10)
    assert [len(next_part(reading, 4)) for _ in range(4)] == [4, 4, 2, 0]
