"""Which CT series a folder of DICOM files holds, by their headers; what is no axial CT slice is set aside by kind."""

from __future__ import annotations

import os
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctlib.data import fields
from ctlib.data.dicom_header import SliceHeader, looks_like_dicom, open_dicom, read_header
from ctlib.errors import DataError

PLACE = "ImagePositionPatient, ImageOrientationPatient"
KINDS = {  # the field that says what a file is instead of an axial CT slice
    "ImageType": "localizer", "SOPClassUID": "secondary capture", "NumberOfFrames": "multi-frame file",
    "ImageOrientationPatient": "not axial", PLACE: "without a place",
}  # fmt: skip
OTHER = {".txt", ".csv", ".json", ".xml", ".html", ".md", ".pdf", ".png", ".jpg", ".jpeg", ".tif", ".npy", ".npz",
         ".nii", ".gz", ".zip", ".h5", ".mat", ".py", ".yml"}  # fmt: skip


@dataclass(frozen=True)
class FolderContents:
    """series: headers in ascending position, one tuple a series; set_aside: (kind, why) of every other DICOM file."""

    series: tuple[tuple[SliceHeader, ...], ...]
    set_aside: tuple[tuple[str, DataError], ...]

    def describe(self) -> str:
        """How many of what, on one line."""
        parts = [", ".join(f"{name(s)}: {len(s)} slices" for s in self.series) or "no axial CT slice"]
        return "; ".join(parts + [counted(self.set_aside)] * bool(self.set_aside))


def counted(set_aside) -> str:
    """What was set aside, with counts."""
    counts = Counter(kind for kind, _ in set_aside)
    return "set aside: " + ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))


def name(series: tuple[SliceHeader, ...]) -> str:
    """A series for a message: its UID, slices and kernel."""
    s = series[0]
    size = f"{s.shape[0]} x {s.shape[1]} of {s.spacing_mm[0]:g} mm"
    return ", ".join(filter(None, [s.series or "without SeriesInstanceUID", size, s.kernel]))


def find_ct_series(folder: str | Path) -> FolderContents:
    """The series of axial CT slices in a folder (not below it), longest first.

    One series is what shares patient, SeriesInstanceUID, size, pixel spacing, orientation, thickness and kernel.
    Localizers, other modalities, screen captures, reports, reformats, damaged files and slices without a place are
    set aside. DataError where the folder holds no DICOM file.
    """
    groups, aside = defaultdict(list), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of what is checked here
        for path in dicom_files(fields.as_path("folder", folder)):
            modality = ""
            try:
                data = open_dicom(path, pixels=False)
                modality = fields.text(path, data, "Modality")
                header = read_header(path, data)
                if header.turn is None:
                    raise DataError(path, PLACE, "missing: the slice has no place")
                own = groups[_names(header)]
                group = next((g for g in own if _alike(g[0], header)), None)
                group.append(header) if group else own.append([header])
            except DataError as error:
                of = f"of modality {modality}" if modality else "without modality"
                kind = of if error.field == "Modality" else KINDS.get(error.field, f"unreadable ({error.field})")
                aside.append((kind, error))
    series = [tuple(sorted(g, key=lambda h: (h.position_mm, h.path.name))) for own in groups.values() for g in own]
    return FolderContents(tuple(sorted(series, key=lambda s: (-len(s), s[0].path.name))), tuple(aside))


def _names(h: SliceHeader) -> tuple:
    return h.patient_id, h.series, h.shape, h.turn.axes, h.turn.signs, h.kernel


def _alike(a: SliceHeader, b: SliceHeader) -> bool:
    """Same grid, within what headers round."""
    return (
        np.allclose(a.spacing_mm, b.spacing_mm, rtol=1e-3)
        and np.allclose(a.turn.directions, b.turn.directions, atol=5e-3)
        and abs((a.thickness_mm or 0) - (b.thickness_mm or 0)) < 0.05
    )


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files of a folder: by extension, or by how they begin."""
    if not os.path.isdir(folder):
        raise DataError(folder, "folder", "does not exist")
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(folder, "folder", f"cannot be read ({error.strerror})") from None
    files = [p for p in inside if p.is_file() and _is_dicom(p)]
    if not files:
        deeper = ", but has folders: name one that holds the files" if any(p.is_dir() for p in inside) else ""
        raise DataError(folder, "folder", f"holds no DICOM file (.dcm, .ima, or without extension){deeper}")
    return files


def _is_dicom(path: Path) -> bool:
    if path.name.upper() == "DICOMDIR" or path.suffix.lower() in OTHER:  # DICOMDIR is a table of contents
        return False
    try:
        return path.suffix.lower() in (".dcm", ".ima") or looks_like_dicom(path)
    except DataError:  # cannot be opened: told as such with the others
        return True
