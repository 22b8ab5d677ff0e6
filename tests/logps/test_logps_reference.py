"""The reference cache: whole blocks by content, whatever interrupts, damages or shares it."""

import multiprocessing
from contextlib import suppress

import numpy as np
import pytest
import torch

from logratio.batch.needs import Needs
from logratio.errors import LogratioError
from logratio.files import read_shard
from logratio.logps import reference
from logratio.logps.policy import Policy
from logratio.logps.reference import ReferenceCache, score
from worlds import random_groups, tiny_llama

GROUPS = random_groups(23, seed=4)
IDENTITY = {"weights": "a", "dtype": "float32", "path": "shared"}


class Counted(Policy):
    """A policy that counts its forward passes."""

    forwards = 0

    def forward(self, batch, needs):
        self.forwards += 1
        return super().forward(batch, needs)


class Stop(Exception):
    pass


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reference, "BLOCK", 4)


@pytest.fixture(scope="module")
def policy():
    return Counted(tiny_llama())


def fill(policy, groups=GROUPS, cache=None, **more):
    return (cache or ReferenceCache.open(**IDENTITY)).fill(policy, groups, bin_tokens=60, **more)


def times(cache):
    return {path.name: path.stat().st_mtime_ns for path in cache.folder.iterdir()}


def test_values_are_the_models_log_probs_of_the_scored_tokens(policy):
    """One response a row, full log-softmax."""
    values = fill(policy)
    assert len(values) == len(GROUPS)
    model = tiny_llama()
    for group, value in zip(GROUPS, values, strict=True):
        expected = []
        for response, loss in zip(group.responses, group.loss, strict=True):
            ids = torch.tensor([*group.prompt, *response])[None]
            with torch.no_grad():
                table = model(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
            logp = table.gather(1, ids[0, 1:, None])[len(group.prompt) - 1 :, 0]
            expected += logp[torch.tensor(loss)].tolist()
        assert value.dtype == np.float32 and value.tolist() == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("after", range(7))
def test_an_interruption_after_any_block_changes_no_bit(policy, after, monkeypatch, tmp_path):
    whole = list(fill(policy))
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path / "other"))

    def stop(done, of):
        assert of == 6
        if done == after:
            raise Stop

    cache = ReferenceCache.open(**IDENTITY)
    with pytest.raises(Stop):
        fill(policy, on_block=stop)
    assert len(list(cache.folder.glob("*"))) == after
    seen = []
    resumed = fill(policy, on_block=lambda done, of: seen.append(done))
    assert seen == list(range(after, 7))
    assert all(one.tobytes() == two.tobytes() for one, two in zip(whole, resumed, strict=True))


def test_a_full_cache_costs_no_forward_pass(policy):
    first, before = list(fill(policy)), policy.forwards
    again = fill(policy)
    assert policy.forwards == before
    assert all((one == two).all() for one, two in zip(first, again, strict=True))


@pytest.mark.parametrize("change", [{"weights": "b"}, {"dtype": "bf16"}, {"path": "plain"}, {"view": "base"}])
def test_another_distribution_has_a_cache_of_its_own(policy, change):
    fill(policy)
    before, cache = policy.forwards, ReferenceCache.open(**{**IDENTITY, **change})
    assert cache.folder != ReferenceCache.open(**IDENTITY).folder
    fill(policy, cache=cache)
    assert policy.forwards > before


def changed(row, part):
    """The same groups but for one token or one mask bit of one row."""
    group = GROUPS[row]
    prompt, responses, loss = group.prompt.copy(), [r.copy() for r in group.responses], [m.copy() for m in group.loss]
    if part == "prompt":
        prompt[0] ^= 1
    elif part == "response":
        responses[1][-1] ^= 1
    else:
        loss[0][0] ^= True
    other = type(group)(group.row, prompt, tuple(responses), tuple(loss), group.edges, group.columns)
    return [*GROUPS[:row], other, *GROUPS[row + 1 :]]


@pytest.mark.parametrize("part", ["prompt", "response", "mask"])
def test_a_changed_token_or_mask_recomputes_its_block_and_no_other(policy, part):
    fill(policy)
    cache = ReferenceCache.open(**IDENTITY)
    before, forwards = times(cache), policy.forwards
    groups = changed(9, part)
    values = fill(policy, groups)
    (new,) = set(times(cache)) - set(before)
    assert new == cache.block_path(groups[8:12]).name and policy.forwards > forwards
    assert before.items() <= times(cache).items()
    assert len(values[9]) == groups[9].scored
    fresh = score(policy, groups[8:12], bin_tokens=60)
    assert all((values[8 + i] == fresh[i]).all() for i in range(4))


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "header", "foreign"])
def test_a_damaged_block_is_computed_again_and_told(policy, harm):
    whole = list(fill(policy))
    path = ReferenceCache.open(**IDENTITY).block_path(GROUPS[4:8])
    body = path.read_bytes()
    at = int.from_bytes(body[:8], "little") + 8
    flipped = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
    harmed = {"flip": flipped, "cut": body[:-70], "empty": b"", "header": b"\xff" * 200, "foreign": b"hello"}
    path.write_bytes(harmed[harm])
    told = []
    again = fill(policy, warn=told.append)
    assert len(told) == 1 and str(path) in told[0] and "computed again" in told[0]
    assert path.read_bytes() == body
    assert all(one.tobytes() == two.tobytes() for one, two in zip(whole, again, strict=True))


