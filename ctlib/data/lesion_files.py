"""The files of DeepLesion, {cite}`yan2018`, wherever they lie below a folder, and their division by patient."""

from __future__ import annotations

import csv
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ctlib import contract
from ctlib.data.fields import short
from ctlib.data.pairs import require_disjoint, split_patients
from ctlib.errors import ArgumentError, DataError

PARTS = {"1": "train", "2": "val", "3": "test"}  # column Train_Val_Test
SERIES = re.compile(r"(\d{6})_(\d{2})_(\d{2})")
FLAT = re.compile(r"(\d{6})_(\d{2})_(\d{2})_(\d+)")  # a slice's name in DL_info.csv and in Key_slices
SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}  # those of the official split
TABLE = "DL_info.csv"


@dataclass(frozen=True, order=True)
class LesionSlice:
    """One file of the collection: patient, study and series as in its folder's name, slice number, path."""

    patient: str
    study: str
    series: str
    number: int
    path: Path


@dataclass(frozen=True)
class Lesions:
    """Slices found below a folder, sorted; its DL_info.csv if there is one; files skipped, and the number of copies."""

    root: Path
    slices: tuple[LesionSlice, ...]
    table: Path | None
    skipped: tuple[DataError, ...]
    copies: int

    def describe(self) -> str:
        """Counts of patients, series, slices and skipped files on one line."""
        first = f" (first: {self.skipped[0]})" if self.skipped else ""
        return (
            f"{self.root}: {len({s.patient for s in self.slices})} patients, "
            f"{len({(s.patient, s.study, s.series) for s in self.slices})} series, {len(self.slices)} slices; "
            f"{self.copies} copies, {len(self.skipped)} files skipped{first}"
        )


def find_lesions(root: str | Path) -> Lesions:
    """Every slice below a folder: <patient>_<study>_<series>/<slice>.png at any depth, as the archives unpack each into
    a folder of its own or all into Images_png, and <patient>_<study>_<series>_<slice>.png, as in Key_slices.

    Names are all that is read. A .png that is no slice is skipped and listed.
    """
    root, slices, skipped, table, copies = Path(root), {}, [], None, 0
    if not os.path.isdir(root):
        raise DataError(root, "folder", "does not exist")
    seen = set()
    for folder, inner, names in os.walk(root, followlinks=True):
        inner.sort()
        if (real := os.path.realpath(folder)) in seen:  # a link that leads back
            inner.clear()
            continue
        seen.add(real)
        series = SERIES.fullmatch(os.path.basename(folder))
        if TABLE in names and table is None:
            table = Path(folder, TABLE)
        for name in sorted(names):
            stem, end = os.path.splitext(name)
            if end.lower() != ".png":
                continue
            flat = FLAT.fullmatch(stem)
            key = (
                (*series.groups(), int(stem))
                if series and stem.isdecimal()
                else flat and (*flat.groups()[:3], int(flat[4]))
            )
            if not key:
                skipped.append(DataError(Path(folder, name), "file name", "is no slice's, as 000089_01_01/037.png"))
            elif key in slices:
                copies += 1
            else:
                slices[key] = os.path.join(folder, name)
    if not slices:
        packed = "; archives are not opened: unzip them" if next(root.rglob("*.zip"), None) else ""
        raise DataError(
            root, "folders", f"none is named <patient>_<study>_<series>, as 000089_01_01, and holds .png{packed}"
        )
    above = (folder / TABLE for folder in root.resolve().parents[:2])
    table = table or next((path for path in above if path.is_file()), None)
    found = tuple(LesionSlice(*key, Path(slices[key])) for key in sorted(slices))
    return Lesions(root, found, table, tuple(skipped), copies)


def find_slices(root: str | Path) -> tuple[LesionSlice, ...]:
    """The slices of `find_lesions`, with a warning where files were skipped."""
    found = find_lesions(root)
    if found.skipped:
        warnings.warn(found.describe(), stacklevel=2)
    return found.slices


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
        if not SERIES.match(name):
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
    """{part: slices}, no patient in two: the official parts with `info`, else `shares` of the patients, by the seed.

    A warning says so where neither is given and 70, 15 and 15 % are drawn, and where `info` does not list a patient,
    whose slices are then in no part.
    """
    slices, seed = tuple(slices), contract.count("seed", seed)
    patients = sorted({s.patient for s in slices})
    if info is not None and shares is not None:
        raise ArgumentError("shares", dict(shares), "None where `info` gives the official split")
    if info is None and shares is None:
        warnings.warn(f"no {TABLE}: {len(patients)} patients are divided at random, seed {seed}", stacklevel=2)
    drawn = official_split(info) if info is not None else split_patients(patients, shares or SHARES, seed, lambda _: "")
    part_of = {patient: part for part, names in drawn.items() for patient in names}
    if unknown := [p for p in patients if p not in part_of]:
        warnings.warn(f"{info}: File_name: {len(unknown)} patients are not in it and in no part", stacklevel=2)
    parts: dict[str, list[LesionSlice]] = {part: [] for part in drawn}
    for s in slices:
        if s.patient in part_of:
            parts[part_of[s.patient]].append(s)
    return {part: tuple(found) for part, found in parts.items()}


def divide_lesions(lesions: Lesions, seed: int = 0) -> tuple[dict[str, tuple[LesionSlice, ...]], str]:
    """Slices of "train", "val" and "test", none of them empty, and a line that says how they were divided.

    The official split where its table is there and has patients of all parts; else patients are drawn by the seed.
    """
    patients = {s.patient for s in lesions.slices}
    if len(patients) < len(SHARES):
        raise ArgumentError("lesions", f"{len(patients)} patients", f"at least {len(SHARES)}, one for each part")
    parts, how = {}, f"no {TABLE}"
    if lesions.table is not None:
        parts, how = split_slices(lesions.slices, lesions.table), f"official, {lesions.table.name}"
    if not parts or not all(parts.values()):
        how = f"drawn by patient, seed {seed}: " + (f"{TABLE} leaves a part empty" if parts else how)
        parts = split_slices(lesions.slices, None, SHARES, seed)
    people = {part: len(Counter(s.patient for s in found)) for part, found in parts.items()}
    counts = ", ".join(f"{part} {people[part]} patients with {len(found)} slices" for part, found in parts.items())
    return parts, f"split ({how}): {counts}"
