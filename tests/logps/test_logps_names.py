"""Names of blocks: those of the tokens, found without reading a row once they are known, and never believed wrongly."""

import os

import numpy as np
import pytest

from logratio.batch.group import Columns, Group
from logratio.config import TokensConfig
from logratio.data.prepared import Groups, Members
from logratio.data.store import Entry, Shard, TokenStore, write_rows
from logratio.data.tokenrows import TokenRow
from logratio.files import cache_root, content_hash, read_shard, write_shard
from logratio.logps import reference
from logratio.logps.checked import checked_values
from logratio.logps.names import block, block_name, made_names, remembered_names
from logratio.logps.policy import Policy
from logratio.logps.reference import ReferenceCache, score
from logratio.records import Origin
from logratio.train.source import Mismatched, mismatch
from worlds import random_groups, tiny_llama

DRAWN = random_groups(23, seed=4)
ROWS = np.arange(23)
WHOLE = {"max_length": 64}
CUT = {"max_length": 12, "overflow": "truncate"}
LEFT = {"max_length": 14, "overflow": "left_prompt"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reference, "BLOCK", 4)


@pytest.fixture(scope="module")
def policy():
    return Policy(tiny_llama())


@pytest.fixture
def read(monkeypatch):
    """The rows that were read from a store, one after the other."""
    rows = []
    plain = TokenStore.__getitem__

    def noted(self, index):
        rows.append(index)
        return plain(self, index)

    monkeypatch.setattr(TokenStore, "__getitem__", noted)
    return rows


def store(folder, drawn=DRAWN):
    """Groups as rows of two shards."""
    at = Origin("rows.jsonl", 1)
    rows = [
        TokenRow(g.row, g.prompt, g.responses, g.loss, g.edges, dict(g.columns.response), dict(g.columns.edge), at)
        for g in drawn
    ]
    folder.mkdir(exist_ok=True)
    for number, part in enumerate((rows[:10], rows[10:])):
        write_rows(folder / f"{number}.shard", part, base=0, meta={})
    return TokenStore(folder, [Entry.of(Shard.open(folder / f"{number}.shard")) for number in range(2)])


def groups_of(store, members=None, *, bos=True, **rule):
    return Groups(store, members or Members.single(ROWS), TokensConfig(**(rule or WHOLE)), bos=bos)


def borrowing(groups, *, most=64, hashes=ROWS):
    return mismatch(groups, hashes.astype(np.uint64), most)


