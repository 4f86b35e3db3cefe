"""CT projections in the DICOM-CT-PD format, one or several views a file, with the geometry of every view."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ctlib.errors import ArgumentError, DataError
from ctlib.papers.hqinet.ct_pd_view import line_integrals, views_of
from ctlib.papers.hqinet.ldct_headers import dicom_folders

COMMON = ("series", "patient", "num_rows", "num_cols", "shape", "col_width_mm", "row_height_mm", "source_detector_mm",
          "central_element", "views_per_turn", "is_log", "mu_water", "spectrum", "frames")  # fmt: skip


@dataclass(frozen=True)
class Projections:
    """Views of one scan in the order of their InstanceNumber.

    line_integrals      (V, R, U) float32 [1]
    angle_rad, z_mm, radius_mm   (V,) float64: of the detector's focal center, as in the files
    source_*            (V,) likewise of the source, flying focal spot included
    central_element     (column, row) of the cell on the central ray, counted from 0
    col_width_mm, row_height_mm  of a cell at the detector, source_detector_mm from the focal center
    shape               CYLINDRICAL, SPHERICAL or FLAT
    quanta              (V, U) noise-equivalent quanta of every column, or None; mu_water [1/mm] or None
    numbers             (V,) of the views, where `missing` are left out; `skipped` says what was wrong with files
    pitch               as in the file, None where it does not say: `feed_mm` is measured on the views themselves
    """

    line_integrals: Tensor
    angle_rad: Tensor
    z_mm: Tensor
    radius_mm: Tensor
    source_angle_rad: Tensor
    source_z_mm: Tensor
    source_radius_mm: Tensor
    central_element: tuple[float, float]
    col_width_mm: float
    row_height_mm: float
    source_detector_mm: float
    shape: str
    views_per_turn: int
    quanta: Tensor | None
    mu_water: float | None
    patient_id: str
    numbers: Tensor
    missing: tuple[int, ...]
    skipped: tuple[DataError, ...]
    pitch: float | None

    def source_xyz_mm(self) -> Tensor:
        """Source of every view (V, 3) in the format's left-handed frame: x = -rho sin(phi), y = rho cos(phi)."""
        rho, phi = self.source_radius_mm, self.source_angle_rad
        return torch.stack([-rho * torch.sin(phi), rho * torch.cos(phi), self.source_z_mm], -1)

    def feed_mm(self) -> float:
        """How far the table moves in a turn, signed: the slope of z over the numbers of the views."""
        n = self.numbers.double() - self.numbers.double().mean()
        return float((n @ self.z_mm) / n.square().sum().clamp_min(1)) * self.views_per_turn

    def describe(self) -> str:
        """Counts of views, cells, gaps and skipped files on one line."""
        v, r, u = self.line_integrals.shape
        first = f" (first: {self.skipped[0]})" if self.skipped else ""
        return (
            f"{self.patient_id}: {v} views of {r} x {u} cells, {self.views_per_turn} a turn, {self.feed_mm():.4g} mm a "
            f"turn; {len(self.missing)} views missing, {len(self.skipped)} files skipped{first}"
        )


