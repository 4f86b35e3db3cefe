"""A user's own spectral scan: a stack of sinograms in energy bins (.npy) beside a geometry file (.json)."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch

from ctlib.contract import count
from ctlib.errors import ArgumentError, DataError
from ctlib.geometry import FanBeam, Volume
from ctlib.papers.spectral2spectral.scan import SpectralScan

NUMBERS = ("voxel_mm", "pitch_mm", "source_origin_mm", "source_detector_mm")
COUNTS = ("num_pixels", "num_views", "num_cols")
OPTIONAL = ("angles_rad", "detector_offset_mm", "quantity")
QUANTITIES = ("counts", "line integrals")
MAX_BYTES = 8 << 30  # refuse to read more
LARGEST = 50.0  # line integral that is read: of 1e20 photons none arrives
FEWEST = 1000.0  # counts that the largest line integral of a file is turned into


def load_spectral_scan(
    path: str | Path, geometry: str | Path | None = None, bins: int | None = None, multiple_of: int = 1
) -> SpectralScan:
    """A fan-beam scan (Z, E, V, U) from a .npy file, with its geometry from a .json file of the same name.

    The geometry file holds

        voxel_mm, num_pixels                  image to reconstruct, square
        num_views, num_cols, pitch_mm         detector, width of a column at the detector
        source_origin_mm, source_detector_mm  distances
        open_beam                             E photon counts of a reading without object
        angles_rad, detector_offset_mm        if views are not equally spaced over a turn, or the detector is shifted
        quantity                              "counts" (default) or "line integrals"; of those the open beam only
                                              weighs the bins, and counts are made that give them back

    Counts of subtracted scans may be negative here and there. One slice may be stored as (E, V, U).
    bins         E that is asked for (default: as many as open_beam lists)
    multiple_of  the image is enlarged at its rim to a multiple of so many pixels, as a network may need it

    DataError names the file and the field.
    """
    path, multiple_of = Path(path), count("multiple_of", multiple_of, 1)
    about = Path(geometry) if geometry is not None else path.with_suffix(".json")
    fields = _fields(about)
    open_beam = _open_beam(about, fields, None if bins is None else count("bins", bins, 1))
    scan = _geometry(about, fields, multiple_of)
    data = _stack(path, (len(open_beam), *scan.sino_shape))
    if fields.get("quantity", "counts") == "line integrals":
        if data.max() > LARGEST:
            raise DataError(path, "values", f"largest is {data.max():g}; no line integral exceeds {LARGEST:g}")
        data = open_beam[:, None, None] * np.exp(-data)
        data, open_beam = (v * max(1.0, FEWEST / data.min()) for v in (data, open_beam))
    elif (means := data.mean((0, 2, 3))).min() <= 0:
        worst = int(means.argmin())
        raise DataError(path, "values", f"mean of bin {worst + 1} is {means[worst]:g}, counts need a mean above 0")
    return SpectralScan(scan, torch.from_numpy(data.astype(np.float32)), torch.from_numpy(open_beam))


def _fields(path: Path) -> dict:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(path, "file", "does not exist; the geometry lies beside the data as .json") from None
    except (OSError, ValueError) as error:
        raise DataError(path, "JSON", " ".join(str(error).split())[:160]) from None
    if not isinstance(fields, dict):
        raise DataError(path, "top level", "needs an object of named fields")
    needed = {*NUMBERS, *COUNTS, "open_beam"}
    if missing := sorted(needed - set(fields)):
        raise DataError(path, missing[0], "is missing")
    if unknown := sorted(set(fields) - needed - set(OPTIONAL)):
        raise DataError(path, unknown[0], f"is not known; fields are {', '.join(sorted(needed | set(OPTIONAL)))}")
    if fields.get("quantity", "counts") not in QUANTITIES:
        raise DataError(path, "quantity", f"is {fields['quantity']!r}, needs one of {', '.join(QUANTITIES)}")
    return fields


def _number(path: Path, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DataError(path, name, f"is {value!r}, needs a finite number")
    return value


def _open_beam(path: Path, fields: dict, bins: int | None) -> np.ndarray:
    given = fields["open_beam"]
    if not isinstance(given, list) or not given or len(given) != (bins or len(given)):
        raise DataError(path, "open_beam", f"needs a list of {bins or 'positive'} numbers, one for each energy bin")
    values = np.array([_number(path, "open_beam", v) for v in given], dtype=float)
    if values.min() <= 0:
        raise DataError(path, "open_beam", f"smallest is {values.min():g}, needs positive counts")
    return values


def _geometry(path: Path, fields: dict, multiple_of: int) -> FanBeam:
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
        return FanBeam(volume, *detector, given["source_origin_mm"], given["source_detector_mm"], angles, offset)
    except ArgumentError as error:
        names = {"shape": "num_pixels", "angles": "angles_rad"}
        raise DataError(path, names.get(error.argument, error.argument), str(error)) from None


def _stack(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        data = np.load(path, allow_pickle=False, mmap_mode="r")
    except FileNotFoundError:
        raise DataError(path, "file", "does not exist") from None
    except (OSError, ValueError, EOFError) as error:
        raise DataError(path, "NPY", " ".join(str(error).split())[:160]) from None
    if not isinstance(data, np.ndarray) or data.dtype.kind not in "iuf":
        raise DataError(path, "type", f"is {getattr(data, 'dtype', type(data).__name__)}, needs real numbers")
    if data.ndim not in (3, 4) or data.shape[-3:] != shape or data.size == 0:
        raise DataError(path, "shape", f"is {data.shape}, needs (slices, {', '.join(map(str, shape))})")
    if data.nbytes > MAX_BYTES:
        raise DataError(path, "size", f"is {data.nbytes} bytes, at most {MAX_BYTES} are read")
    data = np.array(data if data.ndim == 4 else data[None], dtype=np.float64)
    if not np.isfinite(data).all():
        raise DataError(path, "values", "hold NaN or infinite numbers")
    return data