def of_tokens(groups):
    """Return the names that a plain list of the same groups has."""
    return [block_name(block(list(groups), number, 4)) for number in range(-(-len(groups) // 4))]


def cache():
    return ReferenceCache.open(weights="a")


def fill(policy, groups):
    return cache().fill(policy, groups, bin_tokens=60)


def note():
    (path,) = (cache_root() / "names").iterdir()
    return path


FORMS = {
    "whole": lambda found: groups_of(found),
    "truncated": lambda found: groups_of(found, **CUT),
    "cut on the left": lambda found: groups_of(found, **LEFT),
    "grouped": lambda found: groups_of(found, Members.of(ROWS, ROWS // 2)),
    "chosen": lambda found: groups_of(found).select([7, 2, 11, 3, 19]),
    "borrowing": lambda found: borrowing(groups_of(found)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_second_pass_over_the_same_data_reads_no_row_and_has_the_names_of_the_tokens(policy, read, tmp_path, form):
    make = FORMS[form]
    first = list(fill(policy, make(store(tmp_path / "first"))))
    assert read
    again = make(store(tmp_path / "again"))  # the same content in another place
    del read[:]
    values = fill(policy, again)
    assert read == []
    assert [one.tobytes() for one in values] == [one.tobytes() for one in first]
    assert remembered_names(again, 4) == of_tokens(again)
    assert {path.stem for path in cache().folder.iterdir()} == set(of_tokens(again))


def test_only_the_spot_check_reads_rows_of_a_known_data_set(policy, read, tmp_path):
    groups = groups_of(store(tmp_path / "rows"))
    checked_values(cache(), policy, groups, bin_tokens=60)
    del read[:]
    told = []
    checked_values(cache(), policy, groups, bin_tokens=60, warn=told.append)
    assert read == [0, 11, 22] and told == []


def other_token(at):
    tokens = DRAWN[at].responses[1].copy()
    tokens[-1] ^= 1
    changed = type(DRAWN[at])(
        DRAWN[at].row,
        DRAWN[at].prompt,
        (DRAWN[at].responses[0], tokens),
        DRAWN[at].loss,
        DRAWN[at].edges,
        DRAWN[at].columns,
    )
    return [*DRAWN[:at], changed, *DRAWN[at + 1 :]]


CHANGES = {
    "a token": lambda folder: groups_of(store(folder, other_token(9))),
    "rows": lambda folder: groups_of(store(folder), Members.single(ROWS[::-1])),
    "grouping": lambda folder: groups_of(store(folder), Members.of(ROWS, ROWS // 22)),
    "length": lambda folder: groups_of(store(folder), max_length=12),
    "overflow": lambda folder: groups_of(store(folder), **CUT),
    "bos": lambda folder: groups_of(store(folder), bos=False),
    "borrowed": lambda folder: borrowing(groups_of(store(folder))),
    "borrowed from others": lambda folder: borrowing(groups_of(store(folder)), hashes=ROWS // 2),
    "borrowed in part": lambda folder: borrowing(groups_of(store(folder)), most=12),
}


def test_whatever_decides_the_groups_changes_their_identity(tmp_path):
    folders = {name: tmp_path / name.replace(" ", "_") for name in ("none", *CHANGES)}
    identities = [groups_of(store(folders["none"])).identity]
    identities += [make(folders[name]).identity for name, make in CHANGES.items()]
    assert len(set(identities)) == len(identities)


@pytest.mark.parametrize("change", CHANGES)
def test_a_pass_after_a_change_gives_what_it_gives_alone(policy, tmp_path, change):
    """Blocks whose tokens are the same are shared all the same."""
    fill(policy, groups_of(store(tmp_path / "rows")))
    before = {path.name: path.stat().st_mtime_ns for path in cache().folder.iterdir()}
    changed = CHANGES[change](tmp_path / "changed")
    values = fill(policy, changed)
    expected = [
        score(policy, block(list(changed), number, 4), bin_tokens=60) for number in range(-(-len(changed) // 4))
    ]
    assert [value.tobytes() for value in values] == [value.tobytes() for part in expected for value in part]
    after = {path.name: path.stat().st_mtime_ns for path in cache().folder.iterdir()}
    assert before.items() <= after.items()
    new = {name.removesuffix(".shard") for name in after.keys() - before.keys()}
    assert new == set(of_tokens(changed)) - set(of_tokens(DRAWN))


def test_the_same_groups_have_one_identity_however_they_were_chosen(tmp_path):
    groups = groups_of(store(tmp_path / "rows"))
    chosen = groups.select(range(5, 20)).select(range(3, 9))
    assert chosen.identity == groups[8:14].identity == groups_of(groups._store, Members.single(ROWS[8:14])).identity
    assert groups.select([1, 2]).identity != groups.select([2, 1]).identity
    pairs = Members.of(ROWS[:4], np.array([0, 0, 1, 1]))
    assert groups_of(groups._store, pairs).identity != groups_of(groups._store, Members.single(ROWS[:4])).identity


def test_groups_in_memory_have_no_identity_and_leave_no_note(policy):
    fill(policy, DRAWN)
    mixed = borrowing(DRAWN)
    assert mixed.identity is None
    fill(policy, mixed)
    assert not (cache_root() / "names").exists()


def foreign(path):
    """A sound note of other groups under this one's name."""
    whole = path.read_bytes()
    made_names(groups_of(store(path.parent.parent / "more")).select(ROWS[::-1]), 4)
    (other,) = (each for each in path.parent.iterdir() if each != path)
    other.replace(path)
    assert path.read_bytes() != whole


def short(path):
    arrays, meta = read_shard(path)
    write_shard(path, {"names": np.array(arrays["names"])[:-1]}, meta)


def other_array(path):
    arrays, meta = read_shard(path)
    write_shard(path, {"name": np.array(arrays["names"])}, meta)


HARMS = {
    "flip": lambda path: path.write_bytes(path.read_bytes()[:-50] + b"\x07" + path.read_bytes()[-49:]),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-70]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"hello"),
    "foreign": foreign,
    "short": short,
    "other array": other_array,
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_or_foreign_note_is_ignored_and_made_again(policy, read, tmp_path, harm):
    groups = groups_of(store(tmp_path / "rows"))
    first = list(fill(policy, groups))
    path = note()
    sound = path.read_bytes()
    HARMS[harm](path)
    assert remembered_names(groups, 4) is None
    del read[:]
    assert [one.tobytes() for one in fill(policy, groups)] == [one.tobytes() for one in first]
    assert read == ROWS.tolist()
    assert path.read_bytes() == sound


def rewritten(path, change):
    """Write a sound note with other names in it."""
    arrays, meta = read_shard(path)
    write_shard(path, {"names": change(np.array(arrays["names"]))}, meta)


def test_no_block_is_written_under_a_name_that_is_not_its_tokens(policy, tmp_path):
    """As if groups had come to be made otherwise, and nobody had counted `_FORMAT` on."""
    groups = groups_of(store(tmp_path / "rows"))
    first = list(fill(policy, groups))
    before = {path.name: path.read_bytes() for path in cache().folder.iterdir()}
    rewritten(note(), lambda names: names ^ 1)
    assert [one.tobytes() for one in fill(policy, groups)] == [one.tobytes() for one in first]
    assert {path.name: path.read_bytes() for path in cache().folder.iterdir()} == before
    assert remembered_names(groups, 4) == of_tokens(groups)


def test_names_of_other_blocks_that_are_there_are_caught_by_the_spot_check(policy, tmp_path):
    groups = groups_of(store(tmp_path / "rows"))
    first = list(checked_values(cache(), policy, groups, bin_tokens=60))
    rewritten(note(), lambda names: names[[1, 0, 2, 3, 4, 5]])
    told = []
    again = checked_values(cache(), policy, groups, bin_tokens=60, warn=told.append)
    assert len(told) == 1 and "computed again" in told[0]
    assert [one.tobytes() for one in again] == [one.tobytes() for one in first]
    assert remembered_names(groups, 4) == of_tokens(groups)


def test_a_cache_that_cannot_be_written_stops_no_naming(tmp_path):
    groups = groups_of(store(tmp_path / "rows"))
    cache_root().mkdir(parents=True)
    (cache_root() / "names").write_text("a file where the folder should be")
    assert made_names(groups, 4) == of_tokens(groups)
    assert remembered_names(groups, 4) is None


def regular(row):
    """A group that no random number decides."""
    prompt, *responses = (
        (np.arange(n) * 7 + row + n).astype(np.int32) for n in (1 + row % 8, 2 + row % 10, 11 - row % 9)
    )
    loss = tuple(np.arange(len(response)) % 5 != 1 for response in responses)
    columns = Columns(response={"weight": np.ones(2, np.float32)}, edge={"weight": np.ones(1, np.float32)})
    return Group(row, prompt, tuple(responses), loss, np.array([[0, 1]], np.int32), columns)


PINNED = "f267175295555000a188f5adb09064f4"
"""Of the groups that known rows become. Where a change of code alters them, raise `prepared._FORMAT` (for what rows
are merged or cut into) or `train.source._BORROWED` (for what is borrowed), then put the new hash here."""


def test_what_known_rows_become_is_as_it_was_when_notes_were_made(tmp_path):
    found = store(tmp_path / "rows", [regular(row) for row in range(23)])
    forms = [make(found) for form, make in FORMS.items() if form != "borrowing"]
    forms.append(Mismatched(groups_of(found), (ROWS + 5) % 23, 12))
    assert content_hash([of_tokens(groups) for groups in forms]) == PINNED


def test_more_blocks_than_may_be_open_hold_few_file_descriptors(policy, monkeypatch):
    monkeypatch.setattr(reference, "_OPEN", 2)
    values = fill(policy, DRAWN)
    expected = [score(policy, block(DRAWN, number, 4), bin_tokens=60) for number in range(6)]
    flat = [value for part in expected for value in part]
    before = len(os.listdir("/proc/self/fd"))
    for at in (*range(23), 0, 22, 5, 13):
        assert values[at].tobytes() == flat[at].tobytes()
    assert len(os.listdir("/proc/self/fd")) - before <= 2
    with pytest.raises(IndexError):
        values[23]
