import gzip
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_tokenizers import assistant, byte_tokenizer, text, user

from logratio import files
from logratio.batch.packed import pack
from logratio.config import RowsConfig, TemplateConfig, TokensConfig
from logratio.data import cache
from logratio.data.prepare import hold_out, prepare, tokenize_prompts
from logratio.data.prepared import held_out
from logratio.data.store import Shard
from logratio.data.tokenize import Encoder
from logratio.errors import DataError, ModelError, TemplateError
from logratio.files import cache_root
from logratio.train.source import FileSource

CHAT = [user("Hello")]


def pairs(count, prompts=None):
    return [
        {"prompt": f"the cat {n % (prompts or count)}", "chosen": f" sat on the mat {n}", "rejected": f" ran {n}"}
        for n in range(count)
    ]


def chats(*answers):
    return [{"prompt": CHAT, "chosen": [assistant(good)], "rejected": [assistant(bad)]} for good, bad in answers]


def prepared(
    data,
    tokenizer=None,
    *,
    kind="pairs",
    rows=None,
    template=None,
    date="2024-03-05",
    grouped=False,
    ties=False,
    **tokens,
):
    return prepare(
        data,
        kind=kind,
        tokenizer=tokenizer or byte_tokenizer(),
        tokens=TokensConfig(**tokens),
        template=TemplateConfig(**(template or {})),
        rows=RowsConfig(**(rows or {})),
        date=date,
        group_by_prompt=grouped,
        ties=ties,
    )


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tokenised(monkeypatch):
    """Counts the records that were tokenised."""
    seen = []
    plain = Encoder.stream

    def counted(self, parts):
        for made in plain(self, parts):
            seen.extend(made.part.records)
            yield made

    monkeypatch.setattr(Encoder, "stream", counted)
    return seen


def test_pairs_become_groups_that_pack(tmp_path):
    tokenizer = byte_tokenizer()
    found = prepared(str(write(tmp_path / "a.jsonl", pairs(3))), tokenizer)
    assert [group.row for group in found.groups] == [0, 1, 2]
    group = found.groups[1]
    assert text(tokenizer, group.prompt) == "the cat 1"
    assert [text(tokenizer, ids) for ids in group.responses] == [" sat on the mat 1</s>", " ran 1</s>"]
    assert group.edges.tolist() == [[0, 1]]
    batch = pack(list(found.groups))
    assert set(batch.edge) == {"weight", "margin", "probability", "tie"} and set(batch.response) == {"weight"}
    assert batch.edge["probability"].tolist() == [1.0, 1.0, 1.0]
    assert str(found.groups.origin(2)).endswith("a.jsonl, row 3")
    assert [group.row for group in found.groups[1:]] == [1, 2] and found.groups[-1].row == 2


def arena(tmp_path):
    """Four rows in the form of Chatbot Arena: two with a winner, a tie, and one where both are bad."""
    rows = [
        {"conversation_a": [user("Hi"), assistant(f"a{n}")], "conversation_b": [user("Hi"), assistant(f"b{n}")]}
        for n in range(4)
    ]
    winners = ("model_b", "tie", "model_a", "tie (bothbad)")
    return write(tmp_path / "arena.jsonl", [row | {"winner": won} for row, won in zip(rows, winners, strict=True)])


def test_ties_of_a_file_reach_an_objective_that_learns_from_them_and_no_other(tmp_path):
    tokenizer, file = byte_tokenizer(template="newline_after_end"), str(arena(tmp_path))
    without = prepared(file, tokenizer)
    assert [group.columns.edge["tie"].tolist() for group in without.groups] == [[0.0], [0.0]]
    assert any("tie, 1 row" in line for line in without.report.lines())
    kept = prepared(file, tokenizer, ties=True)
    assert [group.columns.edge["tie"].tolist() for group in kept.groups] == [[0.0], [1.0], [0.0], [2.0]]
    assert [text(tokenizer, group.responses[0])[:2] for group in kept.groups] == ["b0", "a1", "a2", "a3"]
    assert kept.fingerprint != without.fingerprint


@pytest.mark.parametrize("kind", ["demonstrations", "labels", "rankings"])
def test_ties_stay_out_of_kinds_that_have_no_room_for_them(tmp_path, kind):
    found = prepared(str(arena(tmp_path)), byte_tokenizer(template="newline_after_end"), kind=kind, ties=True)
    assert len(found.groups) == (6 if kind == "labels" else 2)


