"""Real CT slices in HU: the sample that ships with the library, or a whole folder of the same layout, by one call."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ctlib import contract
from ctlib.data.deeplesion import read_slice
from ctlib.data.fields import as_path, short
from ctlib.data.pairs import require_disjoint
from ctlib.errors import ArgumentError, DataError

SAMPLE = Path(__file__).parent / "sample"
SPLITS = ("train", "val", "test")
REGIONS = ("chest", "thorax-abdomen", "abdomen", "pelvis", "shoulder")
TABLES = {
    "slices.csv": ("file", "patient", "collection", "license", "spacing_mm", "thickness_mm", "kernel", "region",
                   "split", "run", "step_mm", "cut_by_field"),
    "patients.csv": ("patient", "doi"),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class RealSlice:
    """One axial slice of a person, row 0 anterior, column 0 the person's right.

    image          (Y, X) float32 [HU], -1000 and above
    spacing_mm     size of a square pixel
    split, region  "train", "val" or "test", by patient; what of the body is shown
    thickness_mm   None where the file does not state it
    run, step_mm   a block of adjacent slices of one series and their distance; "" and None for a slice alone
    cut_by_field   whether the body reaches the image's border
    """

    image: Tensor
    spacing_mm: float
    patient: str
    collection: str
    license: str
    doi: str
    split: str
    region: str
    thickness_mm: float | None
    kernel: str
    run: str
    step_mm: float | None
    cut_by_field: bool
    file: str

    @property
    def attribution(self) -> str:
        """The line that must stand beside the image wherever it is shown."""
        return (
            f"CT image: {self.collection}, The Cancer Imaging Archive (doi {self.doi}; Clark et al., J Digit Imaging "
            f"26, 2013), {self.license}; changed: windowed to HU PNG"
        )


def real_slices(folder: str | Path | None = None, split: str | None = None, region: str | None = None):
    """List of `RealSlice`, sorted by file: the sample of this library, or `folder` with the same tables and layout.

    folder  has slices.csv, patients.csv and the 16-bit PNGs that slices.csv names, stored value of 0 HU 32768; None
            reads the 14 slices of 8 people that ship with the library
    split   "train", "val" or "test" alone, divided by patient; region likewise, one of `REGIONS`

    DataError for a missing file or column and for a patient in two splits; ArgumentError where nothing is left.
    """
    root = SAMPLE if folder is None else as_path("folder", folder)
    wanted = {"split": split, "region": region}
    for name, known in (("split", SPLITS), ("region", REGIONS)):
        if wanted[name] is not None:
            contract.choice(name, wanted[name], known)
    rows = _table(root, "slices.csv")
    _check_splits(root, rows)
    doi = {row["patient"]: row["doi"] for row in _table(root, "patients.csv")}
    rows = [row for row in rows if all(value in (None, row[name]) for name, value in wanted.items())]
    if not rows:
        asked = {name: value for name, value in wanted.items() if value is not None}
        raise ArgumentError("split, region", asked, f"a combination that {root.name} has slices of")
    return [_slice(root, row, doi) for row in sorted(rows, key=lambda row: row["file"])]


def adjacent_triplets(slices: Iterable[RealSlice]) -> list[tuple[RealSlice, RealSlice, RealSlice]]:
    """All (k-1, k, k+1) of slices that lie side by side in one run: never across a gap, a series or a person."""
    runs = defaultdict(list)
    for s in slices:
        if s.run:
            runs[s.patient, Path(s.file).parent, s.run].append(s)
    found = []
    for members in runs.values():
        number = {int(Path(s.file).stem): s for s in members}
        found += [(number[k - 1], s, number[k + 1]) for k, s in sorted(number.items()) if {k - 1, k + 1} <= set(number)]
    return found


def _table(root: Path, name: str) -> list[dict[str, str]]:
    """Rows of a table of the folder, each with all its columns."""
    try:
        with (root / name).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            reader.fieldnames = [re.sub("^licen[cs]e$", "license", column) for column in reader.fieldnames or ()]
            rows = list(reader)
    except FileNotFoundError:
        raise DataError(root / name, "file", "does not exist") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(root / name, "CSV", f"cannot be read ({short(error)})") from None
    for k, row in enumerate(rows):
        for column in TABLES[name]:
            if row.get(column) is None:
                raise DataError(root / name, column, f"is missing in row {k + 1}")
    return rows


def _check_splits(root: Path, rows: list[dict[str, str]]):
    parts = {part: [row["patient"] for row in rows if row["split"] == part] for part in SPLITS}
    if sum(map(len, parts.values())) != len(rows):
        raise DataError(root / "slices.csv", "split", f"is not one of {', '.join(SPLITS)} in every row")
    try:
        require_disjoint(parts)
    except ArgumentError as error:
        raise DataError(root / "slices.csv", "split", str(error)) from None


def _slice(root: Path, row: dict[str, str], doi: dict[str, str]) -> RealSlice:
    def number(column):
        try:
            return contract.number(column, float(row[column]), above=0) if row[column] else None
        except ValueError:  # what is no number at all, and ArgumentError
            raise DataError(root / "slices.csv", column, f"is {row[column]!r} for {row['file']}") from None

    if row["patient"] not in doi:
        raise DataError(root / "patients.csv", "patient", f"has no {row['patient']}, the person of {row['file']}")
    lengths = {name: number(name) for name in ("spacing_mm", "thickness_mm", "step_mm")}
    for name in ("spacing_mm", *(["step_mm"] if row["run"] else [])):
        if lengths[name] is None:
            raise DataError(root / "slices.csv", name, f"is empty for {row['file']}")
    texts = ("patient", "collection", "license", "split", "region", "kernel", "run", "file")
    return RealSlice(
        image=read_slice(root / row["file"]),
        cut_by_field=row["cut_by_field"] == "1",
        doi=doi[row["patient"]],
        **lengths,
        **{name: row[name] for name in texts},
    )
