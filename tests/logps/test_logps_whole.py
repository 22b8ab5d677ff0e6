"""Floats of many groups at once: the same whatever the bins are dealt to, and cut apart by group."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch

from logratio.batch.needs import Needs
from logratio.logps.policy import Policy
from logratio.logps.whole import part, whole
from worlds import random_groups, tiny_llama

NEEDS = Needs(extras=("entropy",))


@pytest.mark.parametrize(("size", "count"), [(2, 11), (3, 11), (3, 2)], ids=str)
def test_processes_share_the_bins_of_one_and_all_get_its_numbers_bit_for_bit(size, count):
    """Threads that wait for each other where processes would; with 2 groups for 3 of them one has an empty bin."""
    policy, groups, met = Policy(tiny_llama()), random_groups(count, seed=3), []
    alone = whole(partial(policy, needs=NEEDS), groups, bin_tokens=60)
    meeting, brought = threading.Barrier(size), [None] * size

    def process(rank):
        def gather(own):
            brought[rank] = own
            meeting.wait(60)
            everyone = list(brought)
            meeting.wait(60)
            return everyone

        def forward(batch):
            met.extend(batch.row_G.tolist())
            return policy(batch, NEEDS)

        return whole(forward, groups, bin_tokens=60, ranks=(rank, size), gather=gather)

    with ThreadPoolExecutor(size) as threads:
        found = list(threads.map(process, range(size)))
    for own in found:
        assert torch.equal(own.policy_R, alone.policy_R) and torch.equal(own.entropy_R, alone.entropy_R)
    assert sorted(met) == sorted(group.row for group in groups)  # each once, by whichever


def test_a_part_holds_the_floats_of_its_groups_in_their_order():
    policy, groups = Policy(tiny_llama(dtype=torch.float64)), random_groups(9, seed=5)
    forward = partial(policy, needs=NEEDS)
    everything = whole(forward, groups, bin_tokens=60)
    for members in ([4, 0, 7], [8], list(range(9))):
        own, apart = part(groups, everything, members), whole(forward, [groups[i] for i in members], bin_tokens=60)
        assert torch.allclose(own.policy_R, apart.policy_R, rtol=0, atol=1e-6)
        assert torch.allclose(own.entropy_R, apart.entropy_R, rtol=0, atol=1e-6)