def test_a_pair_of_which_both_are_bad_is_two_bad_labels_where_labels_are_learned_from(tmp_path):
    tokenizer = byte_tokenizer(template="newline_after_end")
    found = prepared(str(arena(tmp_path)), tokenizer, kind="labels")
    label = {
        text(tokenizer, group.responses[0])[:2]: float(group.columns.response["label"][0]) for group in found.groups
    }
    assert label == {"b0": 1, "a0": 0, "a2": 1, "b2": 0, "a3": 0, "b3": 0}
    assert not any("both bad" in line for line in found.report.lines())
    assert any("tie, 1 row" in line for line in found.report.lines())


def test_the_margin_of_scored_responses_is_the_difference_of_their_scores(tmp_path):
    rows = [{"prompt": "p", "responses": [" a", " b", " c"], "scores": [1.0, 4.5, 2.0]}]
    (group,) = prepared(rows).groups
    scores = np.array([1.0, 4.5, 2.0])
    assert len(group.edges) == 3
    assert group.columns.edge["margin"].tolist() == (scores[group.edges[:, 0]] - scores[group.edges[:, 1]]).tolist()
    (own,) = prepared([rows[0] | {"margin": 0.5}]).groups
    assert own.columns.edge["margin"].tolist() == [0.5] * 3


@pytest.mark.parametrize(
    ("kind", "columns", "edges"),
    [("demonstrations", {"weight"}, 0), ("labels", {"weight", "label"}, 0), ("rankings", {"weight", "score"}, 1)],
)
def test_one_file_serves_several_kinds(kind, columns, edges):
    found = prepared(pairs(2), kind=kind)
    assert len(found.groups) == (4 if kind == "labels" else 2)
    assert set(found.groups[0].columns.response) == columns
    assert len(found.groups[0].edges) == edges


# The cache


def test_the_second_time_nothing_is_tokenised_whatever_the_length_rule(tmp_path, tokenised):
    path = write(tmp_path / "a.jsonl", pairs(5))
    first = prepared(path)
    assert len(tokenised) == 5
    again = prepared(path)
    shorter = prepared(path, max_length=14, overflow="truncate")
    grouped = prepared(path, grouped=True)
    shutil.copy(path, tmp_path / "b.jsonl")
    moved = prepared(tmp_path / "b.jsonl")
    assert len(tokenised) == 5
    assert first.fingerprint == again.fingerprint == moved.fingerprint
    assert len({found.fingerprint for found in (first, shorter, grouped)}) == 3
    assert first.report.lines() == again.report.lines()


def test_whatever_changes_tokens_tokenises_anew(tmp_path, tokenised):
    path = write(tmp_path / "a.jsonl", pairs(2))
    chat = byte_tokenizer(template="clock")
    other = byte_tokenizer(template="clock")
    other.chat_template += " "
    runs = [
        lambda: prepared(path),
        lambda: prepared(path, kind="rankings"),
        lambda: prepared(path, byte_tokenizer(bos=True)),
        lambda: prepared(path, byte_tokenizer(eos="<|end|>")),
        lambda: prepared(path, byte_tokenizer(pad=None)),  # another set of special tokens
        lambda: prepared(path, chat),
        lambda: prepared(path, other),
        lambda: prepared(path, chat, loss_on="last"),
        lambda: prepared(path, chat, date="2024-03-06"),
        lambda: prepared(path, chat, template={"use": "none"}),
        lambda: prepared(path, chat, template={"kwargs": {"a": 1}}),
        lambda: prepared(write(path, pairs(3))),
    ]
    for number, run in enumerate(runs):
        before = len(tokenised)
        run()
        assert len(tokenised) > before, number
    before = len(tokenised)
    prepared(path, byte_tokenizer(template="bos_inside"), date="2024-03-05")
    middle = len(tokenised)
    prepared(path, byte_tokenizer(template="bos_inside"), date="2024-03-06")  # it reads no clock
    assert before < middle == len(tokenised)


def test_an_iterable_is_known_by_its_rows(tokenised):
    first = prepared(pairs(4))
    assert prepared(iter(pairs(4))).fingerprint == first.fingerprint
    assert len(tokenised) == 4
    assert prepared(pairs(5)).fingerprint != first.fingerprint


