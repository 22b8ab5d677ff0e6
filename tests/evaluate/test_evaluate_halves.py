import numpy as np

from logratio.evaluate.halves import halves
from logratio.maths.counter import stream

HASHES = stream(0, "hashes").integers(0, 2**64, 4000, dtype=np.uint64)


def test_every_group_is_on_one_side_and_a_prompt_is_never_on_both():
    repeated = np.repeat(HASHES[:500], 3)
    select, report = halves(repeated)
    assert sorted([*select, *report]) == list(range(1500))
    assert not set(repeated[select].tolist()) & set(repeated[report].tolist())


def test_about_half_fall_on_each_side():
    select, _ = halves(HASHES)
    assert abs(len(select) - 2000) < 4 * np.sqrt(4000 * 0.25)


def test_a_prompts_side_does_not_depend_on_the_others():
    select, _ = halves(HASHES)
    alone = [len(halves([value])[0]) == 1 for value in HASHES[:50]]
    assert alone == np.isin(np.arange(50), select).tolist()