def read_projections(
    folder: str | Path, views: slice | None = None, transposed: bool | None = None
) -> Projections:  # fmt: skip
    """Read the one scan in a folder and those below it; line integral = stored * RescaleSlope + RescaleIntercept.

    views       which of the views to read, in their order; by default all (a whole helical scan has 6 GB)
    transposed  whether a view is stored as Rows x Columns = detector columns x rows, as some scanners do; None: told by
                the numbers of detector rows and columns, unless these are equal

    Files that cannot be read or belong to another scan are skipped, with a warning, and listed; missing views leave a
    gap. DataError where half of the files or more cannot be used, or there are several scans.
    """
    if views is not None and not isinstance(views, slice):
        raise ArgumentError("views", repr(views), "a slice")
    if transposed not in (None, True, False):
        raise ArgumentError("transposed", repr(transposed), "True, False or None")
    folder, skipped = Path(folder), []
    if not os.path.isdir(folder):
        raise DataError(folder, "folder", "does not exist")
    files = [path for group in dicom_folders(folder, skipped) for path in group]
    if not files:
        raise DataError(folder, "folder", "holds no DICOM file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of what is checked here
        found = [v for path in files for v in _tried(lambda p=path: views_of(p), skipped)]
        kept = _distinct(_of_one_scan(folder, found, skipped), skipped)
        chosen = kept[slice(None) if views is None else views]
        if kept and not chosen:
            raise ArgumentError("views", repr(views), f"some of {len(kept)} views")
        pixels = [_tried(lambda v=v: [line_integrals(v, transposed)], skipped) for v in chosen]
    chosen = [v for v, p in zip(chosen, pixels, strict=True) if p]
    if not chosen or len(skipped) >= max(1, len(files) / 2):
        raise _summary(folder, skipped, len(files))
    if skipped:
        warnings.warn(f"{folder}: {len(skipped)} of {len(files)} files skipped, first: {skipped[0]}", stacklevel=2)
    return _projections(chosen, torch.stack([p[0] for p in pixels if p]), tuple(skipped))


def _tried(read, skipped: list[DataError]) -> list:
    try:
        return read()
    except DataError as error:
        skipped.append(error)
        return []


def _summary(folder: Path, skipped: list[DataError], num: int) -> DataError:
    """The error of a folder that is of no use: that of its first file, which says what is wrong with the others."""
    first = skipped[0]
    if len(skipped) == 1:
        return first
    problem = str(first).removeprefix(f"{first.path}: {first.field}: ")
    return DataError(first.path, first.field, f"{problem} (and {len(skipped) - 1} more of {num} files in {folder})")


def _of_one_scan(folder: Path, views: list[dict], skipped: list[DataError]) -> list[dict]:
    """The views that agree with most others in all that a scan has in common."""
    series = Counter(v["series"] for v in views)
    if sum(n > 1 for n in series.values()) > 1:
        raise DataError(
            folder, "SeriesInstanceUID", f"{len(series)} scans of {sorted(series.values())} views: name one"
        )
    usual = {name: Counter(v[name] for v in views).most_common(1)[0][0] for name in COMMON} if views else {}
    kept = []
    for v in views:
        odd = next((name for name in COMMON if v[name] != usual[name]), None)
        if odd is None:
            kept.append(v)
        else:
            skipped.append(DataError(v["path"], odd, f"is {v[odd]}, {usual[odd]} elsewhere"))
    return kept


def _distinct(views: list[dict], skipped: list[DataError]) -> list[dict]:
    """The views by number, of each number one."""
    kept: list[dict] = []
    for v in sorted(views, key=lambda v: (v["number"], v["frame"], str(v["path"]))):
        if kept and (v["number"], v["frame"]) == (kept[-1]["number"], kept[-1]["frame"]):
            skipped.append(DataError(v["path"], "InstanceNumber", f"is that of {kept[-1]['path'].name}"))
        else:
            kept.append(v)
    return kept


def _projections(views: list[dict], values: Tensor, skipped: tuple[DataError, ...]) -> Projections:
    first = views[0]
    column = {n: torch.tensor([v[n] for v in views], dtype=torch.float64) for n in ("angle_rad", "z_mm", "radius_mm")}
    moved = {
        f"source_{n}": column[n] + torch.tensor([v[f"shift_{n}"] or 0.0 for v in views], dtype=torch.float64)
        for n in column
    }
    known = all(v["quanta"] is not None for v in views)
    numbers = [(v["number"] - 1) * v["frames"] + v["frame"] + 1 for v in views]
    present = set(numbers)
    u, r = (c - 1 for c in first["central_element"])
    return Projections(
        values, **column, **moved, central_element=(u, r),
        **{n: first[n] for n in ("col_width_mm", "row_height_mm", "source_detector_mm", "shape", "views_per_turn")},
        quanta=torch.tensor([v["quanta"] for v in views]) if known else None,
        mu_water=None if first["mu_water"] is None else first["mu_water"] / 10, patient_id=first["patient"],
        numbers=torch.tensor(numbers), missing=tuple(n for n in range(min(present), max(present)) if n not in present),
        skipped=skipped, pitch=first["pitch"],
    )  # fmt: skip