def test_a_damaged_shard_is_made_again_and_said(tmp_path, tokenised, monkeypatch):
    monkeypatch.setattr(cache, "_SHARD", 3)
    path = write(tmp_path / "a.jsonl", pairs(8))
    first = prepared(path)
    shards = sorted(cache_root().rglob("*.shard"))
    assert len(shards) == 3
    content = bytearray(shards[1].read_bytes())
    content[-64] ^= 1
    shards[1].write_bytes(content)
    again = prepared(path)
    assert [record.origin.row for record in tokenised[8:]] == [4, 5, 6]
    assert again.fingerprint == first.fingerprint
    assert again.report.notes == (f"cached tokens {shards[1]} were damaged; made again",)
    assert [group.prompt.tolist() for group in again.groups] == [group.prompt.tolist() for group in first.groups]


def test_an_interrupted_run_keeps_its_shards(tmp_path, tokenised, monkeypatch):
    monkeypatch.setattr(cache, "_SHARD", 3)
    path = write(tmp_path / "a.jsonl", pairs(8))
    whole = prepared(path)
    folder = next(cache_root().rglob("rows.index")).parent
    (folder / "rows.index").unlink()
    (folder / "00002.shard").unlink()
    again = prepared(path)
    assert [record.origin.row for record in tokenised[8:]] == [7, 8]
    assert (again.fingerprint, again.report.notes) == (whole.fingerprint, ())


@pytest.fixture
def hashed(monkeypatch):
    """Bytes that are read through to check them: files of data, and arrays of shards."""
    seen, array, file = [], files._sha256, files.sha256_file
    monkeypatch.setattr(files, "_sha256", lambda values: seen.append(values.nbytes) or array(values))
    monkeypatch.setattr(files, "sha256_file", lambda path: seen.append(path.stat().st_size) or file(path))
    return seen


def test_the_first_step_of_cached_tokens_reads_no_more_than_it_needs(tmp_path, monkeypatch, tokenised, hashed):
    """Of the data file nothing; of the shards a summary of 20 bytes a row, and those that the step's groups are in."""
    monkeypatch.setattr(cache, "_SHARD", 50)
    path = write(tmp_path / "a.jsonl", pairs(1000))
    os.utime(path, (1, 1))  # long ago: what was written just now is not trusted to stay
    whole = prepared(path)
    opened = []
    monkeypatch.setattr(
        Shard, "open", lambda path, plain=Shard.open, **how: opened.append(path.name) or plain(path, **how)
    )
    tokenised.clear(), hashed.clear()
    again = prepared(path)
    assert not tokenised and not opened and sum(hashed) == 1000 * 20
    held = held_out(again.prompt_hash, share=0.1, most=50, seed=0)
    source = FileSource(again.groups, np.flatnonzero(~held), 4, 1.0, 0)
    assert sum(hashed) == 1000 * 20 and not opened
    step = source.step(0)
    assert sorted(opened) == sorted({f"{group.row // 50:05d}.shard" for group in step.groups})
    assert not any(held[group.row] for group in step.groups)
    shards = sum(file.stat().st_size for file in cache_root().rglob("*.shard"))
    assert sum(hashed) - 1000 * 20 < shards * len(opened) / 20
    assert [group.prompt.tolist() for group in step.groups] == [
        whole.groups[group.row].prompt.tolist() for group in step.groups
    ]


def test_a_copied_cache_is_read_through_once_and_then_trusted(tmp_path, tokenised, hashed):
    path = write(tmp_path / "a.jsonl", pairs(30))
    os.utime(path, (1, 1))
    first = prepared(path)
    for shard in cache_root().rglob("*.shard"):
        os.utime(shard, (5, 5))
    reads = []
    for _ in range(2):
        hashed.clear()
        assert prepared(path).fingerprint == first.fingerprint
        reads.append(sum(hashed))
    assert len(tokenised) == 30 and reads[1] == 30 * 20 < reads[0]


def test_a_lost_index_costs_no_tokens(tmp_path, tokenised, monkeypatch):
    monkeypatch.setattr(cache, "_SHARD", 7)
    path = write(tmp_path / "a.jsonl", pairs(30))
    first = prepared(path)
    index = next(cache_root().rglob("rows.index"))
    index.write_bytes(index.read_bytes()[:-40])
    again = prepared(path)
    assert (again.fingerprint, again.report.lines()) == (first.fingerprint, first.report.lines())
    assert len(tokenised) == 30


