"""The CT series below a folder, by the headers of its DICOM files: names of files and folders mean nothing."""

from __future__ import annotations

import csv
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ctlib.errors import DataError
from ctlib.papers.hqinet.ldct_header import Header, read_header

SAME_MM = 1e-3  # slices closer than this lie at one place


@dataclass(frozen=True)
class Series:
    """Slices of one series of one patient on one grid, in ascending z; of projections only the folder is looked at."""

    patient: str
    uid: str
    study: str
    description: str
    region: str
    kernel: str
    is_projection: bool
    folder: Path
    grid: tuple
    files: tuple[Path, ...]
    places_mm: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Found:
    """All series below a folder, what was skipped and why, and how many localizers and reformats were set aside."""

    series: tuple[Series, ...]
    skipped: tuple[DataError, ...]
    set_aside: int


def find_series(root: str | Path) -> Found:
    """Every series below a folder; damaged files, copies, other modalities and stray slices are skipped and listed."""
    root, skipped, aside = Path(root), [], 0
    headers, projections = defaultdict(list), defaultdict(list)
    if not os.path.isdir(root):
        raise DataError(root, "folder", "does not exist" if not os.path.exists(root) else "is a file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of what is checked here
        for files in dicom_folders(root, skipped):
            for path in files:
                try:
                    header = read_header(path)
                except DataError as error:
                    skipped.append(error)
                    continue
                if header is None:
                    aside += 1
                elif header.is_projection:  # by the ten thousand: the first and the last file name their series
                    whole = _uid(files[-1]) == header.uid
                    key = header.patient, header.uid, path.parent
                    projections[key] += [(header, f) for f in (files if whole else [path])]
                    if whole:
                        break
                else:
                    headers[header.patient, header.uid].append(header)
    described = _descriptions(root)
    series = [_series(group, described, skipped) for group in headers.values()]
    for views in projections.values():
        series.append(_as_series(views[0][0], described, (), tuple(f for _, f in views), ()))
    series.sort(key=lambda s: (s.patient, s.study, s.uid, str(s.folder)))
    return Found(tuple(series), tuple(skipped), aside)


def dicom_folders(root: Path, skipped: list[DataError]) -> Iterator[list[Path]]:
    """The DICOM files of every folder, links followed once; folders that cannot be read are added to `skipped`."""
    seen = set()

    def told(error: OSError) -> None:
        skipped.append(DataError(error.filename, "folder", f"cannot be read ({error.strerror})"))

    for folder, inner, names in os.walk(root, onerror=told, followlinks=True):
        inner[:] = sorted(d for d in inner if d != "__MACOSX")
        if (real := os.path.realpath(folder)) in seen:
            inner.clear()
            continue
        seen.add(real)
        if files := [p for p in (Path(folder, n) for n in sorted(names)) if _is_dicom(p)]:
            yield files


def _is_dicom(path: Path) -> bool:
    """By extension, else by the magic bytes: archives name files by UIDs, or not at all."""
    if path.name.upper() == "DICOMDIR" or not path.is_file():  # a table of contents; a broken link
        return False
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _uid(path: Path) -> str | None:
    """The series of a file of projections, None of any other."""
    try:
        header = read_header(path)
    except DataError:
        return None
    return header.uid if header is not None and header.is_projection else None


def _series(headers: list[Header], described: dict[str, str], skipped: list[DataError]) -> Series:
    """One series of headers: copies, other grids and slices at a place that is taken are skipped."""
    kept, known = [], {}
    (grid, _), *_ = Counter(h.grid for h in headers).most_common()
    for h in headers:
        if h.instance in known:
            skipped.append(DataError(h.path, "SOPInstanceUID", f"is a copy of {known[h.instance].name}"))
        elif h.grid != grid:
            skipped.append(DataError(h.path, "Rows, Columns, PixelSpacing, ImageOrientationPatient",
                                     "differ from those of the other slices of the series"))  # fmt: skip
        else:
            known[h.instance] = h.path
            kept.append(h)
    kept.sort(key=lambda h: (h.place_mm[2], str(h.path)))
    slices = []
    for h in kept:
        if slices and h.place_mm[2] - slices[-1].place_mm[2] < SAME_MM:
            skipped.append(DataError(h.path, "ImagePositionPatient", f"is that of {slices[-1].path.name}"))
        else:
            slices.append(h)
    return _as_series(slices[0], described, grid, tuple(h.path for h in slices), tuple(h.place_mm for h in slices))


def _as_series(h: Header, described: dict[str, str], grid, files, places) -> Series:
    """The description is the header's, else that of metadata.csv, else the folder's name."""
    text = h.description or described.get(h.uid) or h.path.parent.name
    about = (h.patient, h.uid, h.study, text, h.region, h.kernel, h.is_projection, h.path.parent)
    return Series(*about, grid, files, places)


def _descriptions(root: Path) -> dict[str, str]:
    """{SeriesInstanceUID: Series Description} of the metadata.csv that downloads come with, beside or above the series.

    It is asked only where headers have no description, so that a table which cannot be read is as good as none.
    """
    found = {}
    for path in [*sorted(root.glob("*metadata*.csv")), *sorted(root.glob("*/*metadata*.csv")),
                 *sorted(root.parent.glob("*metadata*.csv"))]:  # fmt: skip
        try:
            with path.open(newline="", encoding="utf-8-sig") as stream:
                for row in csv.DictReader(stream):
                    found.setdefault(row.get("Series UID") or "", row.get("Series Description") or "")
        except (OSError, UnicodeDecodeError, csv.Error):
            continue
    return found
