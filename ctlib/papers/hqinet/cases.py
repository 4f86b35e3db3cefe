"""Bodies at two doses: adjacent slices in HU, measured or synthetic, and what is known of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from ctlib import contract
from ctlib.data.anatomy import RealSlice
from ctlib.data.deeplesion import body_crop
from ctlib.data.images import window
from ctlib.data.pairs import DosePair
from ctlib.errors import ArgumentError
from ctlib.geometry import Volume
from ctlib.papers.hqinet.noise_power import flat_tiles, noise_of, tile_pixels
from ctlib.papers.hqinet.scan import Scanner, soft_tissue_of
from ctlib.papers.hqinet.volume import torso_volume
from ctlib.train.sampling import stream
from ctlib.units import hu_from_mu

WINDOW_HU = (-160.0, 240.0)
CHEST = ("chest", "shoulder", "C")  # what is scanned at the lower of the two low doses
AROUND_MM = 15.0
NOISE_HU = 12.0  # at full dose where no slice says more: between 10 and 20 on pixels of 1 mm


@dataclass(frozen=True, eq=False)
class Case:
    """A stretch of adjacent slices of one person or synthetic body, (Z, Y, X) float32 in HU.

    low, full     at low and full dose
    truth         as it is, None where nobody knows
    inside        (Z, Y, X) bool: the body without couch, air and lungs, where images are judged
    dose          the low dose as a share of the full one
    photons       a reading at full dose in the middle of the open beam, and noise_hu of the slices; nan: not known
    source        of whom and from where
    """

    patient: str
    region: str
    dose: float
    low: Tensor
    full: Tensor
    truth: Tensor | None
    inside: Tensor
    pixel_mm: float
    photons: float = float("nan")
    noise_hu: float = float("nan")
    source: str = ""

    def gray(self, window_hu: tuple[float, float] = WINDOW_HU) -> DosePair:
        """The same as gray values of a window."""
        images = (None if x is None else window(x, *window_hu) for x in (self.low, self.full, self.truth))
        return DosePair(self.patient, *images)


def inside_body(hu: Tensor, pixel_mm: float) -> Tensor:
    """Where most of the 15 mm around a pixel lies above -500 HU, and the pixel too: (..., Y, X) bool."""
    hu, pixel_mm = contract.tensor("hu", hu, ("Y", "X")), contract.number("pixel_mm", pixel_mm, above=0)
    width = 2 * round(AROUND_MM / pixel_mm / 2) + 1
    dense = (hu > -500).to(hu)
    flat = pad(dense.reshape(-1, 1, *dense.shape[-2:]), (width // 2,) * 4)
    return (avg_pool2d(flat, width, 1).reshape(dense.shape) > 0.5) & (dense > 0)


def on_grid(hu: Tensor, spacing_mm: float, n: int, pixel_mm: float) -> Tensor:
    """Slices (Z, Y, X) in HU of another pixel size on n x n pixels, the body in the middle, air where there is nothing.

    Averaged over the new pixels. All slices are cut alike, by the body of the middle one.
    """
    hu, n = contract.tensor("hu", hu, ("Z", "Y", "X")), contract.count("n", n, 8)
    side = max(8, round(n * pixel_mm / spacing_mm))  # of the square that becomes the image
    middle = hu[len(hu) // 2]
    dense = inside_body(middle, spacing_mm)
    if body_crop(middle) is None or not bool(dense.any()):
        raise ArgumentError("hu", "slices of air", "a body in the middle slice")
    rows, columns = (dense.any(axis).nonzero() for axis in (1, 0))
    corner = [int(found.min() + found.max() + 1) // 2 - side // 2 for found in (rows, columns)]
    border = max(0, *(-c for c in corner), *(c + side - s for c, s in zip(corner, middle.shape, strict=True)))
    wide = pad(hu, (border,) * 4, value=-1000.0)
    (y, x) = (c + border for c in corner)
    cut = wide[:, y : y + side, x : x + side]
    return interpolate(cut[:, None], (n, n), mode="bilinear", align_corners=False, antialias=True)[:, 0]


def noise_or(hu: Tensor, pixel_mm: float, default: float) -> float:
    """Noise [HU] of slices (Z, Y, X), or the default where they have no flat tissue."""
    size = tile_pixels(pixel_mm)
    if min(hu.shape[1:]) < size or not len(flat_tiles(hu, size)):
        return default
    return noise_of(hu, size)


def runs_of(slices: Sequence[RealSlice], least: int = 3) -> list[list[RealSlice]]:
    """Stretches of at least `least` adjacent slices of one person and series, each in order."""
    of: dict[tuple, list[RealSlice]] = {}
    for s in slices:
        if s.run:
            of.setdefault((s.patient, Path(s.file).parent, s.run), []).append(s)
    found = []
    for members in of.values():
        members.sort(key=lambda s: int(Path(s.file).stem))
        stretch = [members[0]]
        for s in members[1:]:
            if int(Path(s.file).stem) != int(Path(stretch[-1].file).stem) + 1:
                found.append(stretch)
                stretch = []
            stretch.append(s)
        found.append(stretch)
    return [stretch for stretch in found if len(stretch) >= contract.count("least", least, 1)]


def dose_for(region: str, doses: Sequence[float]) -> float:
    """The low dose of a region: doses[0], and the last of them in the chest, as in the public collection."""
    return doses[-1] if region in CHEST else doses[0]


def real_case(run: Sequence[RealSlice], scanner: Scanner, doses: Sequence[float]) -> Case:
    """Adjacent measured slices as they are, and with the noise of a low dose put into their projections.

    The virtual photons are those at which a scan of the middle slice is as noisy as the slices themselves.
    """
    first, grid = run[0], (run[0].spacing_mm, scanner.n, scanner.pixel_mm)
    full = on_grid(torch.stack([s.image for s in run]), *grid)
    inside, noise = inside_body(full, scanner.pixel_mm), noise_or(full, scanner.pixel_mm, NOISE_HU)
    k, dose = len(full) // 2, dose_for(first.region, doses)
    soft = soft_tissue_of(full[k], inside[k])
    photons = scanner.photons_for(scanner.line_integrals(full[k : k + 1])[0], soft, noise)
    generator = torch.Generator().manual_seed(stream("noise", first.file))
    low = scanner.at_low_dose(full, photons, dose, generator)
    about = (photons, noise, first.attribution)
    return Case(first.patient, first.region, dose, low, full, None, inside, scanner.pixel_mm, *about)


def torso_hu(seed: int, scanner: Scanner, num_slices: int, slice_mm: float) -> Tensor:
    """A torso of ellipsoids in HU on a grid twice as fine as the scanner's, (Z, 2 Y, 2 X)."""
    n, pixel = scanner.n, scanner.pixel_mm
    fine = Volume((contract.count("num_slices", num_slices, 1), 2 * n, 2 * n), (slice_mm, pixel / 2, pixel / 2))
    return hu_from_mu(torso_volume(fine, seed, supersample=1))