_PEAK = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_data_prepare import prepared
from small_tokenizers import byte_tokenizer
from logratio.data import texts
texts._REMEMBERED = 1 << 20  # the memory of texts, which is bounded, is full from the start
count = int(sys.argv[3])
path = Path(sys.argv[2])
with open(path, "w") as file:
    for n in range(count):
        file.write('{"prompt": "the cat %d", "chosen": " sat", "rejected": " ran"}\\n' % n)
found = prepared(path, byte_tokenizer())
assert len(found.groups) == count
found.groups[len(found.groups) // 2]
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's peak memory")
def test_more_rows_take_less_than_200_bytes_of_memory_each(tmp_path):
    """Peak memory in fresh processes; 1,000,000 pairs are to take less than 200 MB more than 10,000."""
    few, many, peaks = 20_000, 60_000, {}  # more than one shard each, and texts enough to fill what is remembered
    for count in (few, many):
        where = [str(Path(__file__).parent), str(tmp_path / f"{count}.jsonl"), str(count)]
        environment = {**os.environ, "LOGRATIO_CACHE": str(tmp_path / str(count))}
        command = [sys.executable, "-c", _PEAK, *where]
        told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        peaks[count] = int(told) * 1024
    assert (peaks[many] - peaks[few]) / (many - few) < 200, peaks


def _prepare_elsewhere(path, folder, queue):
    import os

    os.environ["LOGRATIO_CACHE"] = folder
    cache._SHARD = 50
    queue.put(prepared(path).fingerprint)


@pytest.mark.slow
def test_two_processes_may_write_at_once(tmp_path, monkeypatch):
    path, folder = str(write(tmp_path / "a.jsonl", pairs(400))), str(tmp_path / "both")
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    writers = [context.Process(target=_prepare_elsewhere, args=(path, folder, queue)) for _ in range(2)]
    for writer in writers:
        writer.start()
    found = {queue.get(timeout=120) for _ in writers}
    for writer in writers:
        writer.join()
    monkeypatch.setattr(cache, "_SHARD", 50)
    assert found == {prepared(path).fingerprint}


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    import tracemalloc

    monkeypatch.setattr(cache, "_SHARD", 64)
    tokenizer, peaks = byte_tokenizer(), []
    for count in (128, 128, 1024):  # the first warms up
        path = write(tmp_path / f"{count}-{len(peaks)}.jsonl", pairs(count))
        tracemalloc.start()
        prepared(path, tokenizer)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 2 * peaks[1]


# Length rules


def test_long_rows_are_dropped_and_counted_with_percentiles():
    rows = pairs(100)
    rows[7]["chosen"] += " on the mat" * 50
    rows[9]["rejected"] += " on the mat" * 40
    found = prepared(rows, max_length=100)
    assert len(found.groups) == 98
    assert not {7, 9} & {group.row for group in found.groups}
    total = [len(group.prompt) + max(map(len, group.responses)) for group in found.groups]
    line = found.report.length_line()
    assert line.startswith("2/100 pairs exceed 100 tokens (dropped); kept 98; p50=")
    assert found.report.percentiles["p50"] == sorted(total)[50] and found.report.percentiles["max"] > 150


def test_overflow_error_names_row_length_and_remedy(tmp_path):
    rows = pairs(3)
    rows[1]["chosen"] += " on the mat" * 50
    with pytest.raises(
        DataError, match=r"a.jsonl, row 2: prompt and response have \d+ tokens, tokens.max_length is 100"
    ):
        prepared(write(tmp_path / "a.jsonl", rows), max_length=100, overflow="error")


def test_left_prompt_and_truncate_keep_one_prompt(tmp_path):
    tokenizer = byte_tokenizer(bos=True)
    path = write(tmp_path / "a.jsonl", [{"prompt": "the cat sat on " * 20, "chosen": " yes", "rejected": " no no no"}])
    cut = prepared(path, tokenizer, max_length=20, overflow="left_prompt").groups[0]
    assert cut.prompt[0] == tokenizer.bos_token_id
    assert len(cut.prompt) + max(map(len, cut.responses)) == 20
    assert [text(tokenizer, ids) for ids in cut.responses] == [" yes</s>", " no no no</s>"]
    path = write(tmp_path / "b.jsonl", [{"prompt": "the cat", "chosen": " sat on the mat" * 9, "rejected": " ran"}])
    group = prepared(path, tokenizer, max_length=12, overflow="truncate").groups[0]
    assert tokenizer.eos_token_id not in group.responses[0] and group.responses[1][-1] == tokenizer.eos_token_id


def test_no_row_that_fits_is_an_error():
    with pytest.raises(DataError, match="all 3 pairs exceed tokens.max_length = 4 .the shortest has"):
        prepared(pairs(3), max_length=4)


# The template


def test_thinking_is_switched_off_where_no_response_thinks_and_that_is_said():
    tokenizer = byte_tokenizer(template="empty_think_block")
    found = prepared(chats(("yes", "no")), tokenizer)
    assert found.report.template.kwargs == {"enable_thinking": False}
    assert "enable_thinking set to False, since no response holds a think block" in "\n".join(found.report.lines())
    assert text(tokenizer, found.groups[0].prompt).endswith("<think></think>")
    template = TemplateConfig(kwargs=found.report.template.kwargs)
    alone = tokenize_prompts([tuple(CHAT)], tokenizer=tokenizer, template=template, date="2024-03-05")
    assert alone[0].tolist() == found.groups[0].prompt.tolist()


@pytest.mark.parametrize(
    ("answers", "kwargs"),
    [(("<think>the cat</think>yes", "no"), {}), (("yes", "no"), {"enable_thinking": True})],
)
def test_thinking_stays_where_a_response_thinks_or_a_person_chose(answers, kwargs):
    tokenizer = byte_tokenizer(template="empty_think_block")
    found = prepared(chats(answers), tokenizer, template={"kwargs": kwargs})
    assert found.report.template.kwargs == kwargs and not found.report.template.thinking_off
    assert text(tokenizer, found.groups[0].prompt).endswith("assistant|")


def test_the_report_says_what_was_chosen():
    tokenizer = byte_tokenizer(template="clock")
    tokenizer.name_or_path = "org/name"
    found = prepared(
        [
            *chats(("yes", "no")),
            {"prompt": CHAT, "chosen": [assistant("yes"), *CHAT, assistant("no")], "rejected": "no"},
        ],
        tokenizer,
    )
    lines = found.report.lines()
    used = found.report.template
    assert f"template: the chat template of org/name ({used.hash[:12]}); a turn ends with <|end|>" in lines
    assert "template: it reads the clock, and is told 2024-03-05" in lines
    assert "rows as text: 2 messages" in lines
    assert "1 pairs part before their last turn" in lines
    assert used.date == "2024-03-05"


def test_swallowed_text_and_merged_boundaries_are_reported():
    tokenizer = byte_tokenizer(template="drops_earlier_thoughts")
    turns = [*CHAT, assistant("<think>the cat</think>yes"), *CHAT, assistant("no")]
    lines = "\n".join(prepared([{"messages": turns}], tokenizer, kind="demonstrations").report.lines())
    assert "1 demonstrations hold response text that the template leaves out, as:\n  data, row 1: the cat" in lines
    rows = [{"prompt": "on t", "chosen": "he mat", "rejected": "wo"}]
    assert "1 responses merge with their prompt" in "\n".join(prepared(rows).report.lines())


def test_the_template_can_be_left_out_for_strings_and_not_for_messages():
    tokenizer = byte_tokenizer(template="clock")
    found = prepared(pairs(1), tokenizer, template={"use": "none"})
    assert text(tokenizer, found.groups[0].prompt) == "the cat 0"
    assert "template: none; prompts and responses are plain text" in found.report.lines()
    for skip in (False, True):  # a missing template is no fault of a row, so skipping rows does not lift it
        with pytest.raises(TemplateError, match="^data, row 1 holds messages, and no chat template is in use"):
            prepared(chats(("yes", "no")), tokenizer, template={"use": "none"}, rows={"skip_bad_rows": skip})


def test_a_tokenizer_without_eos_is_refused_before_the_data_is_read(tmp_path):
    with pytest.raises(ModelError, match="no EOS"):
        prepared(tmp_path / "absent.jsonl", byte_tokenizer(eos=None))


def test_too_many_rows_that_teach_nothing_stop_unless_skipped():
    tokenizer = byte_tokenizer(template="drops_earlier_thoughts")
    rows = [
        *chats(*((f"yes {n}", "no") for n in range(8))),
        {
            "prompt": CHAT,
            "chosen": [assistant("<think>the cat</think>yes"), *CHAT, assistant("no")],
            "rejected": [assistant("<think>the dog</think>yes"), *CHAT, assistant("no")],
        },
    ]
    with pytest.raises(DataError, match=r"1 pairs \(11.1%\) hold nothing to learn from .* identical responses \(1\)"):
        prepared(rows, tokenizer)
    found = prepared(rows, tokenizer, rows={"skip_bad_rows": True})
    assert len(found.groups) == 8
    assert "dropped 1 pairs: identical responses" in found.report.lines()


# Grouping and holding out


def test_rows_that_share_a_prompt_are_merged_where_asked():
    apart = prepared(pairs(18, prompts=6))
    found = prepared(pairs(18, prompts=6), grouped=True)
    assert (len(apart.groups), len(found.groups)) == (18, 6)
    assert [group.row for group in found.groups] == list(range(6))
    assert [len(group.responses) for group in found.groups] == [6] * 6
    assert [group.edges.tolist() for group in found.groups] == [[[0, 1], [2, 3], [4, 5]]] * 6
    assert found.prompt_hash.tolist() == apart.prompt_hash[:6].tolist()
    assert "18 pairs grouped by prompt: 6 groups" in found.report.lines()


@pytest.mark.parametrize("seed", range(3))
def test_held_out_prompts_are_on_one_side_only(seed):
    found = prepared(pairs(300, prompts=100))
    kept, out = hold_out(found, share=0.1, most=1000, seed=seed)
    assert len(set(out.prompt_hash.tolist())) == 10
    assert not set(kept.prompt_hash.tolist()) & set(out.prompt_hash.tolist())
    rows = [group.row for part in (kept, out) for group in part.groups]
    assert sorted(rows) == list(range(300)) and rows[: len(kept.groups)] == sorted(rows[: len(kept.groups)])
    assert hold_out(found, share=0.1, most=1000, seed=seed)[1].fingerprint == out.fingerprint
    assert hold_out(found, share=0.1, most=1000, seed=seed + 1)[1].fingerprint != out.fingerprint


def test_holding_out_respects_the_largest_number_and_none():
    found = prepared(pairs(300, prompts=100))
    assert len(hold_out(found, share=0.5, most=20, seed=0)[1].groups) == 18
    assert len(hold_out(found, share=0.0, most=20, seed=0)[1].groups) == 0
    assert len(hold_out(found, share=0.001, most=20, seed=0)[1].groups) == 3
    single = prepared(pairs(5, prompts=1))
    assert len(hold_out(single, share=0.5, most=20, seed=0)[1].groups) == 0


def test_a_prompts_side_does_not_depend_on_its_neighbours():
    found = prepared(pairs(200))
    every = set(hold_out(found, share=0.25, most=1000, seed=0)[1].prompt_hash.tolist())
    half = found.select(np.arange(0, 200, 2))
    some = set(hold_out(half, share=0.25, most=1000, seed=0)[1].prompt_hash.tolist())
    assert len(every & some) > 18  # of 25; by chance 6


# Real data


def test_hh_harmless_whole(shared_data):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared_data / "models" / "reviews-7m")
    path = shared_data / "hh-harmless" / "test.jsonl.gz"
    found = prepared(path, tokenizer, rows={"skip_bad_rows": True}, max_length=512)
    originals = [json.loads(line) for line in gzip.open(path, "rt")]
    assert len(found.groups) > 250
    for index in range(0, len(found.groups), 17):
        group = found.groups[index]
        row = originals[found.groups.origin(index).row - 1]
        for ids, side in zip(group.responses, ("chosen", "rejected"), strict=True):
            assert tokenizer.decode([*group.prompt, *ids[:-1]]) == row[side]
            assert ids[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize(("name", "kind"), [("dpo_en_demo", "pairs"), ("kto_en_demo", "labels")])
def test_demo_formats_through_a_chat_template(shared_data, name, kind):
    tokenizer = byte_tokenizer(template="newline_after_end")
    path = shared_data / "demo-formats" / f"{name}.jsonl.gz"
    found = prepared(path, tokenizer, kind=kind, rows={"skip_bad_rows": True}, max_length=100_000)
    group, row = found.groups[0], json.loads(next(gzip.open(path, "rt")))
    answer = row["chosen" if kind == "pairs" else "completion"]
    answer = answer if isinstance(answer, str) else answer[-1]["content"]
    assert text(tokenizer, group.responses[0]) == f"{answer}<|end|>"
    assert text(tokenizer, group.prompt).endswith(f"{row['prompt'][-1]['content']}<|end|>\n<|turn|>assistant\n")
    assert len(found.groups) > 290
