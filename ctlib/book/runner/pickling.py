"""Pickle for what cells hold besides data: modules, their own functions, random streams, tensors as they are.

Takes the place of the module `pickle` in `torch.save` and `torch.load`.
"""

from __future__ import annotations

import importlib
import marshal
import pickle
import sys
import types
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Unpickler = pickle.Unpickler
NAMES: ContextVar[dict] = ContextVar("ctlib_names")  # of the cells that are stored or read: globals of their functions
KNOWN_TO_TORCH = ("cpu", "cuda", "meta")
NO_GRAPH = "the graph of gradients behind a tensor that was read from a file was not kept"


class Pickler(pickle.Pickler):
    """Pickle, and modules by name, functions by code, random streams by state, tensors with gradients and devices."""

    def reducer_override(self, value: object):
        if isinstance(value, types.ModuleType):
            return importlib.import_module, (value.__name__,)
        if isinstance(value, types.FunctionType) and not _importable(value):
            return _reduced(value)
        if isinstance(value, types.GeneratorType) and value.gi_frame is None:
            return iter, ((),)  # used up, as nothing is
        if isinstance(value, torch.Generator):
            return _generator, (str(value.device), value.get_state())
        if isinstance(value, Tensor):
            return _tensor(value)
        if isinstance(value, nn.Module) and parametrize.is_parametrized(value):
            base = parametrize.type_before_parametrizations(value)
            return base.__new__, (base,), value.__dict__, None, None, _set_parametrized
        return NotImplemented


def _importable(function: types.FunctionType) -> bool:
    """Whether a function is what its module has under its name."""
    found = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is function


def _reduced(function: types.FunctionType) -> tuple:
    """A function of a cell, or one made by another function: its code, and then what it holds, itself perhaps."""
    home = function.__globals__.get("__name__")
    if home == "__main__" and function.__globals__ is not NAMES.get({}):
        raise pickle.PicklingError(f"function {function.__qualname__} of no cell")
    about = marshal.dumps(function.__code__), home, function.__name__, function.__qualname__, function.__module__
    held = [_contents(cell) for cell in function.__closure__ or ()]
    state = held, function.__defaults__, function.__kwdefaults__, function.__dict__
    return _function, (*about, len(held)), state, None, None, _fill


def _contents(cell: types.CellType) -> tuple:
    """(value,) of a variable that a function holds, () of one that is not set yet."""
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


def _function(code: bytes, home: str, name: str, qualname: str, module: str, num_held: int) -> types.FunctionType:
    known = NAMES.get() if home == "__main__" else importlib.import_module(home).__dict__
    cells = tuple(types.CellType() for _ in range(num_held))
    function = types.FunctionType(marshal.loads(code), known, name, None, cells)
    function.__qualname__, function.__module__ = qualname, module
    return function


def _fill(function: types.FunctionType, state: tuple) -> None:
    held, function.__defaults__, function.__kwdefaults__, attributes = state
    function.__dict__.update(attributes)
    for cell, contents in zip(function.__closure__ or (), held, strict=True):
        if contents:
            cell.cell_contents = contents[0]


def _generator(device: str, state: Tensor) -> torch.Generator:
    generator = torch.Generator(device)
    generator.set_state(state)
    return generator


def _set_parametrized(module: nn.Module, state: dict) -> None:
    """Fill a module whose weights are computed from others (spectral norms), of a class that torch makes for it."""
    module.__dict__.update(state)
    stored = module._modules.pop("parametrizations")
    for name in stored:
        module.register_buffer(name, torch.zeros(1))
        parametrize.register_parametrization(module, name, nn.Identity(), unsafe=True)
    module._modules["parametrizations"] = stored


def _tensor(value: Tensor) -> tuple:
    """A tensor with its gradient, on its device; one behind which a graph was is read as one that has lost it."""
    if value.grad_fn is not None:
        return GraphNotKept.apply, (value.detach().requires_grad_(),)
    if value.device.type in KNOWN_TO_TORCH:
        made = value.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    else:
        about = str(value.device), value.requires_grad, isinstance(value, nn.Parameter)
        made = _on_device, (value.detach().cpu(), *about)
    if not value.is_leaf or value.grad is None or len(made) > 2:
        return made
    return *made, value.grad, None, None, _set_gradient


class GraphNotKept(torch.autograd.Function):
    """The values of a tensor whose graph of gradients was not written: going back through it is refused."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, *gradients):
        raise RuntimeError(NO_GRAPH)


def _on_device(value: Tensor, device: str, requires_grad: bool, is_parameter: bool) -> Tensor:
    value = value.to(device)
    return nn.Parameter(value, requires_grad) if is_parameter else value.requires_grad_(requires_grad)


def _set_gradient(value: Tensor, gradient: Tensor) -> None:
    value.grad = gradient