def without_noise(case: Case, scanner: Scanner, slice_mm: float = 5.0) -> Tensor:
    """A synthetic case reconstructed without noise, (Z, Y, X) in HU: all error is that of the reconstruction."""
    hu = torso_hu(int(case.patient[1:]), scanner, len(case.full), slice_mm)
    return scanner.image(scanner.line_integrals(hu))


def synthetic_case(
    seed: int, scanner: Scanner, dose: float, noise_hu: float, num_slices: int = 5, slice_mm: float = 5.0
) -> Case:
    """A torso of ellipsoids, scanned at a full dose of this noise [HU] and at a share of its photons."""
    pixel, hu = scanner.pixel_mm, torso_hu(seed, scanner, num_slices, slice_mm)
    truth, y = avg_pool2d(hu[:, None], 2)[:, 0], scanner.line_integrals(hu)
    inside, k = inside_body(truth, pixel), num_slices // 2
    photons = scanner.photons_for(y[k], soft_tissue_of(truth[k], inside[k]), noise_hu)
    generator = torch.Generator().manual_seed(stream("noise", seed))
    full, low = map(scanner.image, scanner.readings(y, photons, dose, generator))
    about = (photons, noise_hu, "torso of ellipsoids")
    return Case(f"S{seed:04d}", "synthetic", dose, low, full, truth, inside, pixel, *about)
