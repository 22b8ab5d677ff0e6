import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tokenizers import AT

from logratio import files
from logratio.config import TokensConfig
from logratio.data.grouping import merge
from logratio.data.overflow import Lengths, fit, fitting
from logratio.data.store import Entry, Shard, TokenStore, prompt_hash, read_index, write_index, write_rows
from logratio.data.tokenrows import TokenRow
from logratio.errors import DataError
from logratio.records import Origin


def ints(*values):
    return np.array(values, dtype=np.int32)


def row(at, prompt, *responses, edges=((0, 1),), masks=None, weight=1.0, label=None, origin=AT):
    count = len(responses)
    response = {"weight": np.full(count, weight, np.float32)}
    if label is not None:
        response["label"] = np.full(count, label, np.float32)
    return TokenRow(
        at=at,
        prompt=ints(*prompt),
        responses=tuple(ints(*ids) for ids in responses),
        loss=tuple(np.array(mask, bool) for mask in masks or [[True] * len(ids) for ids in responses]),
        edges=np.array(edges, np.int32).reshape(-1, 2),
        response=response,
        edge={"weight": np.full(len(edges), weight, np.float32), "margin": np.zeros(len(edges), np.float32)},
        origin=origin,
    )


def stored(folder, *batches):
    for number, rows in enumerate(batches):
        write_rows(folder / f"{number}.shard", rows, base=number * 100, meta={})
    return TokenStore(folder, [Entry.of(Shard.open(folder / f"{number}.shard")) for number in range(len(batches))])


def test_rows_come_back_as_groups_from_several_shards(tmp_path):
    batches = (
        [row(0, [1, 2], [3, 4, 5], [6, 5]), row(3, [], [7, 8], [9, 7], [9, 9], edges=((0, 1), (2, 1), (0, 2)))],
        [],
        [row(1, [4], [5], edges=(), weight=2.0, masks=[[True]], origin=Origin("other.jsonl", 9))],
    )
    store = stored(tmp_path, *batches)
    assert len(store) == 3
    for group, made, index in zip(store, [*batches[0], *batches[2]], (0, 3, 201), strict=True):
        assert group.row == index
        assert group.prompt.tolist() == made.prompt.tolist()
        assert [ids.tolist() for ids in group.responses] == [ids.tolist() for ids in made.responses]
        assert [mask.tolist() for mask in group.loss] == [mask.tolist() for mask in made.loss]
        assert group.edges.tolist() == made.edges.tolist() and group.edges.shape == made.edges.shape
        assert {name: list(values) for name, values in group.columns.edge.items()} == {
            name: list(values) for name, values in made.edge.items()
        }
        assert list(group.columns.response["weight"]) == list(made.response["weight"])
        assert (group.prompt.dtype, group.loss[0].dtype, group.edges.dtype) == (np.int32, np.bool_, np.int32)
    assert str(store.origin(2)) == "other.jsonl, row 9"
    with pytest.raises(IndexError):
        store[3]


def test_tokens_are_memory_mapped(tmp_path):
    group = stored(tmp_path, [row(0, [1, 2], [3], [4])])[0]
    base = group.prompt
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_one_file_descriptor_a_shard(tmp_path):
    import os

    before = len(os.listdir("/proc/self/fd"))
    store = stored(tmp_path, *([row(0, [1, 2], [3], [4])] for _ in range(10)))
    assert len(os.listdir("/proc/self/fd")) - before <= len(store)


def test_a_damaged_shard_is_absent(tmp_path):
    write_rows(tmp_path / "a.shard", [row(0, [1, 2], [3], [4])], base=0, meta={})
    content = bytearray((tmp_path / "a.shard").read_bytes())
    content[-64] ^= 1
    (tmp_path / "a.shard").write_bytes(content)
    assert Shard.open(tmp_path / "a.shard") is None


def test_content_knows_tokens_and_masks(tmp_path):
    kinds = {
        "same": row(0, [1], [2, 3], [4]),
        "again": row(0, [1], [2, 3], [4]),
        "token": row(0, [1], [2, 5], [4]),
        "mask": row(0, [1], [2, 3], [4], masks=[[True, False], [True]]),
        "weight": row(0, [1], [2, 3], [4], weight=0.5),
    }
    contents = {}
    for name, made in kinds.items():
        (tmp_path / name).mkdir()
        contents[name] = stored(tmp_path / name, [made]).content
    assert contents["same"] == contents["again"]
    assert len(set(contents.values())) == 4


