"""A device that refuses what a GPU refuses, with its data in the CPU's memory: device bugs fail without a GPU.

    with stand_in():
        net = net.to(DEVICE)       # tensors that report the device `standin:0`; values as on the CPU

As CUDA does it:
- tensors of two devices in one call raise RuntimeError, except a 0-dim CPU tensor in an elementwise call, CPU indices
  into a device tensor (x[i], x[i] = v), and copies (`copy_`, x[:2] = v, `to`)
- `numpy()`, np.asarray and so every plot of a device tensor raise TypeError; `item`, `float`, `tolist`, `cpu` work
- random numbers on the device ask for a generator of the device, torch.Generator(DEVICE)
- operations that have no CUDA kernel (torch.histogram) raise

Not as CUDA does it:
- speed, streams, half precision (autocast does nothing here), pinned memory, fused and foreach optimizers, Triton
- digits are the CPU's, and so is the default random stream
- `Module.to` makes new parameters, so an optimizer must be made after it
- torch.load without map_location gives CPU tensors

Built on the key that torch keeps for other backends. Registering it is global and lasts as long as the process, but it
touches nothing there: torch.Generator and torch.load are patched inside `stand_in` alone. With a real GPU torch would
take the stand-in for the accelerator, so it is not registered there.
"""

from __future__ import annotations

import contextlib
import functools
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._mode_utils import no_dispatch
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

NAME = "standin"
DEVICE = f"{NAME}:0"

aten = torch.ops.aten
COPIES = {aten.copy_.default, aten._foreach_copy_.default}
INDEXED = {
    aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default,
    aten._unsafe_index.Tensor, aten._unsafe_index_put.default,
}  # fmt: skip
NUMBERS = {  # 0-dim CPU tensors that are taken as numbers although the call is not elementwise
    aten.masked_fill.Tensor: 2, aten.masked_fill_.Tensor: 2, aten.fill.Tensor: 1, aten.fill_.Tensor: 1,
}  # fmt: skip
NO_KERNEL = {"aten::histogram", "aten::_histogramdd_bin_edges", "aten::_histogramdd_from_bin_cts"}
_generators: set[int] = set()  # addresses of the device's generators: torch hands a new Python object to the handler


class StandIn(Tensor):
    """A tensor of the device; its values are in `inner`, on the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor):
        if inner.layout != torch.strided:
            raise NotImplementedError(f"stand-in device: no tensors of layout {inner.layout}")
        inner = inner.resolve_conj().resolve_neg()
        self = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(DEVICE),
        )
        self.inner = inner
        return self

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _call(func, *args, **(kwargs or {}))

    def _follow(self) -> StandIn:
        """Take over the shape of `inner`, which out= and calls in place may have changed."""
        if self.shape != self.inner.shape or self.stride() != self.inner.stride():
            meta = torch._C._meta_in_tls_dispatch_include()
            with no_dispatch():
                torch._C._set_meta_in_tls_dispatch_include(True)
                layout = self.inner.storage_offset(), self.inner.shape, self.inner.stride()
                try:
                    aten.set_.source_Storage_storage_offset(self, self.untyped_storage(), *layout)
                finally:
                    torch._C._set_meta_in_tls_dispatch_include(meta)
        return self

    def numpy(self, *, force: bool = False):
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() first")

    def tolist(self):
        return self.detach().cpu().tolist()

    def __array__(self, *args, **kwargs):
        return self.numpy()

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.ndim == 0 else object.__format__(self, spec)

    def __repr__(self, **kwargs) -> str:
        return f"{repr(self.inner)[:-1]}, device='{self.device}')"

    def __reduce_ex__(self, protocol):
        return self.detach().cpu().__reduce_ex__(protocol)


class Generator(torch.Generator):
    """torch.Generator that also knows the device; it draws what the CPU's draws."""

    def __new__(cls, device="cpu"):
        self = super().__new__(cls, "cpu" if _is_ours(device) else device)
        self.ours = _is_ours(device)
        if self.ours:
            _generators.add(self._cdata)
        return self

    def __init__(self, device="cpu"):
        pass

    def __del__(self):
        if self.ours:
            _generators.discard(self._cdata)

    @property
    def device(self) -> torch.device:
        return torch.device(DEVICE) if self.ours else super().device


@contextlib.contextmanager
def stand_in():
    """The device can be used inside. Backward passes then run in the thread that asks for them."""
    _register()
    with (
        _Generators(),
        torch.autograd.set_multithreading_enabled(False),
        mock.patch.object(torch, "Generator", Generator),
        mock.patch.object(torch, "load", functools.partial(_load, torch.load)),
    ):
        yield DEVICE


