"""Everything a chapter has computed so far, in one file: the names of its cells, streams and settings of libraries.

Made for `torch.save`, which stores a tensor that several names share once. This module takes the place of `pickle`
there: its `Pickler` also knows what cells hold besides data. Read back by the same version of the code alone.
"""

from __future__ import annotations

import importlib
import io
import marshal
import pickle
import random
import sys
import types
import zipfile
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ctlib.book.project import BookError
from ctlib.book.runner import private
from ctlib.errors import CtlibError, DataError
from ctlib.files import replacing

Unpickler = pickle.Unpickler
NAMES: ContextVar[dict] = ContextVar("ctlib_names")  # of the cells that are stored or read: globals of their functions
KNOWN_TO_TORCH = ("cpu", "cuda", "meta")
DAMAGE = (zipfile.BadZipFile, pickle.UnpicklingError, EOFError)
NO_GRAPH = "the graph of gradients behind a tensor that was read from a file was not kept"


class NotStorable(CtlibError, TypeError):
    """Names of cells hold what cannot be written to a file; `names` says which, and why."""

    def __init__(self, names: dict[str, str]):
        super().__init__(", ".join(f"`{name}` ({why})" for name, why in names.items()))
        self.names = names


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


def save(path: Path, names: dict[str, object], extra: dict[str, object]) -> None:
    """Write the names of the cells and what goes with them, whole or not at all; NotStorable says what cannot be."""
    kept = {name: value for name, value in names.items() if name != "__builtins__"}
    token = NAMES.set(names)
    try:
        with replacing(path) as part:
            part.touch(0o600)
            torch.save({"names": kept, "extra": extra, "libraries": libraries()}, part, sys.modules[__name__])
    except OSError:
        raise
    except Exception as error:
        refused = {name: why for name, value in kept.items() if (why := refusal(value))}
        if not refused:
            raise
        raise NotStorable(refused) from error
    finally:
        NAMES.reset(token)


def load(path: Path, names: dict[str, object]) -> dict[str, object]:
    """Read the names back into this dictionary, set streams and settings, give what went with them.

    DataError for a file that is cut off or changed. BookError where a file cannot be restored here and now (a device
    that is missing or full, a disk), or must not be. Either leaves file, names, streams and settings as they were.
    """
    if why := private.refusal(path):
        raise BookError(f"{path} is not read, since reading it runs what it holds: {why}; make it yours, or remove it")
    token, before = NAMES.set(names), libraries()
    try:
        if not whole(path):
            raise zipfile.BadZipFile("cut off or changed")
        state = torch.load(path, pickle_module=sys.modules[__name__], weights_only=False)
        set_libraries(state["libraries"])
    except BaseException as error:
        set_libraries(before)
        if isinstance(error, DAMAGE):
            raise DataError(path, "contents", f"cannot be read ({told(error)})") from None
        if isinstance(error, Exception):  # what is read back raises what it likes
            ways = "run again where it can, or remove it to start at the first cell"
            raise BookError(f"{path} is kept but cannot be restored here ({told(error)}): {ways}") from error
        raise
    finally:
        NAMES.reset(token)
    names.update(state["names"])
    return state["extra"]


def whole(path: Path) -> bool:
    """Whether the file holds what was written, by its checksums: `torch.load` takes changed bytes for numbers."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (*DAMAGE, ValueError, RuntimeError):  # RuntimeError: what is said to be encrypted, or packed in other ways
        return False


def told(error: BaseException) -> str:
    """Type and first line."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def refusal(value: object) -> str:
    """Why a value cannot be written; "" if it can."""
    try:
        torch.save(value, io.BytesIO(), sys.modules[__name__])
    except Exception as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return ""


def libraries() -> dict[str, object]:
    """Random streams that belong to nobody, numbers of threads, matplotlib's defaults: what cells change elsewhere."""
    found = {
        "random": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002  the stream that belongs to nobody
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
    }
    if "numba" in sys.modules:
        found["numba"] = sys.modules["numba"].get_num_threads()
    if "matplotlib" in sys.modules:
        found["matplotlib"] = dict(sys.modules["matplotlib"].rcParams)
    return found


def set_libraries(found: dict[str, object]) -> None:
    """What `libraries` gave."""
    random.setstate(found["random"])
    np.random.set_state(found["numpy"])  # noqa: NPY002
    torch.set_rng_state(found["torch"])
    if found["cuda"]:
        torch.cuda.set_rng_state_all(found["cuda"])
    torch.set_default_dtype(found["dtype"])
    torch.set_num_threads(found["threads"])
    if "numba" in found:
        numba = importlib.import_module("numba")
        numba.set_num_threads(min(found["numba"], numba.config.NUMBA_NUM_THREADS))  # this process may have fewer
    if "matplotlib" in found:
        dict.update(importlib.import_module("matplotlib").rcParams, found["matplotlib"])


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
