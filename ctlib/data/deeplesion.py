"""DeepLesion, {cite}`yan2018`: 16-bit PNG slices cropped to the body and turned into attenuation, split by patient."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ctlib.data.enclosing_circle import mask_circle
from ctlib.data.fields import short
from ctlib.data.images import load_slice
from ctlib.data.pairs import require_disjoint, split_patients
from ctlib.errors import ArgumentError, DataError
from ctlib.units import MU_WATER, mu_from_hu

HU_OFFSET = 32768  # stored value of 0 HU
THRESHOLD_HU = -950.0  # printed as -9050, below which no pixel lies
PARTS = {"1": "train", "2": "val", "3": "test"}  # column Train_Val_Test
FOLDER = re.compile(r"(\d{6})_(\d{2})_(\d{2})")
SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}  # those of the official split


@dataclass(frozen=True, order=True)
class LesionSlice:
    """One file of the collection: patient, study and series as in its folder's name, slice number, path."""

    patient: str
    study: str
    series: str
    number: int
    path: Path


def find_slices(root: str | Path) -> tuple[LesionSlice, ...]:
    """All slices under root/Images_png/<patient>_<study>_<series>/<slice>.png, or root/<patient>_..., sorted."""
    root = Path(root)
    if not os.path.isdir(root):
        raise DataError(root, "folder", "does not exist")
    base = root / "Images_png" if os.path.isdir(root / "Images_png") else root
    found = []
    for folder in base.iterdir():
        named = FOLDER.fullmatch(folder.name)
        if named and folder.is_dir():
            files = [f for f in folder.iterdir() if f.suffix.lower() == ".png"]
            for f in files:
                if not f.stem.isdigit():
                    raise DataError(f, "file name", "needs the slice's number, as 037.png")
                found.append(LesionSlice(*named.groups(), int(f.stem), f))
    if not found:
        raise DataError(base, "folders", "none is named <patient>_<study>_<series>, as 000089_01_01, and holds .png")
    return tuple(sorted(found))


def official_split(info: str | Path) -> dict[str, tuple[str, ...]]:
    """{"train", "val", "test"}: patients by the column Train_Val_Test of DL_info.csv.

    DataError for missing columns, unknown parts, and a patient in two parts.
    """
    info, parts = Path(info), {part: set() for part in PARTS.values()}
    try:
        with info.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise DataError(info, "file", "does not exist") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(info, "CSV", f"cannot be read ({short(error)})") from None
    for k, row in enumerate(rows):
        name, part = str(row.get("File_name") or ""), str(row.get("Train_Val_Test") or "").strip()
        if not FOLDER.match(name):
            raise DataError(info, "File_name", f"is {name!r} in row {k + 1}, needs one as 000089_01_01_037.png")
        if part not in PARTS:
            raise DataError(info, "Train_Val_Test", f"is {part!r} in row {k + 1}, needs 1, 2 or 3")
        parts[PARTS[part]].add(name[:6])
    if not rows:
        raise DataError(info, "rows", "there are none")
    try:
        require_disjoint(parts)
    except ArgumentError as error:
        raise DataError(info, "Train_Val_Test", str(error)) from None
    return {part: tuple(sorted(names)) for part, names in parts.items()}


def split_slices(
    slices: Iterable[LesionSlice], info: str | Path | None = None, shares: Mapping[str, float] | None = None,
    seed: int = 0,
) -> dict[str, tuple[LesionSlice, ...]]:  # fmt: skip
    """{part: slices}, no patient in two: the official parts with `info`, else random `shares` of the patients.

    Patients that `info` does not list are in no part.
    """
    slices = tuple(slices)
    patients = sorted({s.patient for s in slices})
    if info is not None and shares is not None:
        raise ArgumentError("shares", dict(shares), "None where `info` gives the official split")
    drawn = official_split(info) if info is not None else split_patients(patients, shares or SHARES, seed, lambda _: "")
    return {part: tuple(s for s in slices if s.patient in set(names)) for part, names in drawn.items()}


def read_slice(path: str | Path) -> Tensor:
    """HU (Y, X) float32 of one 16-bit PNG: stored value - 32768, padding below -1000 raised to -1000."""
    return load_slice(path, unit=f"HU+{HU_OFFSET}").image


def body_crop(hu: Tensor, threshold_hu: float = THRESHOLD_HU) -> Tensor | None:
    """The square around the smallest circle that contains all pixels above the threshold; None without any.

    The couch counts as body: it lies above -950 HU. Where the circle leaves the image, air (-1000 HU) is added.
    """
    mask = hu > threshold_hu
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
    crop = body_crop(hu, threshold_hu)
    if crop is None or min(crop.shape) < size:
        return None
    small = interpolate(crop[None, None], (size, size), mode="bilinear", align_corners=False, antialias=True)[0, 0]
    return mu_from_hu(small, mu_water).clamp_min(0) * inscribed_circle(size).to(small)


def inscribed_circle(size: int) -> Tensor:
    """Pixels (size, size) whose center lies in the inscribed circle, as booleans."""
    t = torch.arange(size) - (size - 1) / 2
    return t[:, None].square() + t.square() <= (size / 2) ** 2


def load_images(
    slices: Iterable[LesionSlice], size: int = 256, limit: int | None = None
) -> tuple[Tensor, tuple[LesionSlice, ...]]:  # fmt: skip
    """(images (N, size, size) [1/mm], the slices they come from): the first `limit` that are not discarded."""
    images, kept = [], []
    for s in slices:
        if limit is not None and len(images) >= limit:
            break
        image = prepared(read_slice(s.path), size)
        if image is not None:
            images.append(image)
            kept.append(s)
    if not images:
        raise ArgumentError("slices", "none of use", f"slices with a body of at least {size} pixels")
    return torch.stack(images), tuple(kept)