def test_an_absent_block_is_computed_without_a_word(policy):
    fill(policy)
    ReferenceCache.open(**IDENTITY).block_path(GROUPS[4:8]).unlink()
    told = []
    fill(policy, warn=told.append)
    assert told == []


def fill_over_and_over(seed):
    torch.set_num_threads(1)
    policy = Policy(tiny_llama())
    for _ in range(6):
        with suppress(LogratioError):  # the other has just deleted what is read here
            fill(policy)
        for path in sorted(ReferenceCache.open(**IDENTITY).folder.glob("*.shard"))[seed::2]:
            path.unlink(missing_ok=True)


def test_two_writers_never_corrupt_a_block(policy):
    """Both fill one cache and delete half of it, six times: whatever lies there at any moment is whole and right."""
    whole = list(fill(policy))
    folder = ReferenceCache.open(**IDENTITY).folder
    right = {path.name: path.read_bytes() for path in folder.iterdir()}
    forks = multiprocessing.get_context("fork")
    writers = [forks.Process(target=fill_over_and_over, args=(seed,)) for seed in (0, 1)]
    for writer in writers:
        writer.start()
    looked = 0
    while any(writer.is_alive() for writer in writers):
        for path in folder.glob("*.shard"):
            try:
                body = path.read_bytes()
            except FileNotFoundError:
                continue
            assert body == right[path.name]
            looked += 1
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert looked > 20
    again = fill(policy)
    assert all(one.tobytes() == two.tobytes() for one, two in zip(whole, again, strict=True))
    assert not list(folder.glob(".*.tmp"))


def test_ranks_take_blocks_in_turn_and_pass_equally_often_through_the_model(policy, monkeypatch, tmp_path):
    """Two ranks, one after the other: what one of them says stands in for all."""
    whole = list(fill(policy))
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path / "other"))
    cache, passes = ReferenceCache.open(**IDENTITY), []
    before = policy.forwards
    with pytest.raises(Exception, match="damaged or removed"):  # the other rank's blocks are not there yet
        fill(policy, ranks=(0, 2))
    passes.append(policy.forwards - before)
    mine = set(times(cache))
    assert mine == {cache.block_path(GROUPS[at : at + 4]).name for at in (0, 8, 16)}
    for path in list(cache.folder.iterdir()):
        path.rename(path.with_suffix(".aside"))
    before = policy.forwards
    with pytest.raises(Exception, match="damaged or removed"):
        fill(policy, ranks=(1, 2))
    passes.append(policy.forwards - before)
    assert passes[0] == passes[1]
    for path in list(cache.folder.glob("*.aside")):
        path.rename(path.with_suffix(".shard"))
    both = fill(policy)
    assert all(one.tobytes() == two.tobytes() for one, two in zip(whole, both, strict=True))


def test_scores_do_not_depend_on_the_bins_beyond_rounding(policy):
    one, many = (score(policy, GROUPS, bin_tokens=size) for size in (10**6, 20))
    assert all(np.abs(a - b).max() < 1e-4 for a, b in zip(one, many, strict=True))


def test_temperature_divides_the_logits():
    model = tiny_llama()
    halved = tiny_llama(tied=False)
    halved.load_state_dict({**model.state_dict(), "lm_head.weight": model.lm_head.weight / 2})
    cool = score(Policy(model), GROUPS[:3], bin_tokens=60, needs=Needs(temperature=2.0))
    expected = score(Policy(halved), GROUPS[:3], bin_tokens=60)
    assert all(a == pytest.approx(b, abs=1e-5) for a, b in zip(cool, expected, strict=True))


def test_shards_say_where_groups_end(policy):
    fill(policy)
    arrays, _ = read_shard(ReferenceCache.open(**IDENTITY).block_path(GROUPS[:4]))
    assert arrays["ends"].tolist() == np.cumsum([group.scored for group in GROUPS[:4]]).tolist()


def test_a_block_that_another_rank_has_not_seen_is_computed_by_all(policy):
    """Another run may write it between two looks; ranks that disagreed would wait for each other for ever."""
    whole, before = list(fill(policy)), policy.forwards
    asked = []
    again = fill(policy, any_rank=lambda gone: asked.append(gone) or len(asked) == 2 or gone)
    assert policy.forwards > before
    assert not any(asked) and len(asked) == -(-len(GROUPS) // 4) + 1  # each block, and the end of the only turn
    assert all(one.tobytes() == two.tobytes() for one, two in zip(whole, again, strict=True))
