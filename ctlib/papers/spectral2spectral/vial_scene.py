"""The slice of {cite}`ditrapani2022` as a scene: measured images or made ones, projected, and what is measured on them.

Only the images are public. They are projected, and the data step pulls towards them, noise included.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctlib.decompose import decompose_images
from ctlib.geometry import ParallelBeam, Volume
from ctlib.papers.spectral2spectral.bin_images import load_bin_images
from ctlib.papers.spectral2spectral.noise_level import detrended, neighbor_correlation
from ctlib.papers.spectral2spectral.regions import edge_gradient
from ctlib.papers.spectral2spectral.scene import Scene
from ctlib.papers.spectral2spectral.scores import body_mask
from ctlib.papers.spectral2spectral.vials import CENTERS_MM, vial_densities
from ctlib.projector import Projector
from ctlib.recon import fbp

FIELD_MM, PIXEL_MM, STORED_PER_MM = 31.3, 0.0453, 0.453  # of the published slice; stored value / 0.0453 is 1/cm
MEASURED_RADIUS_MM = 1.8  # of the disks inside the vials
K_EDGES = {"iodine": (0, 1, 2), "gadolinium": (2, 5, 6)}  # vial, bin below and bin above the edge


@dataclass(frozen=True, eq=False)
class VialScene(Scene):
    """One slice (Z = 1) beside three vials; bool masks (3, Y, X) of their insides, voxel size [mm]."""

    vials: Tensor | None = None
    voxel_mm: float = 1.0

    def noise(self, x: Tensor) -> Tensor:
        """Standard deviation of every bin inside the vials, median of the three, (E,) [1/mm]."""
        return torch.stack([detrended(x[0], v)[:, v].std(-1) for v in self.vials]).median(0).values.cpu()

    def maps(self, x: Tensor) -> Tensor:
        """Densities (1, 5, Y, X) [g/cm3] of water, iodine, barium, gadolinium and bone, bins weighted by noise."""
        return decompose_images(x, self.matrix, 1 / self.noise(self.x0).square())


def _scan(n: int, voxel_mm: float, views: int) -> Projector:
    return Projector(ParallelBeam(Volume((n, n), voxel_mm), views, round(1.1 * n), voxel_mm))


def vial_scene(
    x0: Tensor, voxel_mm: float, views: int, matrix: Tensor, seed: int = 0, truth: Tensor | None = None
) -> VialScene:
    """The scene of images (1, E, Y, X), their projections over 180 degrees taken as data."""
    n = x0.shape[-1]
    A = _scan(n, voxel_mm, views)
    t = (np.arange(n) - (n - 1) / 2) * voxel_mm
    grid_x, grid_y = (torch.from_numpy(g).to(x0) for g in np.meshgrid(t, -t))
    vials = torch.stack([(grid_x - x) ** 2 + (grid_y - y) ** 2 < MEASURED_RADIUS_MM**2 for x, y in CENTERS_MM])
    full = x0.mean(1, keepdim=True)  # counts are not published: bins count alike
    return VialScene(A, A(x0), x0, full, seed, matrix, truth, None, vials, voxel_mm)


def correlated(noise: Tensor, shared: Tensor | tuple[float, ...]) -> Tensor:
    """Images of noise (1, E, Y, X), each blurred until neighbors share so much of it, (E,); its deviation changes.

    The Gaussian's width is found by bisection between none and two pixels; noise that shares more stays as it is.
    """
    out = []
    for image, goal in zip(noise[0], torch.as_tensor(shared).tolist(), strict=True):
        low, high = 0.0, 2.0
        for _ in range(20):
            middle = (low + high) / 2
            low, high = (middle, high) if float(neighbor_correlation(_blurred(image, middle))) < goal else (low, middle)
        out.append(_blurred(image, low) if low > 0.01 else image)
    return torch.stack(out)[None]


def _blurred(image: Tensor, width: float, radius: int = 6) -> Tensor:
    """An image (Y, X) under a Gaussian of so many pixels, periodic at its rim."""
    t = torch.arange(-radius, radius + 1).to(image)
    kernel = torch.exp(-0.5 * (t / max(width, 1e-3)) ** 2)
    kernel = kernel / kernel.sum()
    rows = sum(k * image.roll(int(i), 0) for i, k in zip(t, kernel, strict=True))
    return sum(k * rows.roll(int(i), 1) for i, k in zip(t, kernel, strict=True))


def made(
    seed: int, sigma: Tensor | tuple[float, ...], n: int, views: int, matrix: Tensor, device: str = "cpu",
    shared: Tensor | tuple[float, ...] | None = None,
) -> VialScene:  # fmt: skip
    """A made specimen whose noise has standard deviation sigma (E,) [1/mm] in the image.

    shared  what neighbors share of it in each bin, (E,); None: as FBP leaves noise that is white in the projections
    """
    voxel_mm = FIELD_MM / n
    densities = vial_densities(Volume((n, n), voxel_mm), seed)
    truth = torch.einsum("em,myx->eyx", matrix, densities).float()[None].to(device) / 10
    A = _scan(n, voxel_mm, views)
    white = torch.randn(1, len(matrix), *A.range_shape, generator=torch.Generator().manual_seed(seed)).to(device)
    unit = fbp(A, white)
    unit = unit if shared is None else correlated(unit, shared)
    inside = unit[..., n // 4 : -n // 4, n // 4 : -n // 4].std((0, 2, 3))
    x0 = truth + (torch.as_tensor(sigma).to(unit) / inside)[:, None, None] * unit
    scene = vial_scene(x0, voxel_mm, views, matrix, seed, truth)
    return replace(scene, body=body_mask(densities[None]).to(device))


def measured(folder: str | Path, n: int, views: int, matrix: Tensor, device: str = "cpu") -> VialScene:
    """The published slice, averaged over squares of pixels and cut to n x n."""
    x = load_bin_images(folder, STORED_PER_MM).to(device)
    by = max(1, x.shape[-1] // n)
    x = torch.nn.functional.avg_pool2d(x, by)
    cut = (x.shape[-1] - n) // 2
    return vial_scene(x[None, :, cut : cut + n, cut : cut + n], by * PIXEL_MM, views, matrix)


def shared_in_vials(scene: VialScene, x: Tensor) -> Tensor:
    """What neighbors share of the noise in every bin, mean over the vials, (E,)."""
    found = [neighbor_correlation(detrended(x[0], v), v) for v in scene.vials]
    return torch.stack(found).mean(0).cpu()


def step_at(scene: VialScene, x: Tensor, element: str) -> float:
    """Attenuation in the element's vial above its K-edge over that below."""
    vial, low, high = K_EDGES[element]
    inside = scene.vials[vial]
    return float(x[0, high, inside].mean() / x[0, low, inside].mean())


