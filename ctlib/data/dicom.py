"""CT from DICOM: one slice, or a folder of them as a volume, with every way of not being one named."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.data.dicom_folder import FolderContents, counted, dicom_files, find_ct_series, name
from ctlib.data.dicom_header import SliceHeader, open_dicom
from ctlib.data.dicom_slice import DicomSlice, read_ct_slice, slice_of
from ctlib.data.fields import as_path
from ctlib.data.frame import SMALL_DEG
from ctlib.errors import DataError

__all__ = ["DicomSeries", "DicomSlice", "find_ct_series", "read_ct_series", "read_ct_slice"]

ROUNDING_MM = 0.02  # by which positions are off because a header prints two decimals
SPARSE = 1.5  # steps of more slice thicknesses leave too much unseen between two slices
_files = dicom_files


@dataclass(frozen=True)
class DicomSeries:
    """Slices of one series from feet to head, row 0 anterior, column 0 the patient's right.

    volume       (Z, Y, X) float32 [HU]; spacing_mm (z, y, x), z between the slices of a run
    positions_mm, sample_ids   of the Z slices
    runs         (first, behind the last) of every stretch without a gap: only inside one are slices neighbors
    set_aside    (kind, number) of the files in the folder that are not in the volume
    understood   how the slices were turned, and what else is worth knowing
    """

    volume: Tensor
    spacing_mm: tuple[float, float, float]
    positions_mm: tuple[float, ...]
    patient_id: str
    sample_ids: tuple[str, ...]
    runs: tuple[tuple[int, int], ...] = ()
    set_aside: tuple[tuple[str, int], ...] = ()
    understood: tuple[str, ...] = ()

    def split(self) -> tuple[DicomSeries, ...]:
        """One series for every run."""
        return tuple(
            replace(self, volume=self.volume[a:b], positions_mm=self.positions_mm[a:b],
                    sample_ids=self.sample_ids[a:b], runs=((0, b - a),))
            for a, b in self.runs
        )  # fmt: skip

    def describe(self) -> str:
        """What was understood, on one line."""
        z, y, x = self.volume.shape
        sizes = " x ".join(f"{s:g}" for s in self.spacing_mm)
        said = [f"{z} slices of {y} x {x}, voxels of {sizes} mm"]
        said += [f"z = {self.positions_mm[0]:g} to {self.positions_mm[-1]:g} mm, feet to head", *self.understood]
        said += [f"{len(self.runs)} runs between gaps"] * (len(self.runs) > 1)
        said += ["set aside: " + ", ".join(f"{n} {kind}" for kind, n in self.set_aside)] * bool(self.set_aside)
        return f"{self.patient_id or 'series'}: " + "; ".join(said)


def read_ct_series(
    folder: str | Path, gap_tolerance: float = 0.01, clip_padding: bool = True, series: str | None = None
) -> DicomSeries:
    """Read a CT series of a folder, sorted by position along the slice normal (file names mean nothing).

    gap_tolerance  by which a step may differ from the common one, as a fraction of it; a longer step, or one of more
                   than 1.5 times the slice thickness, is a gap that ends a run
    clip_padding   as in read_ct_slice
    series         its SeriesInstanceUID, needed where the folder holds several

    What is no axial CT slice of the series is set aside and counted, copies of a slice too. DataError for a folder
    without a CT slice, several series, different images at one place, and slices shifted against each other by a
    tilted gantry. A single slice takes SliceThickness for its z spacing.
    """
    gap_tolerance = contract.number("gap_tolerance", gap_tolerance, at_least=0, below=0.5)
    folder = as_path("folder", folder)
    contents = find_ct_series(folder)
    headers, aside = _chosen(folder, contents, series)
    items = []
    for header in headers:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                items.append((slice_of(header, open_dicom(header.path), clip_padding), header))
        except DataError as error:
            aside.append((f"unreadable ({error.field})", error))
    if not items:
        raise aside[-1][1]
    items = _without_copies(items, aside)
    _check_tilt(items)
    runs, step = _runs(items, gap_tolerance)
    slices = [s for s, _ in items]
    said = [w for w in dict.fromkeys(w for s in slices for w in s.understood) if "padding" not in w]
    return DicomSeries(
        torch.stack([s.image for s in slices]),
        (step, *slices[0].spacing_mm),
        tuple(s.position_mm for s in slices),
        slices[0].patient_id,
        tuple(s.sample_id for s in slices),
        runs,
        tuple(sorted(Counter(kind for kind, _ in aside).items())),
        tuple(said),
    )


def _chosen(folder: Path, contents: FolderContents, uid: str | None) -> tuple[list[SliceHeader], list]:
    """The headers of one series, and everything set aside."""
    aside = list(contents.set_aside)
    if not contents.series:
        if len(aside) == 1:
            raise aside[0][1]
        raise DataError(folder, "folder", f"holds no axial CT slice; {counted(aside)}; the first: {aside[0][1]}")
    known = list(dict.fromkeys((s[0].patient_id, s[0].series) for s in contents.series))
    wanted = known if uid is None else [k for k in known if k[1] == uid]
    if len(wanted) != 1:
        found = " | ".join(name(s) + f" ({len(s)} slices)" for s in contents.series)
        raise DataError(folder, "SeriesInstanceUID", f"name one of the folder's series: {found}")
    own = [s for s in contents.series if (s[0].patient_id, s[0].series) == wanted[0]]
    if 2 * len(own[0]) <= sum(map(len, own)):
        found = " | ".join(name(s) + f" ({len(s)} slices)" for s in own)
        raise DataError(folder, "series", f"its slices differ and no kind is the most frequent: {found}")
    for other in own[1:]:
        aside += [("of other size, spacing, orientation or kernel", None)] * len(other)
    aside += [("of another series", None)] * sum(len(s) for s in contents.series if s not in own)
    return list(own[0]), aside


def _without_copies(items: list, aside: list) -> list:
    """Items in ascending position; an equal image at an equal place is a copy, another one an error."""
    kept, ids = [], {}
    for s, header in sorted(items, key=lambda item: item[0].position_mm):
        if kept and s.position_mm - kept[-1][0].position_mm < 1e-3:
            if not torch.equal(s.image, kept[-1][0].image):
                raise DataError(
                    header.path, "ImagePositionPatient", f"is that of {kept[-1][1].path.name}, another image"
                )
            aside.append(("copy", None))
            continue
        if s.sample_id in ids:
            raise DataError(header.path, "SOPInstanceUID", f"is that of {ids[s.sample_id]}")
        ids[s.sample_id] = header.path.name
        kept.append((s, header))
    return kept


def _shift_mm(a: DicomSlice, b: DicomSlice) -> float:
    """How far two slices are shifted against each other in their plane."""
    return float(np.abs(np.reshape(a.orientation, (2, 3)) @ np.subtract(b.origin_mm, a.origin_mm)).max())


def _check_tilt(items: list) -> None:
    """A tilted gantry moves its slices along the table, not along their normal: no rectangular volume."""
    first, last = items[0], items[-1]
    if first[1].turn.tilt_deg > SMALL_DEG and _shift_mm(first[0], last[0]) > 0.5 * min(first[0].spacing_mm):
        raise DataError(
            last[1].path,
            "ImagePositionPatient",
            f"shifted in the plane by a gantry tilted by {first[1].turn.tilt_deg:.1f} degrees: no rectangular volume",
        )


def _runs(items: list, tolerance: float) -> tuple[tuple[tuple[int, int], ...], float]:
    """The stretches of equal steps, and the step [mm]."""
    slices, thickness = [s for s, _ in items], max(0.0, items[0][1].thickness_mm or 0.0)
    steps = np.diff([s.position_mm for s in slices])
    near = steps[steps <= SPARSE * thickness + ROUNDING_MM] if thickness > 0 else steps
    if not len(near):
        if thickness <= 0:
            path = items[0][1].path
            raise DataError(
                path, "SliceThickness", "is needed where no slice has a neighbor: nothing else gives z spacing"
            )
        return tuple((k, k + 1) for k in range(len(slices))), thickness
    common = float(np.sort(near)[(len(near) - 1) // 2])  # the lower median: a gap makes a step longer
    regular = np.abs(steps - common) <= max(tolerance * common, ROUNDING_MM)
    shifted = [_shift_mm(a, b) > 0.5 * min(a.spacing_mm) for a, b in itertools.pairwise(slices)]
    starts = [0, *(k + 1 for k, (ok, moved) in enumerate(zip(regular, shifted, strict=True)) if moved or not ok)]
    return tuple(zip(starts, [*starts[1:], len(slices)], strict=True)), round(float(steps[regular].mean()), 6)
