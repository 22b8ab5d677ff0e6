"""A device of its own in torch that computes on the CPU, holds no float64, and mixes with no CPU tensor.

`with emulated():` makes the device `KIND` real to torch, autograd and modules included, as another backend would be.
What Apple's GPUs refuse, it refuses; what they compute otherwise, it cannot show.
"""

from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

KIND = "emulated"


class There(torch.Tensor):
    """A tensor on the device; `here` holds its numbers."""

    @staticmethod
    def __new__(cls, here):
        if here.dtype == torch.float64:
            raise TypeError("the device has no float64")
        layout = {"strides": here.stride(), "storage_offset": here.storage_offset()}
        made = torch.Tensor._make_wrapper_subclass(cls, here.size(), **layout, dtype=here.dtype, device=f"{KIND}:0")
        made.here = here
        return made

    def __repr__(self):
        return f"There({self.here})"

    def untyped_storage(self):
        return self.here.untyped_storage()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Everywhere(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _run(func, args, kwargs):
    """Run an operation on the numbers themselves, and wrap what it returns if it belongs on the device."""
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
    there = any(isinstance(value, There) for value in tensors)
    asked = kwargs.get("device")
    if asked is not None:
        kwargs, there = {**kwargs, "device": torch.device("cpu")}, torch.device(asked).type == KIND
    elif there and func is not torch.ops.aten.copy_.default:
        strangers = [value for value in tensors if not isinstance(value, There) and value.dim()]
        if strangers:
            raise RuntimeError(f"{func}: a tensor on the CPU among those on the device")
    own_args, own_kwargs = tree_map_only(There, lambda value: value.here, (args, kwargs))
    result = func(*own_args, **own_kwargs)
    if func._schema.name.endswith("_") and func._schema.is_mutable:
        return args[0] if result is not None else None
    if "out" in kwargs:
        return kwargs["out"]
    return tree_map_only(torch.Tensor, There, result) if there else result


def _empty(size, stride=None, dtype=None, **_):
    """Make a tensor where torch does not ask modes: within `torch.tensor(..., device=…)`."""
    dtype = dtype or torch.get_default_dtype()
    return There(torch.empty(size, dtype=dtype) if stride is None else torch.empty_strided(size, stride, dtype=dtype))


def _copy(values, to, non_blocking=False):
    to.here.copy_(values)
    return to


def register():
    """Tell torch of the device, before the first backward pass of the process; keep what is returned."""
    _setup_privateuseone_for_python_backend(KIND)
    library = torch.library.Library("aten", "IMPL")
    library.impl("empty_strided", _empty, "PrivateUse1")
    library.impl("empty.memory_format", lambda size, **more: _empty(size, None, **more), "PrivateUse1")
    library.impl("_copy_from", _copy, "PrivateUse1")
    return library


@contextmanager
def emulated():
    """Add the device to torch, and have models computed on it."""
    from logratio.models import device

    best = patch.multiple(device, _WITHOUT_FLOAT64={KIND})
    chosen = [
        patch(f"logratio.{module}.best_device", lambda number=None: torch.device(KIND, 0))
        for module in ("train.distributed", "logps.subject")
    ]
    swapped = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # tied weights stay one, as on a device of torch's own
    try:
        with best, chosen[0], chosen[1], _Everywhere():
            yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swapped)
