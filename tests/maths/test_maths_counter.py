import numpy as np
import pytest

from logratio.maths.counter import permutation, stream


def test_a_stream_is_philox_keyed_by_the_hash_of_its_key():
    import hashlib

    key = int.from_bytes(hashlib.blake2b(b'[0, "sample", 7]', digest_size=16).digest(), "little")
    expected = np.random.Generator(np.random.Philox(key=key)).random(5)
    assert (stream(0, "sample", 7).random(5) == expected).all()


def test_every_part_of_the_key_counts_and_so_does_its_type():
    keys = [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a", "1"), (0, "a"), (0, "a", 1, 0), ("0", "a", 1)]
    assert len({stream(*key).integers(2**62).item() for key in keys}) == len(keys)
    assert stream(np.int64(3), "a").random() == stream(3, "a").random()


def test_the_first_numbers_do_not_depend_on_how_many_are_drawn():
    assert (stream(0, "x").random(100)[:10] == stream(0, "x").random(10)).all()


def test_numbers_of_one_stream_and_across_streams_are_uniform_and_uncorrelated():
    table = np.stack([stream(0, "uniform", row).random(200) for row in range(200)])
    assert table.mean() == pytest.approx(0.5, abs=4 / np.sqrt(12 * table.size))
    bins = np.bincount((table.ravel() * 20).astype(int), minlength=20)
    expected = table.size / 20
    assert ((bins - expected) ** 2 / expected).sum() < 19 + 4 * np.sqrt(2 * 19)
    neighbours = np.corrcoef(table[:-1].ravel(), table[1:].ravel())[0, 1]
    assert abs(neighbours) < 4 / np.sqrt(table.size)


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_a_permutation_holds_every_row_once(n):
    order = permutation(n, seed=3, epoch=1)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))


def test_permutations_differ_by_seed_and_epoch_and_repeat_by_both():
    orders = {tuple(permutation(50, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert (permutation(50, 2, 1) == permutation(50, 2, 1)).all()


def test_every_order_is_equally_likely():
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(2400):
        order = tuple(permutation(4, seed, 0).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 23 + 4 * np.sqrt(2 * 23)
