"""A step waits for the device a fixed number of times, however many bins and groups it has.

On a CPU nothing shows that a program waits, so what lies on the device is traced: weights and packed batches, and all
that is computed from them. Reading such a number into Python, or its count into a shape, is what a GPU is waited for.
"""

import pytest
import torch
from torch._ops import HigherOrderOperator
from torch.nn.attention import flex_attention as library
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from logratio import objectives
from logratio.logps import attention
from logratio.logps.flex import flex
from logratio.logps.policy import Policy
from logratio.logps.value import ValueHead
from logratio.testing.cases import case
from logratio.train.distributed import World
from logratio.train.finite import Finite
from logratio.train.gradient import Bins, Learner, metric_names, step_gradient
from logratio.train.optim import Optimizer
from logratio.train.source import Step
from worlds import random_groups, tiny_llama

READS = ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2", "unique_dim", "bincount")
"""Operations of which a result, or the shape of one, depends on numbers on the device."""
FETCHES = ("cpu", "tolist", "numpy")
MOVES = (torch.device, torch.Tensor)
ENDS = 3
"""Are the log-probs and the loss finite, what is the norm of the gradient, what are the metrics."""


class _Calls(TorchFunctionMode):
    def __init__(self, device):
        super().__init__()
        self.device = device

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") in FETCHES and self.device.holds(args[0]):
            self.device.waits.append(func.__name__)
            if func.__name__ == "cpu":  # from here on it is on the other side
                return torch.from_numpy(args[0].detach().numpy().copy())
        out = func(*args, **(kwargs or {}))
        moves = getattr(func, "__name__", "") == "to" and any(
            isinstance(where, MOVES) for where in (*args[1:], *(kwargs or {}).values())
        )
        if moves and not self.device.holds(out):
            out = out.clone()  # a move is a copy, and the copy is the device's
            self.device.put(out)
        return out


class Device(TorchDispatchMode):
    """Follows tensors of the device by their memory, and notes each wait for one."""

    supports_higher_order_operators = True

    def __init__(self):
        super().__init__()
        self.waits, self._held = [], {}
        self._calls = _Calls(self)

    def __enter__(self):
        self._calls.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._calls.__exit__(*error)

    def put(self, tree):
        for leaf in tree_leaves(tree):
            if isinstance(leaf, torch.Tensor) and leaf.numel():
                storage = leaf.untyped_storage()
                self._held[storage._cdata] = storage  # kept, so that its address is not given out again

    def holds(self, tensor):
        return tensor.numel() > 0 and tensor.untyped_storage()._cdata in self._held

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if isinstance(func, HigherOrderOperator):  # attention over blocks, on a GPU one kernel
            out = func(*args, **(kwargs or {}))
            self.put(out)
            return out
        name = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        on_device = any(self.holds(tensor) for tensor in tensors)
        by_mask = name == "index" and any(t.dtype == torch.bool for t in tree_leaves(args[1]) if t is not None)
        if on_device and (name in READS or by_mask or (name == "repeat_interleave" and not kwargs)):
            self.waits.append(name)
        out = func(*args, **(kwargs or {}))
        if on_device:
            self.put(out)
        return out


def waits(name, groups, *, bin_tokens, model=None):
    objective = objectives.load(name)
    settings = objective.settings()
    value = ValueHead(32) if objective.needs(settings).value else None
    policy = Policy(model or tiny_llama(), path="shared", value=value)
    world = World(0, 1, "none", torch.device("cpu"))
    learner = Learner(policy, objective, settings, world, bin_tokens, objective.scope)
    optimizer = Optimizer(dict(policy.named_parameters()), kind="adamw", weight_decay=0, stochastic=False, seed=0)
    step = Step(0, groups)
    bins = Bins.of(learner, step)
    device = Device()
    device.put([*policy.parameters(), *policy.buffers()])
    for batch in (*bins.batches, *([] if bins.whole is None else [bins.whole])):
        device.put([value for name, value in vars(batch).items() if name != "spans"])
    with device:
        totals = step_gradient(learner, step, bins)
        optimizer.clip(1.0)
        totals.add("rounded_away", optimizer.step(1e-3, 0))
        means = totals.reduce(world, [*metric_names(learner, step), "rounded_away"])
    assert means["loss"] == means["loss"] and len(means) > 2
    return device.waits, len(bins.batches), bool(learner.state) and learner.scope == "step"


OWN = {"aot": 4, "beta_dpo": 8}
"""Waits of objectives whose mathematics has them: a transport plan over the step, noise drawn by row. Once a step."""
ELSEWHERE = ("reward", "tdpo", "ld_dpo")
"""A scalar head, a live reference; and the first tokens of both responses, as many as each pair has, four a bin."""
FAST = ("aot", "bco", "dpo", "kto", "plackett_luce", "sft")


EVERY = [
    pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
    for name in sorted({*objectives.names()} - {*ELSEWHERE})
]


@pytest.mark.parametrize("name", EVERY)
def test_no_objective_waits_within_a_step_whatever_its_bins_and_groups(name):
    """Running values of an objective are one thing more to fetch."""
    objective = objectives.load(name)
    counted = set()
    for n, bin_tokens in ((4, 10**6), (8, 40)):
        found, bins, stateful = waits(name, case(objective, objective.settings(), n=n).groups, bin_tokens=bin_tokens)
        assert len(found) == ENDS + stateful + OWN.get(name, 0), found
        counted.add(bins)
    assert len(counted) > 1


@pytest.mark.parametrize("model", [{}, {"sliding_window": 5, "use_sliding_window": True}])
def test_it_waits_exactly_so_often_on_one_bin_as_on_sixteen(model):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    made = tiny_llama() if not model else Qwen2ForCausalLM(Qwen2Config(**{**tiny_llama().config.to_dict(), **model}))
    groups = random_groups(16, k=2, weights=True)
    for bin_tokens in (10**6, 1):
        found, bins, _ = waits("dpo", groups, bin_tokens=bin_tokens, model=made)
        assert (len(found), bins) == (ENDS, 1 if bin_tokens > 1 else 16), found


def test_a_look_at_every_bin_would_be_noticed(monkeypatch):
    noted = Finite.note

    def looked(self, name, values, batch):
        noted(self, name, values, batch)
        bool(values.isfinite().all())

    monkeypatch.setattr(Finite, "note", looked)
    found, bins, _ = waits("sft", random_groups(6, k=1), bin_tokens=1)
    assert bins == 6 and len(found) == ENDS + 2 * bins


@pytest.mark.parametrize("bin_tokens", [10**6, 1])
def test_attention_over_blocks_as_on_a_gpu_waits_no_more(monkeypatch, bin_tokens):
    monkeypatch.setattr(attention, "_BLOCKS_ON", "cpu")
    monkeypatch.setattr(library, "_validate_device", lambda *_: None)
    monkeypatch.setattr(library, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    reached = []
    monkeypatch.setattr(attention, "flex", lambda *given: reached.append(1) or flex(*given))
    found, bins, _ = waits("dpo", random_groups(16, k=2, weights=True), bin_tokens=bin_tokens)
    assert len(reached) >= bins and len(found) == ENDS, found
