"""The pixels of a DICOM slice in HU, from every way that the standard lets a CT store them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ctlib.data import fields, jpeg_lossless
from ctlib.errors import DataError

PADDING_HU = -1000.0  # nothing is below vacuum: scanners write -2000 and less outside the round field of view
HU_RANGE = (-65536.0, 32768.0)  # beyond 16 bits: signed values declared unsigned, or a wrong slope
LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
DECODERS = (  # compression, as its name begins, and the package that decodes it
    ("JPEG-LS", "pyjpegls"),
    ("JPEG 2000", "Pillow"),
    ("High-Throughput", "pylibjpeg pylibjpeg-openjpeg"),
    ("JPEG", "pylibjpeg pylibjpeg-libjpeg (GPL-3.0)"),
)


def read_hu(path: Path, data, shape: tuple[int, int], clip_padding: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """(stored rows, stored columns) float64 [HU], and remarks on its padding.

    HU = RescaleSlope * stored + RescaleIntercept, whatever PhotometricInterpretation says of the display. Pixels of
    PixelPaddingValue (to PixelPaddingRangeLimit) are air, -1000 HU, if clip_padding; so is what lies below.
    """
    slope, intercept = (fields.number(path, data, name) for name in ("RescaleSlope", "RescaleIntercept"))
    if slope <= 0:
        raise DataError(path, "RescaleSlope", f"is {slope:g}, needs a number > 0")
    stored, padding = _stored(path, data, shape)
    hu = stored.astype(np.float64) * slope + intercept
    remark = ""
    if clip_padding and padding.any():
        corners = padding[:: max(1, shape[0] - 1), :: max(1, shape[1] - 1)]
        if corners.any() or hu[padding].max() <= PADDING_HU:
            remark = f"{int(padding.sum())} pixels of padding as {PADDING_HU:g} HU"
            hu[padding] = PADDING_HU
        else:
            remark = "PixelPaddingValue is found inside the image only and not taken as padding"
    low, high = hu.min(), hu.max()
    if not HU_RANGE[0] <= low <= high <= HU_RANGE[1]:
        raise DataError(path, "RescaleSlope, RescaleIntercept", f"give {low:g} ... {high:g}, not a CT's HU")
    return (np.maximum(hu, PADDING_HU) if clip_padding else hu), (remark,) * bool(remark)


def _stored(path: Path, data, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The numbers that the file stores, and which of them are padding."""
    for name, kind in (("FloatPixelData", "f4"), ("DoubleFloatPixelData", "f8")):
        if fields.value(path, data, name) is not None:
            floats = _floats(path, data, name, kind, shape)
            return floats, np.zeros(shape, bool)
    if fields.value(path, data, "PixelData") is None:
        raise DataError(path, "PixelData", "missing")
    bits = _bits(path, data)
    pixels = _decoded(path, data, shape)
    if pixels.shape != shape or pixels.dtype.kind not in "iu":
        raise DataError(path, "PixelData", f"has shape {pixels.shape}, Rows and Columns say {shape}")
    return _whole(path, data, pixels, *bits)


def _floats(path: Path, data, name: str, kind: str, shape: tuple[int, int]) -> np.ndarray:
    order = "<" if data.original_encoding[1] else ">"
    raw = fields.value(path, data, name)
    if len(raw) != np.dtype(kind).itemsize * shape[0] * shape[1]:
        raise DataError(path, name, f"has {len(raw)} bytes, Rows and Columns need {shape[0]} x {shape[1]} numbers")
    found = np.frombuffer(raw, order + kind).reshape(shape)
    if not np.isfinite(found).all():
        raise DataError(path, name, "holds values that are not finite")
    return found


def _bits(path: Path, data) -> tuple[int, int, bool]:
    """(bits allocated, bits stored, whether signed) of integer pixels."""
    allocated, used = (fields.count(path, data, name) for name in ("BitsAllocated", "BitsStored"))
    signed = fields.number(path, data, "PixelRepresentation")
    high = fields.value(path, data, "HighBit")
    if allocated not in (8, 16, 32):
        raise DataError(path, "BitsAllocated", f"is {allocated}, needs 8, 16 or 32")
    if used > allocated:
        raise DataError(path, "BitsStored", f"is {used} of {allocated} bits")
    if signed not in (0, 1):
        raise DataError(path, "PixelRepresentation", f"is {signed:g}, needs 0 or 1")
    if high is not None and fields.number(path, data, "HighBit") != used - 1:
        raise DataError(path, "HighBit", f"is {high}, needs BitsStored - 1 = {used - 1}")
    return allocated, used, bool(signed)


