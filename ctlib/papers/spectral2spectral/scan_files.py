"""A laboratory's own spectral scan: a stack of sinograms in energy bins beside a file that describes it (.json)."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctlib.contract import count
from ctlib.errors import ArgumentError, DataError
from ctlib.geometry import FanBeam, ParallelBeam, Volume
from ctlib.papers.spectral2spectral.binned import BIN_MODES
from ctlib.papers.spectral2spectral.scan import SpectralScan
from ctlib.papers.spectral2spectral.stacks import read_stack

NUMBERS = ("voxel_mm", "pitch_mm")
COUNTS = ("num_pixels", "num_views", "num_cols")
DISTANCES = ("source_origin_mm", "source_detector_mm")
OPTIONAL = (*DISTANCES, "angles_rad", "detector_offset_mm", "quantity", "bin_mode", "dataset", "flat", "vials")
QUANTITIES = ("counts", "line integrals")
LARGEST = 50.0  # line integral that is read: of 1e20 photons none arrives
FEWEST = 1000.0  # counts that the largest line integral of a file is turned into


@dataclass(frozen=True)
class Vial:
    """A calibration vial: center and radius in the image [mm], x to the right and y up, densities [g/cm3] by name."""

    x_mm: float
    y_mm: float
    radius_mm: float
    densities: dict[str, float]


@dataclass(frozen=True, eq=False)
class OwnScan:
    """A scan and the vials in it, which may be none."""

    scan: SpectralScan
    vials: tuple[Vial, ...] = ()

    @property
    def materials(self) -> tuple[str, ...]:
        """Names of all materials in the vials."""
        return tuple(dict.fromkeys(name for v in self.vials for name in v.densities))

    def vial_masks(self) -> Tensor:
        """Bool (vials, Y, X): the pixels well inside each, one pixel away from its wall."""
        volume = self.scan.geometry.volume
        y, x = volume.axis(0)[:, None], volume.axis(1)[None, :]
        inside = [np.hypot(x - v.x_mm, y - v.y_mm) <= v.radius_mm - volume.voxel_mm[0] for v in self.vials]
        return torch.from_numpy(np.stack(inside)) if inside else torch.zeros(0, *volume.shape, dtype=torch.bool)


def load_spectral_scan(
    path: str | Path, geometry: str | Path | None = None, bins: int | None = None, multiple_of: int = 1
) -> OwnScan:
    """A scan (Z, E, V, U) from a .npy, .h5 or .tif file, described by a .json file of the same name.

        voxel_mm, num_pixels                  image to reconstruct, square
        num_views, num_cols, pitch_mm         detector, width of a column at the detector
        source_origin_mm, source_detector_mm  of a fan beam; without both, the beam is parallel
        open_beam                             E photon counts of a reading without object ...
        flat                                  ... or a file with flat fields (..., E, U), which are averaged
        angles_rad, detector_offset_mm        if views are not equally spaced over a turn (parallel: over half of one),
                                              or the detector is shifted
        quantity                              "counts" (default) or "line integrals"; of those the open beam only
                                              weighs the bins, and counts are made that give them back
        bin_mode                              "poisson" (default), or "subtract" where bins are differences of scans:
                                              counts may be negative, neighboring bins are correlated
        vials                                 [{"x_mm", "y_mm", "radius_mm", "densities": {material: g/cm3}}, ...],
                                              from which a decomposition is calibrated
        dataset                               name inside an HDF5 file

    One slice may be stored as (E, V, U). A TIFF has slices x bins (slice by slice) as pages of views x columns.
    bins         E that is asked for
    multiple_of  the image is enlarged at its rim to a multiple of so many pixels, as a network may need it

    DataError names the file and the field.
    """
    path, multiple_of = Path(path), count("multiple_of", multiple_of, 1)
    about = Path(geometry) if geometry is not None else path.with_suffix(".json")
    fields = _fields(about)
    open_beam = _open_beam(about, fields, None if bins is None else count("bins", bins, 1))
    scan = _geometry(about, fields, multiple_of)
    data = _stack(path, fields.get("dataset", ""), (len(open_beam), *scan.sino_shape))
    light = open_beam[:, None, None] if open_beam.ndim == 1 else open_beam[:, None, :]
    mode = fields.get("bin_mode", "poisson")
    if fields.get("quantity", "counts") == "line integrals":
        if data.max() > LARGEST:
            raise DataError(path, "values", f"largest is {data.max():g}; no line integral exceeds {LARGEST:g}")
        data = light * np.exp(-data)
        data, open_beam = (v * max(1.0, FEWEST / data.min()) for v in (data, open_beam))
    elif (means := data.mean((0, 2, 3))).min() <= 0:
        worst = int(means.argmin())
        raise DataError(path, "values", f"mean of bin {worst + 1} is {means[worst]:g}, counts need a mean above 0")
    elif mode == "poisson" and data.min() < 0:
        raise DataError(path, "values", f"least is {data.min():g}; if bins are differences, say bin_mode: subtract")
    counts = torch.from_numpy(data.astype(np.float32))
    return OwnScan(SpectralScan(scan, counts, torch.from_numpy(open_beam), mode=mode), _vials(about, fields, scan))


def _fields(path: Path) -> dict:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(path, "file", "does not exist; the geometry lies beside the data as .json") from None
    except (OSError, ValueError) as error:
        raise DataError(path, "JSON", " ".join(str(error).split())[:160]) from None
    if not isinstance(fields, dict):
        raise DataError(path, "top level", "needs an object of named fields")
    needed = {*NUMBERS, *COUNTS}
    if missing := sorted(needed - set(fields)):
        raise DataError(path, missing[0], "is missing")
    if ("open_beam" in fields) == ("flat" in fields):
        raise DataError(
            path, "open_beam", "is missing" if "flat" not in fields else "is given, and flat too: one of them"
        )
    if unknown := sorted(set(fields) - needed - {"open_beam"} - set(OPTIONAL)):
        known = ", ".join(sorted(needed | {"open_beam"} | set(OPTIONAL)))
        raise DataError(path, unknown[0], f"is not known; fields are {known}")
    if (lone := [d for d in DISTANCES if d in fields]) and len(lone) == 1:
        raise DataError(path, next(d for d in DISTANCES if d not in fields), f"is missing, {lone[0]} is given")
    for name, choices in (("quantity", QUANTITIES), ("bin_mode", BIN_MODES)):
        if fields.get(name, choices[0]) not in choices:
            raise DataError(path, name, f"is {fields[name]!r}, needs one of {', '.join(choices)}")
    for name in ("dataset", "flat"):
        if not isinstance(fields.get(name, ""), str):
            raise DataError(path, name, f"is {fields[name]!r}, needs a name")
    return fields


def _number(path: Path, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DataError(path, name, f"is {value!r}, needs a finite number")
    return value


def _open_beam(path: Path, fields: dict, bins: int | None) -> np.ndarray:
    """Counts without object, (E,), or (E, U) from flat fields."""
    if "flat" in fields:
        file = path.parent / fields["flat"]
        values = read_stack(file)
        if values.ndim < 2 or values.shape[-1] != fields["num_cols"]:
            raise DataError(file, "shape", f"is {values.shape}, needs (..., E, {fields['num_cols']}), frames first")
        values = values.reshape(-1, *values.shape[-2:]).mean(0)
        if bins and len(values) != bins:
            raise DataError(file, "shape", f"has {len(values)} bins, {bins} are asked for")
        if values.min() <= 0:
            raise DataError(file, "values", f"a mean is {values.min():g}, needs positive counts in every column")
        return values
    given = fields["open_beam"]
    if not isinstance(given, list) or not given or len(given) != (bins or len(given)):
        raise DataError(path, "open_beam", f"needs a list of {bins or 'positive'} numbers, one for each energy bin")
    values = np.array([_number(path, "open_beam", v) for v in given], dtype=float)
    if values.min() <= 0:
        raise DataError(path, "open_beam", f"smallest is {values.min():g}, needs positive counts")
    return values


def _geometry(path: Path, fields: dict, multiple_of: int) -> FanBeam | ParallelBeam:
    given = {name: _number(path, name, fields[name]) for name in (*NUMBERS, *COUNTS)}
    angles = fields.get("angles_rad")
    if angles is not None and not isinstance(angles, list):
        raise DataError(path, "angles_rad", "needs a list of numbers")
    angles = None if angles is None else [_number(path, "angles_rad", a) for a in angles]
    offset = _number(path, "detector_offset_mm", fields.get("detector_offset_mm", 0.0))
    side = given["num_pixels"]
    side = -(-side // multiple_of) * multiple_of
    try:
        volume = Volume((side, side), given["voxel_mm"])
        detector = (given["num_views"], given["num_cols"], given["pitch_mm"])
        if DISTANCES[0] not in fields:
            return ParallelBeam(volume, *detector, angles=angles, detector_offset_mm=offset)
        distances = [_number(path, name, fields[name]) for name in DISTANCES]
        return FanBeam(volume, *detector, *distances, angles, offset)
    except ArgumentError as error:
        names = {"shape": "num_pixels", "angles": "angles_rad"}
        raise DataError(path, names.get(error.argument, error.argument), str(error)) from None


def _vials(path: Path, fields: dict, scan: FanBeam | ParallelBeam) -> tuple[Vial, ...]:
    given = fields.get("vials", [])
    if not isinstance(given, list) or not all(isinstance(v, dict) for v in given):
        raise DataError(path, "vials", "needs a list of objects")
    found = []
    for k, v in enumerate(given):
        name = f"vials[{k}]"
        if set(v) != {"x_mm", "y_mm", "radius_mm", "densities"}:
            raise DataError(
                path, name, f"has {', '.join(sorted(v)) or 'nothing'}; needs x_mm, y_mm, radius_mm, densities"
            )
        x, y, r = (_number(path, f"{name}.{f}", v[f]) for f in ("x_mm", "y_mm", "radius_mm"))
        if not isinstance(v["densities"], dict) or not v["densities"]:
            raise DataError(path, f"{name}.densities", "needs {material: density in g/cm3}")
        densities = {str(m): float(_number(path, f"{name}.densities.{m}", d)) for m, d in v["densities"].items()}
        if r < 3.5 * scan.volume.voxel_mm[0] or max(abs(x), abs(y)) + r > scan.volume.extent_mm[0] / 2:
            raise DataError(path, name, "is thinner than seven pixels, or not inside the image")
        found.append(Vial(x, y, r, densities))
    if found:
        names = list(dict.fromkeys(m for v in found for m in v.densities))
        if np.linalg.matrix_rank([[v.densities.get(m, 0.0) for m in names] for v in found]) < len(names):
            raise DataError(path, "vials", f"do not tell {', '.join(names)} apart: as many different vials are needed")
    return tuple(found)


def _stack(path: Path, dataset: str, shape: tuple[int, ...]) -> np.ndarray:
    data = read_stack(path, dataset)
    if path.suffix.lower() in (".tif", ".tiff") and data.ndim == 3 and len(data) % shape[0] == 0:
        data = data.reshape(-1, shape[0], *data.shape[1:])
    if data.ndim not in (3, 4) or data.shape[-3:] != shape:
        raise DataError(path, "shape", f"is {data.shape}, needs (slices, {', '.join(map(str, shape))})")
    return data if data.ndim == 4 else data[None]