class _Generators(TorchFunctionMode):
    """Refuses the device's generator for numbers on the CPU, where no StandIn takes part."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(kwargs.get("generator"), "ours", False):
            on_device = any(isinstance(t, StandIn) for t in tree_leaves((args, kwargs)))
            if not on_device and not _is_ours(kwargs.get("device")):
                raise RuntimeError(f"{func}: Expected a 'cpu' device type for generator but found '{NAME}'")
        return func(*args, **kwargs)


class _Module:
    """What torch asks the module of a backend."""

    is_initialized = is_available = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 1)
    current_device = staticmethod(lambda: 0)
    manual_seed_all = staticmethod(lambda seed: None)
    get_rng_state = staticmethod(lambda device=None: torch.empty(0, dtype=torch.uint8))  # it draws the CPU's stream
    set_rng_state = staticmethod(lambda state, device=None: None)
    _is_in_bad_fork = staticmethod(lambda: False)
    get_amp_supported_dtype = staticmethod(lambda: [torch.float16, torch.bfloat16])


@functools.cache
def _register() -> torch.library.Library:
    if torch.cuda.is_available():
        raise RuntimeError("stand-in device: not beside a GPU")
    backend_registration._setup_privateuseone_for_python_backend(NAME, _Module())
    library = torch.library.Library("aten", "IMPL")
    for func in (aten.empty.memory_format, aten.empty_strided.default):  # what all calls that make tensors come to
        library.impl(func, functools.partial(_call, func), "PrivateUse1")
    library.impl(aten._copy_from.default, _copy_from, "PrivateUse1")  # torch.tensor comes to it
    return library


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    return _call(aten.copy_.default, target, source)


def _load(load, file, map_location=None, **kwargs):
    if map_location is None or callable(map_location) or not _is_ours(map_location):
        return load(file, map_location=map_location, **kwargs)
    return tree_map_only(Tensor, lambda t: t.to(map_location), load(file, map_location="cpu", **kwargs))


def _is_ours(device) -> bool:
    return device is not None and torch.device(device).type == NAME


def _call(func, *args, **kwargs):
    """One operation: check the devices of its arguments, do it on the CPU, wrap the results."""
    flat, spec = tree_flatten((args, kwargs))
    device = kwargs.get("device")
    ours = _check(func, args, kwargs, flat) if device is None else _is_ours(device)
    if ours and func._schema.name in NO_KERNEL:
        raise NotImplementedError(f"Could not run '{func}' on {DEVICE}: CUDA has no kernel for it")
    for g in flat:
        if isinstance(g, torch._C.Generator) and (g._cdata in _generators) != ours:
            here, there = (NAME, "cpu") if ours else ("cpu", NAME)
            raise RuntimeError(f"{func}: Expected a '{here}' device type for generator but found '{there}'")
    wrappers = {id(t.inner): t for t in flat if isinstance(t, StandIn)}
    args, kwargs = tree_unflatten([t.inner if isinstance(t, StandIn) else t for t in flat], spec)
    if device is not None:
        kwargs["device"] = "cpu" if ours else device

    def wrap(t: Tensor) -> Tensor:
        if id(t) in wrappers:
            return wrappers[id(t)]._follow()
        return StandIn(t) if ours else t

    return tree_map_only(Tensor, wrap, func(*args, **kwargs))


def _check(func, args, kwargs, flat) -> bool:
    """Whether the result is on the device; RuntimeError for arguments that CUDA would not take together."""
    tensors = [t for t in flat if isinstance(t, Tensor)]
    if not any(isinstance(t, StandIn) for t in tensors):
        return any(_is_ours(t) for t in flat if isinstance(t, torch.device))
    if func in COPIES:
        return isinstance(tensors[0], StandIn)
    if func in INDEXED:
        return _check_index(func, *args, **kwargs)
    strangers = [t for t in tensors if not isinstance(t, StandIn)]
    if func in NUMBERS:
        number = args[NUMBERS[func]]
        strangers = [t for t in strangers if t is not number or t.ndim]
    elif torch.Tag.pointwise in func.tags and all(t.ndim == 0 for t in strangers):
        allowed = {"aten::where": 3, "aten::clamp": 0}.get(func._schema.name, 1)
        written = func._schema.is_mutable and not isinstance(tensors[0], StandIn)
        if len(strangers) <= allowed and not written:
            strangers = []
    if strangers:
        shapes = [tuple(t.shape) for t in strangers]
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {DEVICE} and cpu! "
            f"({func}; on the CPU: {shapes})"
        )
    return True


def _check_index(func, x, indices, values=None, *args, **kwargs) -> bool:
    if not isinstance(x, StandIn) and any(isinstance(i, StandIn) for i in indices):
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
    if values is not None and isinstance(values, StandIn) != isinstance(x, StandIn) and values.ndim:
        raise RuntimeError(f"{func}: expected self and values on one device, got {x.device} and {values.device}")
    return isinstance(x, StandIn)
