"""The contestants behind one interface: ctlib's engines, ASTRA, scikit-image; other libraries are in `peers`.

An engine has a name and, for a geometry, `native` (torch tensor to what it eats), `forward`, `adjoint` and `tensor`
(what it returns, as a float32 tensor). Conversions are outside the measured time.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch

from ctlib import backends
from ctlib.backends.reference.astra_engine import MODELS, astra_entries, astra_geometries
from ctlib.backends.reference.sparse_engine import system_entries
from ctlib.geometry import ConeBeam, ParallelBeam
from ctlib.projector import Projector


class Ctlib:
    """The projector with one of its engines."""

    def __init__(self, geometry, backend: str):
        self.name, self.A = f"ctlib {backend}", Projector(geometry, backend)
        self.forward, self.adjoint = self.A, self.A.T

    native = tensor = staticmethod(lambda t: t)


class Arrays:
    """Engines that take one NumPy image at a time; a batch is a loop, or two threads that share it."""

    threads = 1

    def native(self, t: torch.Tensor) -> list[np.ndarray]:
        return [np.ascontiguousarray(image) for image in t.numpy()]

    def tensor(self, images: list[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(images).astype(np.float32))

    def each(self, call, images: list[np.ndarray]) -> list[np.ndarray]:
        if self.threads == 1:
            return [call(image) for image in images]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(call, images))

    def forward(self, images):
        return self.each(self.project, images)

    def adjoint(self, sinograms):
        return self.each(self.backproject, sinograms)


class Astra(Arrays):
    """ASTRA's CPU projectors by its public functions: 'linear' is Joseph's method, 'line_fanflat' Siddon's."""

    def __init__(self, geometry, threads: int = 1):
        import astra

        model = MODELS[type(geometry)]
        self.astra, self.threads = astra, threads
        self.name = f"astra {model}" + (f", {threads} threads" if threads > 1 else "")
        self.volume, self.projection = astra_geometries(geometry)
        if isinstance(geometry, ParallelBeam):  # ASTRA's FBP wants the plain form
            angles = np.asarray(geometry.angles)
            self.projection = astra.create_proj_geom("parallel", geometry.pitch_mm, geometry.num_cols, angles)
        self.projector = astra.create_projector(model, self.projection, self.volume)

    def project(self, image: np.ndarray) -> np.ndarray:
        handle, sino = self.astra.create_sino(image, self.projector)
        self.astra.data2d.delete(handle)
        return sino

    def backproject(self, sino: np.ndarray) -> np.ndarray:
        handle, image = self.astra.create_backprojection(sino, self.projector)
        self.astra.data2d.delete(handle)
        return image

    def reconstruct(self, sinograms: list[np.ndarray], name: str, iterations: int) -> list[np.ndarray]:
        """Run a reconstruction algorithm of ASTRA on every sinogram."""
        return self.each(partial(self.algorithm, name, iterations), sinograms)

    def algorithm(self, name: str, iterations: int, sino: np.ndarray) -> np.ndarray:
        """Run it on one."""
        data, algorithm = self.astra.data2d, self.astra.algorithm
        config = self.astra.astra_dict(name)
        config["ProjectorId"] = self.projector
        config["ProjectionDataId"] = data.create("-sino", self.projection, sino)
        config["ReconstructionDataId"] = data.create("-vol", self.volume, 0.0)
        handle = algorithm.create(config)
        algorithm.run(handle, iterations)
        image = data.get(config["ReconstructionDataId"])
        algorithm.delete(handle)
        data.delete([config["ReconstructionDataId"], config["ProjectionDataId"]])
        return image


class Skimage(Arrays):
    """scikit-image's radon, and iradon without filter as its (unmatched) adjoint; it rotates about pixel N // 2."""

    name = "scikit-image"

    def __init__(self, geometry: ParallelBeam):
        from skimage.transform import iradon, radon

        size, voxel = geometry.volume.shape[0], geometry.volume.voxel_mm[0]
        theta = np.rad2deg(geometry.angles)
        self.voxel, self.scale = voxel, voxel * 2 * len(theta) / np.pi
        self.radon = partial(radon, theta=theta, circle=False)
        self.iradon = partial(iradon, theta=theta, circle=False, output_size=size)

    def project(self, image: np.ndarray) -> np.ndarray:
        return self.radon(image).T * self.voxel

    def backproject(self, sino: np.ndarray) -> np.ndarray:
        return self.iradon(np.ascontiguousarray(sino.T), filter_name=None) * self.scale

    def fbp(self, sinograms: list[np.ndarray]) -> list[np.ndarray]:
        """Filtered back-projection with the ramp [1/mm]."""
        filtered = partial(self.iradon, filter_name="ramp")
        return self.each(lambda sino: filtered(np.ascontiguousarray(sino.T)) / self.voxel, sinograms)


def builders(geometry) -> dict:
    """Name and constructor of every engine for this geometry, ctlib's automatic choice first."""
    from peers import PEERS

    if isinstance(geometry, ConeBeam):  # a stored matrix would fill the memory, and no peer has a CPU projector
        return {"ctlib auto": partial(Ctlib, backend="auto")}
    auto = backends.resolve("auto", "cpu")
    others = [b for b in Projector.backends() if b not in (auto, "triton", "astra")]  # a GPU's; ASTRA runs itself
    names = ["auto", *others]
    ours = {f"ctlib {b}": partial(Ctlib, backend=b) for b in names}
    model = MODELS[type(geometry)]
    theirs = {f"astra {model}": Astra, f"astra {model}, 2 threads": partial(Astra, threads=2)}
    if isinstance(geometry, ParallelBeam):
        theirs["scikit-image"] = Skimage
    return ours | theirs | PEERS


def forget() -> None:
    """Drop the system matrices that ctlib keeps: gigabytes that the next scan does not need."""
    system_entries.cache_clear()
    astra_entries.cache_clear()


def build(geometry, notes: list[str]) -> list:
    """Every engine that can be built here; what cannot is noted."""
    engines = []
    for name, builder in builders(geometry).items():
        try:
            engines.append(builder(geometry))
        except (ImportError, ValueError, NotImplementedError) as error:
            notes.append(f"{name}, {type(geometry).__name__}: left out, {error}")
    return engines
