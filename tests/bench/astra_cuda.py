"""ASTRA on a CUDA device: 2-D with its copies from and to the host, and slabs of a 3-D parallel beam without copies.

ASTRA's 2-D data take NumPy arrays alone, so its products on the GPU copy. Its 3-D data can be linked to tensors of the
device; a batch is then the rows of a parallel beam in three dimensions. A fan has no such form.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from failures import in_short
from torch import Tensor

from ctlib.backends.reference.astra_engine import astra_geometries
from ctlib.geometry import ConeBeam, ParallelBeam

COPIES, LINKED = "astra CUDA 2-D, copies included", "astra CUDA 3-D slabs, no copies"


def contestants(geometry, x: Tensor, y: Tensor, notes: list[str]) -> Iterator[tuple[str, str, Callable]]:
    """(case, name, call) of ASTRA's products on the device, where it can be imported with CUDA and knows the scan."""
    try:
        import astra
    except ImportError as error:
        notes.append(f"astra CUDA: left out, {in_short(error)}")
        return
    if not astra.use_cuda():
        notes.append("astra CUDA: left out, ASTRA sees no CUDA device")
        return
    if isinstance(geometry, ConeBeam):
        notes.append("astra CUDA, cone: left out, only 2-D scans are compared")
        return
    flat = Flat(astra, geometry)
    yield "A", COPIES, partial(flat.each, flat.project, x)
    yield "A.T", COPIES, partial(flat.each, flat.backproject, y)
    if isinstance(geometry, ParallelBeam) and not geometry.detector_offset_mm:
        slabs = Slabs(astra, geometry, x, y)
        yield "A", LINKED, partial(slabs.run, "FP3D_CUDA")
        yield "A.T", LINKED, partial(slabs.run, "BP3D_CUDA")


class Flat:
    """One image a call; an image comes from the device and its product goes back to it."""

    def __init__(self, astra, geometry):
        self.astra = astra
        self.volume, self.projection = astra_geometries(geometry)
        self.projector = astra.create_projector("cuda", self.projection, self.volume)

    def each(self, call: Callable, batch: Tensor) -> Tensor:
        return batch.new_tensor(np.stack([call(image) for image in batch.cpu().numpy()]))

    def project(self, image: np.ndarray) -> np.ndarray:
        handle, sino = self.astra.create_sino(image, self.projector)
        self.astra.data2d.delete(handle)
        return sino

    def backproject(self, sino: np.ndarray) -> np.ndarray:
        handle, image = self.astra.create_backprojection(sino, self.projector)
        self.astra.data2d.delete(handle)
        return image


class Slabs:
    """The batch as rows of a parallel beam in 3-D, linked to the tensors: (B, Y, X) and (B, V, U)."""

    def __init__(self, astra, geometry, x: Tensor, y: Tensor):
        (ny, nx), (height, width) = geometry.volume.shape, geometry.volume.extent_mm
        num, pitch = len(x), geometry.pitch_mm
        edges = (-width / 2, width / 2, -height / 2, height / 2, -num / 2, num / 2)
        volume = astra.create_vol_geom(ny, nx, num, *edges)
        angles = np.asarray(geometry.angles)
        projection = astra.create_proj_geom("parallel3d", pitch, 1.0, num, geometry.num_cols, angles)
        self.astra, self.held = astra, (x.clone(), y.clone())  # both are written to
        self.data = {
            "VolumeDataId": astra.data3d.link("-vol", volume, self.held[0]),
            "ProjectionDataId": astra.data3d.link("-sino", projection, self.held[1]),
        }

    def run(self, name: str) -> None:
        config = self.astra.astra_dict(name)
        config["ProjectionDataId"] = self.data["ProjectionDataId"]
        config["VolumeDataId" if name == "FP3D_CUDA" else "ReconstructionDataId"] = self.data["VolumeDataId"]
        handle = self.astra.algorithm.create(config)
        self.astra.algorithm.run(handle)
        self.astra.algorithm.delete(handle)
