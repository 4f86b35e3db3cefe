"""One axial slice of a NIfTI volume, turned by its affine. NIfTI names no modality: an MR is told by signs."""

from __future__ import annotations

import json
import logging
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctlib.data.dicom_header import MAX_PIXELS, SPACING_MM
from ctlib.data.fields import short
from ctlib.data.frame import SMALL_DEG, find_turn
from ctlib.errors import DataError, MissingDependency

MILLIMETERS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 1e-3}  # code of a length in xyzt_units: unknown, meter, mm, micrometer
MAX_BYTES = 2**33
INFLATES = 1040  # deflate makes at most so many bytes of one
OF_MR = re.compile(r"\b(TE|TR|FLIP|MPRAGE|FLAIR|T1W?|T2W?|DWI|BOLD|EPI)\b|\bTE=|\bTR=", re.IGNORECASE)


@dataclass(frozen=True)
class NiftiSlice:
    """stored: (Y, X) float64, row 0 anterior, column 0 the patient's right; spacing (y, x), place and what was read."""

    stored: np.ndarray
    spacing_mm: tuple[float, float]
    position_mm: float
    understood: tuple[str, ...]


def read_nifti(path: Path, pick) -> NiftiSlice:
    """The slice number pick(count), counted from the feet; scl_slope and scl_inter are applied.

    DataError for MR, label maps, more than three axes longer than one, lengths that are none, and damaged files.
    """
    try:
        import nibabel
    except ImportError as error:
        raise MissingDependency("nibabel", "NIfTI files") from error
    try:
        with _remarks(nibabel.imageglobals.logger) as remarks:
            volume = nibabel.load(path)
        shape, header, data, affine = volume.shape, volume.header, volume.dataobj, np.array(volume.affine, float)
        codes = int(header["qform_code"]), int(header["sform_code"])
        kind, size = header.get_data_dtype(), path.stat().st_size
        length = MILLIMETERS.get(int(header["xyzt_units"]) & 7)
        forms = [header.get_qform(), header.get_sform()]
    except Exception as error:  # nibabel, gzip and zlib raise their own types for a damaged file
        raise DataError(path, "NIfTI", f"cannot be read ({short(error)})") from None
    if wrong := [r for r in remarks if "_code" in r or "sizeof_hdr" in r]:
        raise DataError(path, "header", wrong[0])
    _check_ct(path, header)
    if not 2 <= len(shape) <= 7 or any(n != 1 for n in shape[3:]) or min(shape) < 1 or max(shape) ** 2 > MAX_PIXELS:
        raise DataError(path, "dim", f"is {shape}, needs three axes of sane length (further ones of length 1)")
    if kind.kind not in "iuf":
        raise DataError(path, "datatype", f"is {kind}, needs real numbers")
    needed = int(np.prod(shape, dtype=object)) * kind.itemsize
    if needed > min(MAX_BYTES, size * (INFLATES if path.name.lower().endswith(".gz") else 1)):
        raise DataError(path, "data", f"need {needed} bytes, the file has {size}")
    if length is None:
        raise DataError(path, "xyzt_units", f"has the unknown length code {int(header['xyzt_units']) & 7}")
    turn, spacing, origin = _place(path, affine, length)
    grid = (*shape, 1)[:3]
    _, *in_plane = turn.shape(spacing)
    up = turn.axes[0]
    if grid[up] > 1 and 1 in turn.shape(grid)[1:]:
        raise DataError(path, "dim", f"is {shape}, one sagittal or coronal slice, needs axial ones")
    i = pick(grid[up])
    k = i if turn.signs[0] > 0 else grid[up] - 1 - i
    place = [slice(None)] * 3 + [0] * (len(shape) - 3)
    place[up] = slice(k, k + 1)
    try:
        block = np.asarray(data[tuple(place[: len(shape)])], dtype=np.float64).reshape([*grid[:up], 1, *grid[up + 1 :]])
    except Exception as error:
        raise DataError(path, "data", f"cannot be read ({short(error)})") from None
    first = turn.origin(origin, turn.shape(grid), turn.shape(spacing))
    position = float(turn.directions[0] @ np.array(first)) + i * spacing[up]
    said = ["orientation not stated (qform and sform codes 0), as if stored from right to left" if codes == (0, 0) else
            f"stored toward {''.join(nibabel.aff2axcodes(affine))}"]  # fmt: skip
    if min(codes) > 0 and nibabel.aff2axcodes(forms[0]) != nibabel.aff2axcodes(forms[1]):
        raise DataError(path, "qform, sform", "state different orientations")
    said += [w for w in [turn.describe()] if max(turn.tilt_deg, turn.rotation_deg) > SMALL_DEG]
    said += remarks
    said += ["length unit not stated, taken as mm"] * (int(header["xyzt_units"]) & 7 == 0)
    return NiftiSlice(np.ascontiguousarray(turn.apply(block)[0]), tuple(in_plane), position, tuple(said))


@contextmanager
def _remarks(logger):
    """What nibabel mends in a header, which it would write to stderr."""
    found, kept = [], (logger.handlers[:], logger.propagate)
    handler = logging.Handler()
    handler.emit = lambda record: found.append(" ".join(record.getMessage().split()))
    logger.handlers, logger.propagate = [handler], False
    try:
        yield found
    finally:
        logger.handlers, logger.propagate = kept


def _place(path: Path, affine: np.ndarray, length: float):
    """Turn, spacing of the stored axes [mm] and center of voxel (0, 0, 0) in DICOM's axes."""
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3] * length
    with np.errstate(all="ignore"):
        spacing = np.sqrt(np.square(lps[:, :3]).sum(0))
    if not np.isfinite(lps).all() or not all(SPACING_MM[0] <= s <= SPACING_MM[1] for s in spacing):
        raise DataError(path, "affine", f"does not map the voxels into space (spacing {spacing.round(6).tolist()} mm)")
    turn = find_turn(path, "affine", (lps[:, :3] / spacing).T, slices=None)
    return turn, tuple(float(s) for s in spacing), lps[:, 3]


def _check_ct(path: Path, header) -> None:
    """Signs of another modality: what dcm2niix and scanners write of an MR, and a sidecar that names one."""
    if int(header["intent_code"]) != 0:
        raise DataError(path, "intent_code", f"is {int(header['intent_code'])}: labels or statistics, not an image")
    written = " ".join(
        header[f].tobytes().split(b"\0")[0].decode("latin-1").strip() for f in ("descrip", "intent_name")
    )
    if int(header["dim_info"]) & 15 or OF_MR.search(written):
        raise DataError(path, "descrip, dim_info", f"are those of an MR ({written or 'encoding directions'!r})")
    sidecar = path.with_name(re.sub(r"\.nii(\.gz)?$", ".json", path.name, flags=re.IGNORECASE))
    if sidecar.is_file() and sidecar.stat().st_size < 2**20:
        try:
            found = json.loads(sidecar.read_text(encoding="utf-8"))
            modality = found.get("Modality", "CT") if isinstance(found, dict) else "CT"
        except (OSError, ValueError, RecursionError):
            modality = "CT"
        if modality != "CT":
            raise DataError(path, "Modality", f"is {modality!r} in {sidecar.name}, needs 'CT'")
