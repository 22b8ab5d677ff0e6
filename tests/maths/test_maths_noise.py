from itertools import combinations

import numpy as np
import pytest

from logratio.maths.counter import stream
from logratio.maths.intervals import NOTHING
from logratio.maths.noise import noise_scale, signal_and_noise


def square(gradients):
    return float((gradients.mean(0) ** 2).sum())


@pytest.mark.parametrize("n", [1, 2, 5])
def test_both_parts_are_unbiased_over_every_draw_from_a_finite_set(n):
    """Without replacement E‖g_n‖² = ‖Ḡ‖² + S²/n·(1 − n/N), so the parts are exactly ‖Ḡ‖² − S²/N and S²."""
    each = stream(0, "set").normal(1, 2, (7, 3))
    drawn = [signal_and_noise(square(each[list(own)]), n, square(each), 7) for own in combinations(range(7), n)]
    spread = float(each.var(0, ddof=1).sum())
    signal, noise = np.mean(drawn, 0)
    assert noise == pytest.approx(spread)
    assert signal == pytest.approx(square(each) - spread / 7)


MEAN, DEVIATION = np.array([0.5, -0.2, 0.1, 0.0]), np.array([1.0, 3.0, 0.5, 2.0])
TRUE = float((DEVIATION**2).sum() / (MEAN**2).sum())
"""tr Σ / ‖G‖² = 14.25 / 0.3 = 47.5 groups."""


def probes(draw, steps, sizes=((4, 16), (8, 32), (1, 64), (16, 20))):
    """Estimates at steps of unequal sizes, the smaller batch among the larger one."""
    found = []
    for step in range(steps):
        n, most = sizes[step % len(sizes)]
        each = MEAN + DEVIATION * draw.normal(size=(most, 4))
        found.append(signal_and_noise(square(each[:n]), n, square(each), most))
    return np.array(found).T


def test_a_known_covariance_is_found_from_batches_of_unequal_sizes():
    signal, noise = probes(stream(1, "gaussian"), 40_000)
    assert noise.mean() == pytest.approx(14.25, abs=4 * noise.std() / 200)
    assert signal.mean() == pytest.approx(0.3, abs=4 * signal.std() / 200)
    found = noise_scale(signal, noise)
    assert found.low < TRUE < found.high and found.high - found.low < 0.3 * TRUE
    assert found.mean == pytest.approx(noise.mean() / signal.mean()) and found.n == 40_000


def test_the_interval_holds_the_truth_as_often_as_it_says():
    draw = stream(2, "coverage")
    found = [noise_scale(*probes(draw, 60, sizes=((16, 64),))) for _ in range(400)]
    held = [(own.low is None or own.low <= TRUE) and (own.high is None or TRUE <= own.high) for own in found]
    assert np.mean(held) >= 0.92
    assert np.mean([own.low is not None for own in found]) > 0.9  # most of them say something


def test_without_a_signal_there_is_no_upper_end():
    draw = stream(3, "no signal")
    noise, signal = 14 + draw.normal(size=50), draw.normal(size=50)
    found = noise_scale(signal, noise)
    assert found.high is None and found.low > 1
    assert noise_scale(signal - signal.mean() - 0.05, noise).mean is None


def test_without_noise_it_is_0_and_without_data_nothing():
    assert noise_scale([2.0, 2.0, 2.0], [0.0, 0.0, 0.0]).high == 0
    assert noise_scale([], []) == NOTHING
    alone = noise_scale([2.0], [8.0])
    assert (alone.mean, alone.low, alone.high, alone.n) == (4, None, None, 1)
