"""bfloat16 added up in float32, part by part."""

import pytest
import torch

from logratio.logps import adding
from logratio.logps.adding import add_narrow


@pytest.mark.parametrize("shape", [(), (0,), (5,), (7, 3), (16,)])
@pytest.mark.parametrize("transposed", [False, True])
def test_every_element_is_added_once_and_unrounded(shape, transposed, monkeypatch):
    monkeypatch.setattr(adding, "_CACHED", 8)
    generator = torch.Generator().manual_seed(0)
    sum_N = torch.randn(shape, generator=generator)
    more_N = torch.randn(shape, generator=generator).bfloat16()
    if transposed and len(shape) == 2:
        sum_N, more_N = sum_N.t(), more_N.t()
    expected = sum_N + more_N.float()
    assert add_narrow(sum_N, more_N) is sum_N
    assert torch.equal(sum_N, expected)