def content(scene: VialScene, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (3, 3) of the elements' maps in the vials [mg/mL]: rows vials, columns elements."""
    maps = scene.maps(x)[0, 1:4]
    found = [1e3 * maps[:, v].cpu() for v in scene.vials]
    return torch.stack([f.mean(-1) for f in found]), torch.stack([f.std(-1) for f in found])


def measures(scene: VialScene, x: Tensor) -> dict:
    """What is left of the noise, of the steps at the K-edges, of the edges and of the elements in an image.

    noise    relative to the first images;  edges  `edge_gradient` against the mean of all first images
    content  mean of each element in its own vial (3,);  spread  its deviation from pixel to pixel [mg/mL]
    false    largest mean of an element where it is not [mg/mL];  right  vials whose largest element is theirs
    """
    mean, deviation = content(scene, x)
    return {
        "noise": float((scene.noise(x) / scene.noise(scene.x0)).mean()),
        **{f"{element} step": step_at(scene, x, element) for element in K_EDGES},
        "edges": edge_gradient(x[0], scene.full[0].expand_as(x[0])),
        "content": mean.diagonal().numpy(),
        "spread": float(deviation.diagonal().mean()),
        "false": float((mean - mean.diag().diag()).abs().max()),
        "right": int((mean.argmax(1) == torch.arange(3)).sum()),
    }
