"""DeepLesion, {cite}`yan2018`: 16-bit PNG slices cropped to the body and turned into attenuation, split by patient."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ctlib import contract
from ctlib.data.enclosing_circle import mask_circle
from ctlib.data.images import load_slice
from ctlib.data.lesion_files import LesionSlice, divide_lesions, find_lesions, find_slices, official_split, split_slices
from ctlib.errors import ArgumentError, DataError
from ctlib.units import MU_WATER, mu_from_hu

__all__ = ["LesionSlice", "body_crop", "divide_lesions", "find_lesions", "find_slices", "inscribed_circle",
           "load_images", "official_split", "prepared", "read_slice", "split_slices"]  # fmt: skip

HU_OFFSET = 32768  # stored value of 0 HU
THRESHOLD_HU = -950.0  # printed as -9050, below which no pixel lies


def read_slice(path: str | Path) -> Tensor:
    """HU (Y, X) float32 of one 16-bit PNG: stored value - 32768, padding below -1000 raised to -1000.

    DataError for 8 bits, and for an image with nothing above -1000 HU, which was stored with another offset.
    """
    hu = load_slice(path, unit=f"HU+{HU_OFFSET}").image
    if float(hu.max()) <= -1000:
        raise DataError(path, "pixels", f"are all -1000 HU or less: needs stored values of HU + {HU_OFFSET}")
    return hu


def body_crop(hu: Tensor, threshold_hu: float = THRESHOLD_HU) -> Tensor | None:
    """The square around the smallest circle that contains all pixels above the threshold; None without any.

    The couch counts as body: it lies above -950 HU. Where the circle leaves the image, air (-1000 HU) is added.
    """
    mask = contract.tensor("hu", hu, ("Y", "X")) > contract.number("threshold_hu", threshold_hu)
    if hu.ndim != 2:
        raise ArgumentError("hu", f"shape {tuple(hu.shape)}", "one slice (Y, X)")
    if not bool(mask.any()):
        return None
    y, x, radius = mask_circle(mask)
    size = math.ceil(2 * radius - 1e-6)
    top, left = round(y - (size - 1) / 2), round(x - (size - 1) / 2)
    border = max(0, -top, -left, top + size - hu.shape[0], left + size - hu.shape[1])
    wide = pad(hu, (border,) * 4, value=-1000.0)
    return wide[top + border : top + border + size, left + border : left + border + size]


def prepared(hu: Tensor, size: int = 256, threshold_hu: float = THRESHOLD_HU, mu_water: float = MU_WATER):
    """Attenuation (size, size) [unit of mu_water, 1/mm] of a slice in HU, or None where the paper discards it.

    Crop to the body, discard what is smaller than size, resize bilinearly with a low-pass, mu = mu_w (1 + HU/1000),
    not below 0, and 0 outside the inscribed circle: appendix D of {cite}`ronchetti2020` with -950 HU.
    """
    size, mu_water = contract.count("size", size, 1), contract.number("mu_water", mu_water, above=0)
    crop = body_crop(hu, threshold_hu)
    if crop is None or min(crop.shape) < size:
        return None
    small = interpolate(crop[None, None], (size, size), mode="bilinear", align_corners=False, antialias=True)[0, 0]
    return mu_from_hu(small, mu_water).clamp_min(0) * inscribed_circle(size).to(small)


def inscribed_circle(size: int) -> Tensor:
    """Pixels (size, size) whose center lies in the inscribed circle, as booleans."""
    size = contract.count("size", size, 1)
    t = torch.arange(size) - (size - 1) / 2
    return t[:, None].square() + t.square() <= (size / 2) ** 2


def load_images(
    slices: Iterable[LesionSlice], size: int = 256, limit: int | None = None, seed: int = 0
) -> tuple[Tensor, tuple[LesionSlice, ...]]:  # fmt: skip
    """(images (N, size, size) [1/mm], the slices they come from, sorted): all that are not discarded, or `limit`.

    With a limit the slices are drawn by the seed, in turn from each patient: 20 of 5 patients are 4 of each. Only drawn
    files are read. Files that cannot be read are skipped, with a warning.
    """
    size, seed = contract.count("size", size, 1), contract.count("seed", seed)
    limit = None if limit is None else contract.count("limit", limit, 1)
    found, skipped = {}, []
    for s in _in_turn(sorted(slices), seed):
        if len(found) == limit:
            break
        try:
            image = prepared(read_slice(s.path), size)
        except DataError as error:
            skipped.append(error)
            continue
        if image is not None:
            found[s] = image
    said = f"{len(skipped)} slices skipped, first: {skipped[0]}" if skipped else ""
    if not found:
        raise ArgumentError("slices", f"none of use{'; ' * bool(said)}{said}", f"a body of at least {size} pixels")
    if skipped:
        warnings.warn(said, stacklevel=2)
    kept = tuple(sorted(found))
    return torch.stack([found[s] for s in kept]), kept


def _in_turn(slices: list[LesionSlice], seed: int) -> list[LesionSlice]:
    """One slice of each patient, then another of each, and so on; patients and their slices in random order."""
    rng, of = np.random.default_rng(seed), {}
    for s in slices:
        of.setdefault(s.patient, []).append(s)
    people = [of[p] for p in sorted(of)]
    orders = [[own[k] for k in rng.permutation(len(own))] for own in people]
    place = rng.permutation(len(people))
    ranked = [(turn, place[p], s) for p, own in enumerate(orders) for turn, s in enumerate(own)]
    return [s for *_, s in sorted(ranked, key=lambda r: r[:2])]