def _decoded(path: Path, data, shape: tuple[int, int]) -> np.ndarray:
    try:
        syntax = data.file_meta.TransferSyntaxUID
        compressed, given = syntax.is_encapsulated, len(data.PixelData)
    except Exception as error:
        raise DataError(path, "TransferSyntaxUID", f"cannot be read ({fields.short(error)})") from None
    needed = shape[0] * shape[1] * fields.count(path, data, "BitsAllocated") // 8
    if not compressed and given != needed + needed % 2:  # DICOM pads to an even number of bytes
        raise DataError(path, "PixelData", f"has {given} bytes, Rows, Columns and BitsAllocated need {needed}")
    try:
        if not compressed:  # as they are: pydicom would cut what lies above BitsStored
            kind = ("<" if syntax.is_little_endian else ">") + f"u{fields.count(path, data, 'BitsAllocated') // 8}"
            return np.frombuffer(data.PixelData, kind, shape[0] * shape[1]).reshape(shape)
        return np.asarray(_unpacked(data, syntax, shape))
    except Exception as error:  # decoders raise whatever their codec raises
        if compressed and (package := _missing(syntax)):
            raise DataError(
                path, "TransferSyntaxUID", f"{syntax.name}: needs a decoder, pip install {package}"
            ) from None
        raise DataError(path, "PixelData", f"cannot be decoded ({fields.short(error)})") from None


def _unpacked(data, syntax, shape: tuple[int, int]) -> np.ndarray:
    from pydicom.encaps import get_frame

    if syntax.name.startswith("RLE"):
        return data.pixel_array
    stream = get_frame(data.PixelData, 0, number_of_frames=1)
    if (found := jpeg_lossless.frame_shape(stream)) not in (None, shape):
        raise ValueError(f"compressed image has shape {found}, Rows and Columns say {shape}")
    return jpeg_lossless.decode(stream, shape) if syntax in LOSSLESS else data.pixel_array


def _missing(syntax) -> str | None:
    """The package to install for a compression that cannot be decoded here."""
    from pydicom.pixels import get_decoder

    if syntax in LOSSLESS:
        return None
    try:
        plugins = get_decoder(syntax).available_plugins
    except Exception:  # not the syntax of an image
        return None
    if plugins and ("Extended" not in syntax.name or "pylibjpeg" in plugins):  # Pillow has no 12 bits
        return None
    return next((package for name, package in DECODERS if syntax.name.startswith(name)), None)


def _whole(path: Path, data, pixels: np.ndarray, allocated: int, used: int, signed: bool):
    """(numbers of `used` bits, which are padding); bits above are the sign, nothing, padding or an old overlay."""
    raw = pixels.astype(np.int64) & ((1 << allocated) - 1)
    low = raw & ((1 << used) - 1)
    numbers = low - (low >> (used - 1) << used) if signed else low
    padding = _padding(path, data, raw, numbers, allocated, signed)
    strange = (raw != low) & (raw != numbers & ((1 << allocated) - 1)) & ~padding
    if strange.any() and not any(e.tag.group & 0xFF00 == 0x6000 and e.tag.element == 0x0102 for e in data):
        raise DataError(path, "BitsStored", f"is {used}, but {int(strange.sum())} pixels need more bits")
    return numbers, padding


def _padding(path: Path, data, raw: np.ndarray, numbers: np.ndarray, allocated: int, signed: bool) -> np.ndarray:
    if fields.value(path, data, "PixelPaddingValue") is None:
        return np.zeros(raw.shape, bool)
    ends = [fields.number(path, data, "PixelPaddingValue")]
    if fields.value(path, data, "PixelPaddingRangeLimit") is not None:
        ends.append(fields.number(path, data, "PixelPaddingRangeLimit"))
    half = 1 << (allocated - 1)
    wrapped = [(int(v) + half * signed) % (2 * half) - half * signed for v in ends]  # 63536 stands for -2000
    full = raw - (raw >> (allocated - 1) << allocated) if signed else raw
    low, high = min(wrapped), max(wrapped)
    return ((full >= low) & (full <= high)) | ((numbers >= low) & (numbers <= high))