def test_the_prompt_hash_does_not_depend_on_machine_or_width():
    assert prompt_hash(ints(1, 2)) == prompt_hash(np.array([1, 2], dtype=">i8")) != prompt_hash(ints(2, 1))


# Length rules


def lengths(*rows):
    return Lengths(*(np.array(column, np.int64) for column in zip(*rows, strict=True)))


@pytest.mark.parametrize(
    ("overflow", "expected"),
    [
        ("drop", [True, False, False, False, False, False]),
        ("left_prompt", [True, True, False, False, True, False]),
        ("truncate", [True, True, True, False, False, True]),
    ],
)
def test_which_rows_stay(overflow, expected):
    # (prompt, longest response, tokens needed) against 10: fits; both can be cut; the response; none; the prompt;
    # and one whose response leaves room for BOS alone
    rows = lengths((4, 6, 1), (8, 8, 2), (5, 20, 5), (10, 20, 1), (8, 8, 3), (8, 9, 2))
    rule = TokensConfig(max_length=10, overflow=overflow)
    assert fitting(rows, rule, bos=True).tolist() == expected


def test_hall_of_fame_5_cutting_the_prompt_leaves_responses_whole_and_bos_in_place(tmp_path):
    group = stored(tmp_path, [row(0, [1, *range(10, 20)], [20, 21, 22, 2], [23, 2])])[0]
    cut = fit(group, TokensConfig(max_length=8, overflow="left_prompt"), bos=True)
    assert cut.prompt.tolist() == [1, 17, 18, 19]
    assert [ids.tolist() for ids in cut.responses] == [[20, 21, 22, 2], [23, 2]]
    cut = fit(group, TokensConfig(max_length=8, overflow="left_prompt"), bos=False)
    assert cut.prompt.tolist() == [16, 17, 18, 19]


def test_a_truncated_response_gets_no_eos_and_a_whole_one_keeps_it(tmp_path):
    group = stored(tmp_path, [row(0, [1, 5], [20, 21, 22, 2], [23, 2])])[0]
    cut = fit(group, TokensConfig(max_length=5, overflow="truncate"), bos=True)
    assert [ids.tolist() for ids in cut.responses] == [[20, 21, 22], [23, 2]]
    assert [len(mask) for mask in cut.loss] == [3, 2]
    assert cut.prompt.tolist() == [1, 5]


def test_what_truncation_must_keep(tmp_path):
    rows = [
        row(0, [1], [5, 6, 7, 2], [5, 6, 8, 2]),  # part at the third token
        row(1, [1], [5, 2], [5, 6, 2]),  # at the second
        row(2, [1], [5, 6, 7, 2], edges=(), masks=[[False, False, False, True]]),  # scored only at the fourth
        row(3, [], [5, 6, 2], edges=()),  # the first token of all has no predecessor
    ]
    assert stored(tmp_path, rows).lengths.needed.tolist() == [3, 2, 4, 2]


@settings(max_examples=200, deadline=None)
@given(
    prompt=st.integers(0, 12),
    sizes=st.lists(st.integers(2, 12), min_size=2, max_size=3),
    most=st.integers(1, 24),
    overflow=st.sampled_from(["drop", "left_prompt", "truncate"]),
    bos=st.booleans(),
)
def test_whatever_stays_fits_and_shares_one_prompt(tmp_path_factory, prompt, sizes, most, overflow, bos):
    made = row(0, range(prompt), *([100 + k] * size for k, size in enumerate(sizes)))
    store = stored(tmp_path_factory.mktemp("any"), [made])
    rule = TokensConfig(max_length=most, overflow=overflow)
    if not fitting(store.lengths, rule, bos=bos)[0]:
        assert prompt + max(sizes) > most
        return
    group = fit(store[0], rule, bos=bos)
    assert all(0 < len(group.prompt) + len(ids) <= most or not prompt for ids in group.responses)
    assert all(len(ids) == len(mask) > 0 for ids, mask in zip(group.responses, group.loss, strict=True))
    assert bool(len(group.prompt)) == bool(prompt)
    kept = group.prompt.tolist()
    assert kept == ([0] if bos and kept else []) + list(range(prompt))[prompt - len(kept) + (bos and bool(kept)) :]


# Grouping by prompt


