"""Low-contrast lesions put into scans: where, how they look through the scanner, and what is left of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.papers.hqinet.noise_power import FLAT_HU
from ctlib.papers.hqinet.scan import Scanner
from ctlib.phantoms import Ellipsoids
from ctlib.units import MU_WATER


def lesion_sites(hu: Tensor, inside: Tensor, num: int, apart: int) -> list[tuple[int, int]]:
    """At most `num` pixels (row, column) of a slice (Y, X) in HU with flat soft tissue around, the flattest first.

    apart  pixels that must lie between two of them and the border; in a square of half that side all is soft tissue
    """
    hu, num, apart = (
        contract.tensor("hu", hu, ("Y", "X")),
        contract.count("num", num),
        contract.count("apart", apart, 3),
    )
    width = (apart // 2) | 1
    smooth = avg_pool2d(hu[None, None], 5, 1, 2)
    soft = ((smooth > FLAT_HU[0]) & (smooth < FLAT_HU[1]) & inside[None, None]).to(hu)
    mean, square = (avg_pool2d(t, width, 1, width // 2) for t in (smooth, smooth**2))
    rough = (square - mean**2).clamp_min(0)
    whole = -max_pool2d(-soft, width, 1, width // 2)
    for edge in (slice(None, apart), slice(-apart, None)):
        whole[..., edge, :], whole[..., :, edge] = 0, 0
    rough = torch.where(whole > 0, rough, torch.inf)[0, 0]
    found = []
    while len(found) < num and bool(torch.isfinite(rough).any()):
        row, column = divmod(int(rough.argmin()), rough.shape[1])
        found.append((row, column))
        rough[max(0, row - apart) : row + apart + 1, max(0, column - apart) : column + apart + 1] = torch.inf
    return found


def lesions_image(scanner: Scanner, sites: Sequence[tuple[int, int]], radius_mm: float) -> Tensor:
    """Discs of 1 HU at these pixels as the scanner shows them, (Y, X) [HU]: exact projections, its own kernel."""
    radius_mm, middle = contract.number("radius_mm", radius_mm, above=0), (scanner.n - 1) / 2
    if not sites:
        raise ArgumentError("sites", "none", "at least one pixel")
    centers = [((x - middle) * scanner.pixel_mm, (middle - y) * scanner.pixel_mm) for y, x in sites]  # y points up
    values = [MU_WATER / 1000] * len(centers)
    discs = Ellipsoids(values, centers, [[radius_mm, radius_mm]] * len(centers), [0.0] * len(centers))
    return scanner.change(discs.line_integrals(scanner.A.geometry, 4).float()[None])[0]


def sphere_in_slices(radius_mm: float, slice_mm: float) -> tuple[float, float]:
    """Share of a sphere's contrast in the slice through its center, and in either neighbor: mean of its cross section.

    A sphere in slices of finite thickness is a disc whose contrast is what of the slice it fills.
    """
    r = contract.number("radius_mm", radius_mm, above=0)
    half = contract.number("slice_mm", slice_mm, above=0) / 2

    def filled(z0: float, z1: float) -> float:
        z0, z1 = min(z0, r), min(z1, r)
        return ((z1 - z1**3 / (3 * r**2)) - (z0 - z0**3 / (3 * r**2))) / (2 * half)

    return 2 * filled(0.0, half), filled(half, 3 * half)


def cutouts(images: Tensor, sites: Sequence[tuple[int, int]], size: int) -> Tensor:
    """Squares (N, sites, size, size) around these pixels of images (N, Y, X)."""
    images, size = contract.tensor("images", images, ("Y", "X")), contract.count("size", size, 2)
    corners = [(y - size // 2, x - size // 2) for y, x in sites]
    if any(min(c) < 0 or c[0] + size > images.shape[-2] or c[1] + size > images.shape[-1] for c in corners):
        raise ArgumentError("sites", list(sites), f"pixels with {size // 2} pixels around in {tuple(images.shape)}")
    return torch.stack([images[..., y : y + size, x : x + size] for y, x in corners], dim=-3)


def radial_profile(difference: Tensor, pixel_mm: float, step_mm: float = 0.5) -> tuple[Tensor, Tensor]:
    """Mean of squares (N, S, S) and of rings around their middle pixel: (radii [mm], profile)."""
    difference = contract.tensor("difference", difference, ("Y", "X"))
    size, step_mm = difference.shape[-1], contract.number("step_mm", step_mm, above=0)
    t = (torch.arange(size) - size // 2) * contract.number("pixel_mm", pixel_mm, above=0)
    ring = (torch.hypot(t[:, None], t[None, :]) / step_mm).round().long()
    mean = difference.reshape(-1, size, size).mean(0)
    rings = [k for k in range(int(size * pixel_mm / 2 / step_mm)) if bool((ring == k).any())]
    return torch.tensor([k * step_mm for k in rings]), torch.stack([mean[ring == k].mean() for k in rings])


def edge_width(radii: Tensor, profile: Tensor) -> float:
    """Distance [mm] over which a disc's profile falls from 75 to 25 % of its height; nan where it does not.

    The height is the mean of the inner third of what lies above half of the largest value.
    """
    radii, profile = contract.together(("R",), radii=radii.double(), profile=profile.double())
    if not profile.max() > 0:  # no disc to be seen
        return math.nan
    high = radii[profile > 0.5 * profile.max()].max()
    level = profile[radii <= high / 3].mean()
    crossed = [_crossing(radii, profile / level, share) for share in (0.75, 0.25)]
    return crossed[1] - crossed[0]


def _crossing(radii: Tensor, profile: Tensor, share: float) -> float:
    """Where a falling profile passes a value, linearly between its points: the last time."""
    above = (profile >= share).nonzero()[:, 0]
    if not len(above) or int(above[-1]) + 1 >= len(profile):
        return math.nan
    k = int(above[-1])
    a, b = float(profile[k]), float(profile[k + 1])
    return float(radii[k]) + (a - share) / (a - b) * float(radii[k + 1] - radii[k])
