"""What the numbers of a file mean that does not say so itself: an explicit unit, or a rule that takes no risk."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ctlib.data.dicom_pixels import HU_RANGE, PADDING_HU
from ctlib.errors import ArgumentError, DataError

CHOICES = "HU, HU+<offset> (HU+32768, HU+1024: stored value of 0 HU), 1/mm, 1/cm, gray"
OFFSET = re.compile(r"HU([+-]\d+(?:\.\d+)?)?")
PER_MM = {"1/mm": 1.0, "1/cm": 0.1}
HIGHEST_PER_MM = 10.0  # above gold at 60 keV
AIR_HU, BRIGHT = -200.0, 0.7  # an image in HU holds air; one in gray is not dark all over


def check_unit(unit: str | None) -> str | None:
    """The unit, if it is one of the choices."""
    if unit is not None and not (isinstance(unit, str) and (OFFSET.fullmatch(unit) or unit in (*PER_MM, "gray"))):
        raise ArgumentError("unit", repr(unit), f"one of {CHOICES}")
    return unit


def in_unit(path: Path, stored: np.ndarray, unit: str | None, full: float | None) -> tuple[np.ndarray, str, str]:
    """(values, "HU" or "1/mm" or "1" for gray, in words) of finite stored numbers.

    unit   what the numbers are; HU below -1000 become -1000
    full   stored value of white, where the file's type states one

    Without a unit: HU where values below -200 and none beyond a CT's occur; gray where all lie in [0, 1] and the
    highest above 0.7 (of `full`, with some below 0.25). Everything else is an ArgumentError that tells the choices.
    """
    known = unit or _likely(stored, full)
    low, high = float(stored.min()), float(stored.max())
    if known is None:
        raise ArgumentError("unit", f"none, and {path.name} holds {low:g} ... {high:g}", f"one of {CHOICES}")
    said = "" if unit else ", taken from the range of its values"
    if known == "gray":
        gray = stored / full if full else stored
        if gray.min() < 0 or gray.max() > 1:
            raise DataError(path, "unit", f"gray lies in [0, 1], not in {low:g} ... {high:g}")
        return gray, "1", f"gray{said}"
    if known in PER_MM:
        mu = stored * PER_MM[known]
        if np.abs(mu).max() > HIGHEST_PER_MM:
            raise DataError(path, "unit", f"{low:g} ... {high:g} are no attenuation in {known}")
        return mu, "1/mm", f"attenuation stored in {known}"
    hu = stored - float(OFFSET.fullmatch(known)[1] or 0)
    if hu.min() < HU_RANGE[0] or hu.max() > HU_RANGE[1]:
        raise DataError(path, "pixels", f"{hu.min():g} ... {hu.max():g} are not a CT's HU")
    return np.maximum(hu, PADDING_HU), "HU", f"stored as {known}{said}"


def _likely(stored: np.ndarray, full: float | None) -> str | None:
    low, high = stored.min() / (full or 1), stored.max() / (full or 1)
    if full == 255 or (low >= 0 and BRIGHT <= high <= 1 and (full is None or low < 0.25)):
        return "gray"  # eight bits hold no HU
    return "HU" if full is None and HU_RANGE[0] <= low <= AIR_HU and high <= HU_RANGE[1] else None
