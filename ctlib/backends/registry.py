"""Engines behind the projector: all evaluate the same plan; `auto` is the fastest for the tensor's device."""

import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError, MissingDependency
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam


@runtime_checkable
class Engine(Protocol):
    """What computes for one geometry: two linear maps and their exact transposes, the batch in one call.

    Images are (B, *volume.shape), projections (B, rays) in the order of the flattened sinogram, and the data of a
    back-projection (B, V, [R,] U); float32 or float64. Results follow the input, without a graph. An engine whose
    entry says so also takes float16 and bfloat16, and computes and sums in float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Project images: line integrals of every ray."""

    def adjoint(self, y: Tensor) -> Tensor:
        """The transpose of `forward`."""

    def backproject(self, q: Tensor, view_weights: Tensor) -> Tensor:
        """Sum over views of the value under each voxel: `ctlib.recon.backproject`. view_weights (V,) [rad]."""

    def backproject_adjoint(self, x: Tensor, view_weights: Tensor) -> Tensor:
        """The transpose of `backproject`."""


class Entry(NamedTuple):
    """What the table says of an engine.

    package  what it needs beyond torch
    devices  types of device it runs on, () for all
    loader   "module:maker" within this package, imported when needed, or the maker itself: maker(geometry)
    half     whether it takes half precision
    """

    package: str | None
    devices: tuple[str, ...]
    loader: str | Callable[[ParallelBeam | FanBeam | ConeBeam], Engine]
    half: bool = False


ENGINES = {  # in the order in which `auto` looks for one
    "numba": Entry("numba", ("cpu",), "cpu.engine:NumbaEngine"),
    "triton": Entry("triton", ("cuda",), "gpu.engine:TritonEngine", half=True),
    "torch": Entry(None, (), "reference.torch_engine:TorchEngine"),
    "sparse": Entry(None, (), "reference.sparse_engine:MatrixEngine"),
    "astra": Entry("astra", (), "reference.astra_engine:AstraEngine"),
}


def available() -> tuple[str, ...]:
    """Names of the engines whose packages are installed and that find a device of theirs."""
    return tuple(filter(_usable, ENGINES))


def _usable(name: str) -> bool:
    return _installed(name) and any(map(_present, _devices(name) or ("cpu",)))


def _installed(name: str) -> bool:
    package = ENGINES[name].package
    return package is None or importlib.util.find_spec(package) is not None


def _present(device_type: str) -> bool:
    return device_type == "cpu" or getattr(torch, device_type).is_available()


def _devices(name: str) -> tuple[str, ...]:
    """Where an engine runs; Triton's interpreter runs what is written for a GPU on the CPU as well."""
    interpreted = name == "triton" and os.environ.get("TRITON_INTERPRET") == "1"
    return (*ENGINES[name].devices, "cpu") if interpreted else ENGINES[name].devices


def require(name: str) -> None:
    """Raise unless this is the name of an engine, or `auto`."""
    contract.choice("backend", name, ("auto", *ENGINES))


def resolve(name: str, device_type: str) -> str:
    """The engine that `auto` (or a name) stands for on a device."""
    require(name)
    if name == "auto":
        fits = (n for n, entry in ENGINES.items() if not entry.devices or device_type in entry.devices)
        return next(n for n in fits if _usable(n))  # looking for those not installed takes as long as a small product
    if _devices(name) and device_type not in _devices(name):
        needed = f"a tensor on {' or '.join(_devices(name))}, or backend='auto'"
        raise ArgumentError("backend", f"'{name}' for a tensor on {device_type}", needed)
    return name


def dtypes(name: str, value: object) -> tuple[str, ...]:
    """Names of the types of numbers that the engine of a tensor takes, `name` being as in `resolve`."""
    if not isinstance(value, Tensor) or value.dtype not in (torch.float16, torch.bfloat16):
        return contract.REAL
    return (*contract.HALF, *contract.REAL) if ENGINES[resolve(name, value.device.type)].half else contract.REAL


def engine(name: str, geometry: ParallelBeam | FanBeam | ConeBeam) -> Engine:
    """A new engine of this name for a geometry; its tables are made when they are first needed."""
    loader = ENGINES[contract.choice("backend", name, tuple(ENGINES))].loader
    if not isinstance(loader, str):
        return loader(geometry)
    module, _, maker = loader.partition(":")
    try:
        made_by = importlib.import_module(f"ctlib.backends.{module}")
    except ImportError as error:
        raise MissingDependency(ENGINES[name].package, f"the {name} engine") from error
    return getattr(made_by, maker)(geometry)
