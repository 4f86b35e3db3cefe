"""The CPU engine, imported where numba is installed."""

from ctlib.backends.cpu.engine_2d import Numba2D
from ctlib.backends.cpu.engine_3d import Numba3D


def NumbaEngine(geometry):
    """The engine for a geometry's number of dimensions."""
    return (Numba2D if geometry.volume.ndim == 2 else Numba3D)(geometry)
