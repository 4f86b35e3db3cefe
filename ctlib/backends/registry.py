"""Engines behind the projector: all evaluate the same plan; `auto` is the fastest for the tensor's device."""

import importlib.util
import os

from ctlib.errors import ArgumentError, MissingDependency

BACKENDS = ("numba", "triton", "torch", "sparse", "astra")


def available() -> tuple[str, ...]:
    """Names of the engines whose packages are installed, and triton only where it can run."""
    needs = {"numba": "numba", "astra": "astra", "triton": "triton"}
    there = (b for b in BACKENDS if b not in needs or importlib.util.find_spec(needs[b]))
    return tuple(b for b in there if b != "triton" or _triton_runs())


def _triton_runs() -> bool:
    """On a CUDA device, or anywhere in Triton's interpreter."""
    import torch

    return torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"


def resolve(name: str, device_type: str) -> str:
    """The engine that `auto` (or a name) stands for on a device."""
    if name == "auto":
        fastest = {"cpu": "numba", "cuda": "triton"}.get(device_type)
        return fastest if fastest in available() else "torch"
    if name not in BACKENDS:
        raise ArgumentError("backend", repr(name), f"'auto' or one of {', '.join(BACKENDS)}")
    if name == "numba" and device_type != "cpu":
        raise ArgumentError("backend", f"'numba' for a tensor on {device_type}", "a CPU tensor, or backend='auto'")
    return name


def engine(name: str, geometry):
    """A new engine of this name for a geometry: `.forward` (B, *shape) -> (B, rays), `.adjoint` back."""
    if name == "numba":
        try:
            from ctlib.backends.cpu.engine_2d import Numba2D
            from ctlib.backends.cpu.engine_3d import Numba3D
        except ImportError as error:
            raise MissingDependency("numba", "the compiled CPU engine") from error
        Engine = Numba2D if geometry.volume.ndim == 2 else Numba3D
    elif name == "triton":
        try:
            from ctlib.backends.gpu.engine import TritonEngine as Engine
        except ImportError as error:
            raise MissingDependency("triton", "the GPU engine") from error
    elif name == "torch":
        from ctlib.backends.reference.torch_engine import TorchEngine as Engine
    elif name == "sparse":
        from ctlib.backends.reference.sparse_engine import MatrixEngine as Engine
    else:
        from ctlib.backends.reference.astra_engine import AstraEngine as Engine
    return Engine(geometry)
