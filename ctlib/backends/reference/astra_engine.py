"""ASTRA's projectors (GPL-3, optional) through its public API: an independent engine, and the tests' oracle.

2-D on a CPU, square pixels. ASTRA computes the matrix once; products with it and its transpose are an exact pair in
either precision. Parallel beam uses its 'linear' model (Joseph), fan beam 'line_fanflat' (exact lengths in pixels).
"""

import importlib.util
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ctlib.backends.reference.sparse_engine import MatrixEngine
from ctlib.errors import ArgumentError, MissingDependency
from ctlib.geometry import FanBeam, ParallelBeam

MODELS = {ParallelBeam: "linear", FanBeam: "line_fanflat"}


def astra_geometries(geometry) -> tuple[dict, dict]:
    """(volume, projection) geometry of ASTRA; vector form, so that a detector offset needs no special case."""
    import astra

    (ny, nx), (height, width) = geometry.volume.shape, geometry.volume.extent_mm
    volume = astra.create_vol_geom(ny, nx, -width / 2, width / 2, -height / 2, height / 2)
    t, offset, pitch = np.asarray(geometry.angles), geometry.detector_offset_mm, geometry.pitch_mm
    axis = np.stack([np.cos(t), np.sin(t)], -1)
    away = np.stack([np.sin(t), -np.cos(t)], -1)  # from the origin to the source
    if isinstance(geometry, ParallelBeam):
        rows, kind = [away, axis * offset, axis * pitch], "parallel_vec"
    else:
        behind = geometry.source_detector_mm - geometry.source_origin_mm
        rows, kind = [away * geometry.source_origin_mm, axis * offset - away * behind, axis * pitch], "fanflat_vec"
    return volume, astra.create_proj_geom(kind, geometry.num_cols, np.concatenate(rows, -1))


@lru_cache(maxsize=4)
def astra_entries(geometry) -> tuple[Tensor, Tensor, Tensor]:
    """(ray, pixel, weight) of every nonzero entry of ASTRA's system matrix, weights as float64."""
    import astra

    volume, projection = astra_geometries(geometry)
    projector = astra.create_projector(MODELS[type(geometry)], projection, volume)
    handle = astra.projector.matrix(projector)
    m = astra.matrix.get(handle).tocoo()
    astra.matrix.delete(handle)
    astra.projector.delete(projector)
    rows, cols = torch.from_numpy(m.row.astype(np.int64)), torch.from_numpy(m.col.astype(np.int64))
    return rows, cols, torch.from_numpy(m.data.astype(np.float64))


class AstraEngine(MatrixEngine):
    """Products with ASTRA's matrix."""

    entries = staticmethod(astra_entries)

    def __init__(self, geometry):
        if importlib.util.find_spec("astra") is None:
            raise MissingDependency("astra-toolbox", "the astra engine")
        if type(geometry) not in MODELS:
            needed = "a 2-D geometry: ASTRA projects 3-D on CUDA only"
            raise ArgumentError("backend", "'astra' with a 3-D geometry", needed)
        if len(set(geometry.volume.voxel_mm)) > 1:
            needed = "square pixels: ASTRA's CPU models know no others"
            raise ArgumentError("voxel_mm", geometry.volume.voxel_mm, needed)
        super().__init__(geometry)
