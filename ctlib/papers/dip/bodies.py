"""The slices that a deep image prior is put to: a measured one, a synthetic one, a reader's own; as gray and in HU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from ctlib.contract import count, number, tensor
from ctlib.data.anatomy import real_slices
from ctlib.data.images import load_slice
from ctlib.errors import ArgumentError, MissingDependency
from ctlib.geometry import Volume
from ctlib.papers.dip.tasks import gray_slice
from ctlib.phantoms import torso_slice
from ctlib.units import hu_from_mu

FIELD_MM = 360.0  # side of the synthetic slices
WINDOW_HU = (-160.0, 240.0)  # the abdominal window, 400 HU, that becomes gray 0.1 to 0.9
SKIN_HU = -500.0  # half way between air and soft tissue
AIR_HU = -1000.0


@dataclass(frozen=True)
class Body:
    """A slice that serves as truth.

    name      in names of files and tables
    gray      (Y, X) float32, the abdominal window as [0.1, 0.9], clipped there
    region    (Y, X) bool, inside the skin: where scores are taken
    hu        (Y, X) float32, what scans are made of
    pixel_mm  side of a pixel
    source    what it is and what was done to it, in words
    """

    name: str
    gray: Tensor
    region: Tensor
    hu: Tensor
    pixel_mm: float
    source: str

    def to(self, device: str) -> Body:
        moved = (t.to(device) for t in (self.gray, self.region, self.hu))
        return Body(self.name, *moved, self.pixel_mm, self.source)


def body_of(name: str, hu: Tensor, pixel_mm: float, source: str) -> Body:
    """A slice in HU (Y, X) as a body."""
    hu = _slice(hu)
    return Body(name, gray_slice(hu, *WINDOW_HU), inside_skin(hu), hu, number("pixel_mm", pixel_mm, above=0), source)


def _slice(hu: Tensor, name: str = "hu") -> Tensor:
    hu = tensor(name, hu, ("Y", "X"))
    if hu.ndim != 2 or not hu.numel():
        raise ArgumentError(name, f"shape {tuple(hu.shape)}", "one slice (Y, X)")
    return hu


def inside_skin(hu: Tensor) -> Tensor:
    """The largest connected part of a slice (Y, X) above -500 HU, gas inside it included; everything where there is
    no air around. Couch and clothes are cut off where the opening by one pixel parts them from the skin."""
    try:
        from scipy import ndimage
    except ImportError as error:
        raise MissingDependency("scipy", "the silhouette of a body") from error
    dense = _slice(hu).detach().cpu().numpy() > SKIN_HU
    if dense.all() or not dense.any():
        return torch.ones_like(hu, dtype=torch.bool)
    opened = ndimage.binary_opening(dense, iterations=1 + max(hu.shape) // 256)
    labels, found = ndimage.label(opened if opened.any() else dense)
    largest = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])) if found else dense
    return torch.from_numpy(ndimage.binary_fill_holes(largest)).to(hu.device)


def reduced(hu: Tensor, n: int) -> tuple[Tensor, int, str]:
    """(slice, k, words): the square of k n pixels around the body as means over k x k pixels, k as small as it fits.

    Its image is (n, n), without stretching; air is added where the square reaches beyond the slice.
    """
    hu, n = _slice(hu), count("n", n, 1)
    rows, cols = (torch.nonzero(inside_skin(hu).any(axis)).flatten() for axis in (1, 0))
    box = [(int(at.min()), int(at.max()) + 1) for at in (rows, cols)]
    k = max(1, -(-max(stop - start for start, stop in box) // n))
    first = [(start + stop - k * n) // 2 for start, stop in box]
    margin = k * n
    wide = pad(hu, (margin,) * 4, value=AIR_HU)
    y, x = (f + margin for f in first)
    square = wide[y : y + k * n, x : x + k * n]
    told = f"the {k * n} x {k * n} pixels around the body" + (f", means over {k} x {k}" if k > 1 else "")
    return avg_pool2d(square[None, None], k)[0, 0], k, told


def middle(hu: Tensor, n: int, multiple: int) -> tuple[Tensor, str]:
    """(slice, words): the middle of a slice, pixels as they are, at most n a side and sides multiples of a number."""
    hu, n, multiple = _slice(hu), count("n", n, 1), count("multiple", multiple, 1)
    sides = [min(n, have) // multiple * multiple for have in hu.shape]
    if 0 in sides:
        raise ArgumentError("image", f"{hu.shape[0]} x {hu.shape[1]} pixels", f"at least {multiple} a side")
    y, x = ((have - side) // 2 for have, side in zip(hu.shape, sides, strict=True))
    return hu[y : y + sides[0], x : x + sides[1]], f"its middle {sides[0]} x {sides[1]} pixels as they are"


def real_body(n: int, split: str = "test", folder: str | None = None, index: int = 0) -> Body:
    """A measured abdominal slice, (n, n) around the body; without a folder one of the sample that ships with ctlib.

    split  "test" for what is judged, "val" for what is tuned on: other patients
    index  which of the abdominal slices of the split
    """
    samples = real_slices(folder, split=split, region="abdomen")
    if not 0 <= count("index", index) < len(samples):
        raise ArgumentError("index", index, f"below {len(samples)}, the abdominal slices of the split {split}")
    s = samples[index]
    hu, k, told = reduced(s.image, n)
    words = f"{s.attribution}; patient {s.patient}; {told} ({k * s.spacing_mm:.2f} mm a pixel)"
    return body_of(f"{'real' if split == 'test' else split}{n}", hu, k * s.spacing_mm, words)


def synthetic_body(n: int, seed: int = 0) -> Body:
    """A random torso of ellipses, (n, n)."""
    n = count("n", n, 1)
    hu = hu_from_mu(torso_slice(Volume((n, n), FIELD_MM / n), seed))
    return body_of(f"synthetic{n}", hu, FIELD_MM / n, f"ellipses, seed {seed} ({FIELD_MM / n:.2f} mm a pixel)")


def own_body(path: str, n: int, unit: str = "", multiple: int = 1) -> Body:
    """A reader's slice of any size and shape: its middle, pixels as they are; what was understood of it is printed.

    unit  of the numbers of a PNG, NumPy or NIfTI file, as `load_slice` takes it; "": as the file tells or suggests

    Gray images in [0, 1] become HU by the abdominal window, so that their gray values are kept.
    """
    own = load_slice(path, unit=unit or None)
    low, high = WINDOW_HU
    hu = {"1/mm": hu_from_mu, "1": lambda x: low + (high - low) * x}.get(own.unit, lambda x: x)(own.image)
    cut, told = middle(hu, n, multiple)
    spacing = 1.0 if own.spacing_mm is None else float(np.mean(own.spacing_mm))
    print(f"{own.describe()}; {told}")
    return body_of("own", cut, spacing, f"{own.source}, {told}")


def measured_noise(image: Tensor) -> float:
    """Standard deviation of white noise in an image (Y, X), from the image alone: MAD of its diagonal Haar details.

    d = (a - b - c + e) / 2 of every 2 x 2 block has the noise's deviation and little of smooth anatomy;
    sigma = median |d| / 0.6745
    """
    rows, cols = (side // 2 * 2 for side in _slice(image, "image").shape)
    if not rows or not cols:
        raise ArgumentError("image", f"shape {tuple(image.shape)}", "at least 2 x 2 pixels")
    a, b, c, e = (image[i:rows:2, j:cols:2] for i in (0, 1) for j in (0, 1))
    return float(((a - b - c + e) / 2).abs().median() / 0.6745)
