"""What is measured on the rods and on the mouse: material maps in their regions, bone, profiles, shared noise."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from ctlib import metrics
from ctlib.decompose import decompose_images
from ctlib.metrics.contrast import contrast_to_noise
from ctlib.papers.spectral2spectral.noise_level import neighbor_correlation
from ctlib.papers.spectral2spectral.regions import bone_regions, edge_gradient, in_units, vessel_region
from ctlib.papers.spectral2spectral.scene import ScannedScene
from ctlib.papers.spectral2spectral.specimens import rod_regions


def maps_in_units(scene: ScannedScene, x: Tensor, matrix: Tensor | None = None) -> Tensor:
    """Material maps (Z, 3, Y, X): aluminium as a share of the metal, water and iodine in g/cm3.

    matrix  (E, 3) [cm2/g] in place of the scene's
    """
    return in_units(scene.maps(x) if matrix is None else decompose_images(x, matrix))


def rod_errors(scene: ScannedScene, x: Tensor, matrix: Tensor | None = None) -> np.ndarray:
    """RMSE in the aluminium rod, the water rod and the three iodine rods, each of its own material, (3,)."""
    regions = rod_regions(scene.scan.geometry.volume, 0.0, scene.seed).to(x.device)
    found, true = maps_in_units(scene, x, matrix), in_units(scene.scan.truth)
    areas = (regions[0], regions[1], regions[2:].any(0))
    slices = [metrics.rmse(found[:, m], true[:, m], area) for m, area in enumerate(areas)]
    return np.array([float(each.square().mean().sqrt()) for each in slices])


def iodine_steps(scene: ScannedScene, x: Tensor) -> float:
    """Smallest step between the means of the 0, 5, 10 and 15 mg/mL rods over the largest deviation inside one."""
    regions = rod_regions(scene.scan.geometry.volume, 0.0, scene.seed).to(x.device)
    values = [maps_in_units(scene, x)[:, 2][:, r] for r in regions[1:]]
    means = np.array([float(v.mean()) for v in values])
    return np.diff(means).min() / max(float(v.std()) for v in values)


def bone_contrast(scene: ScannedScene, x: Tensor, bin_index: int = 4) -> float:
    """Contrast-to-noise ratio of bone and the soft tissue next to it, in one bin."""
    inside, near = (m[:, 0] for m in bone_regions(scene.scan.truth))
    return float(contrast_to_noise(x[:, bin_index], inside, near))


def spine_row(scene: ScannedScene) -> int:
    """The row with most bone in the middle slice."""
    return int(scene.scan.truth[len(scene.x0) // 2, 0].sum(1).argmax())


def profile_error(scene: ScannedScene, x: Tensor, bin_index: int = 4) -> float:
    """Root mean square error along `spine_row` of the middle slice, in one bin [1/mm]."""
    off = (x - scene.truth)[len(x) // 2, bin_index, spine_row(scene)]
    return float(off.square().mean().sqrt())


def vessel_error(scene: ScannedScene, x: Tensor) -> float:
    """RMSE of the iodine map in the vessels [mg/mL]."""
    inside = vessel_region(scene.scan.truth)[:, 0]
    off = maps_in_units(scene, x)[:, 2] - scene.scan.truth[:, 2]
    return 1e3 * float(off[inside].square().mean().sqrt())


def edge_slope(scene: ScannedScene, x: Tensor, bin_index: int = 2) -> float:
    """`edge_gradient` of one bin against the truth."""
    return edge_gradient(x[:, bin_index], scene.truth[:, bin_index])


def shared_noise(scene: ScannedScene, reconstruct: Callable, bin_index: int = 2) -> float:
    """Correlation of the noise of neighboring pixels in the images of one bin by reconstruct(A, y)."""
    noisy, clean = scene.y[:, bin_index], scene.scan.line_integrals(scene.scan.expected)[:, bin_index]
    noise = reconstruct(scene.A, noisy) - reconstruct(scene.A, clean)
    return float(neighbor_correlation(noise).mean())