def test_rows_of_one_prompt_become_one_group_with_each_response_once(tmp_path):
    store = stored(
        tmp_path,
        [
            row(0, [1], [10, 2], [11, 2]),
            row(1, [1], [11, 2], [12, 2], weight=3.0),
            row(2, [1], [10, 2], [12, 2]),
        ],
    )
    group = merge([store[0], store[1], store[2]])
    assert [ids.tolist() for ids in group.responses] == [[10, 2], [11, 2], [12, 2]]
    assert group.edges.tolist() == [[0, 1], [1, 2], [0, 2]]
    assert group.columns.edge["weight"].tolist() == [1.0, 3.0, 1.0]
    assert group.columns.response["weight"].tolist() == [2.0, 4.0, 4.0]  # the sum over rows, response by response


def test_the_same_response_judged_differently_stays_twice(tmp_path):
    rows = [row(n, [1], [10, 2], edges=(), label=label) for n, label in enumerate((1.0, 0.0, 1.0))]
    store = stored(tmp_path, rows)
    group = merge([store[0], store[1], store[2]])
    assert group.columns.response["label"].tolist() == [1.0, 0.0]
    assert group.columns.response["weight"].tolist() == [2.0, 1.0]


# What is read when


def many(folder, *, shards, rows=4):
    """A store of `shards` shards whose rows are told apart by their prompts."""
    batches = [[row(at, [shard, at], [7, 8], [9]) for at in range(rows)] for shard in range(shards)]
    return stored(folder, *batches)


@pytest.fixture
def hashed(monkeypatch):
    """Names of the arrays that are read through to check them, with their bytes."""
    seen, plain = [], files._sha256
    monkeypatch.setattr(files, "_sha256", lambda array: seen.append(array.nbytes) or plain(array))
    return seen


def test_a_row_is_read_without_opening_the_other_shards_or_reading_other_tokens(tmp_path, hashed):
    store = many(tmp_path, shards=20, rows=300)
    hashed.clear()
    index = tmp_path / "rows.index"
    write_index(index, [Entry.of(Shard.open(tmp_path / f"{n}.shard", whole=False)) for n in range(20)], {"told": 1})
    hashed.clear()
    entries, told = read_index(index)
    assert told == {"told": 1} and sum(hashed) == 20 * 300 * (8 + 4 + 4 + 4)  # hash and three lengths a row
    assert all(entry.holds(tmp_path) for entry in entries)
    again = TokenStore(tmp_path, entries)
    assert again.content == store.content and (again.prompt_hash == store.prompt_hash).all()
    hashed.clear()
    assert again[3 * 300 + 2].prompt.tolist() == [3, 2] and again[3 * 300 + 5].prompt.tolist() == [3, 5]
    opened = sum(hashed)
    assert again[0].prompt.tolist() == [0, 0]
    assert sum(hashed) == 2 * opened  # each shard once
    hashed.clear()
    arrays = Shard.open(tmp_path / "3.shard").arrays
    assert sum(hashed) == opened + arrays["tokens"].nbytes + arrays["loss"].nbytes


def test_a_flipped_bit_among_the_tokens_is_met_when_its_row_is_read_and_not_before(tmp_path):
    store = many(tmp_path, shards=2)
    path = tmp_path / "1.shard"
    state = path.stat()
    at = path.read_bytes().index(np.array([1, 2, 7, 8, 9], np.int32).tobytes())
    content = bytearray(path.read_bytes())
    content[at + 4] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # as a failing disk would leave it
    assert store[4 + 1].prompt.tolist() == [1, 1]
    with pytest.raises(DataError, match="1.shard are damaged or gone: run again"):
        store[4 + 2]
    assert not path.exists() and store[0].prompt.tolist() == [0, 0]


def test_a_shard_that_is_gone_or_another_is_refused(tmp_path):
    store = many(tmp_path, shards=3)
    (tmp_path / "0.shard").unlink()
    os.replace(tmp_path / "2.shard", tmp_path / "1.shard")
    for at in (0, 4):
        with pytest.raises(DataError, match="damaged or gone"):
            store[at]


def test_no_more_shards_are_open_than_a_system_allows_files(tmp_path, monkeypatch):
    monkeypatch.setattr("logratio.data.store._OPEN", 3)
    store = many(tmp_path, shards=9, rows=1)
    held = [store[at] for at in range(9)]
    assert [group.prompt.tolist() for group in held] == [[at, 0] for at in range(9)]
    assert len(store._opened) == 3 and store[0].prompt.tolist() == [0, 0]
