"""Files of every format damaged at random or made to lie: a sound image or one typed error, at once and in silence."""

import io
import struct
import zlib
from collections import Counter
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from dicom_writer import ct_dataset
from jpeg_lossless_writer import encode
from PIL import Image
from pydicom.encaps import encapsulate

from ctlib.data.dicom import read_ct_series
from ctlib.data.images import load_slice
from ctlib.errors import ArgumentError, DataError

IMAGE = np.random.default_rng(1).integers(10, 3000, (24, 20)).astype(np.uint16)
SYNTAXES = {"jpeg lossless": "1.2.840.10008.1.2.4.70", "jpeg-ls": "1.2.840.10008.1.2.4.80",
            "jpeg 2000": "1.2.840.10008.1.2.4.90", "rle": "1.2.840.10008.1.2.5"}  # fmt: skip
NUMBERS = ("0", "-1", "nan", "inf", "1e308", "1e-308", "-0", "65536", "2147483647", "1\\2\\3\\4", "", "x", "0.5", "3")
TEXT_FIELDS = ("RescaleSlope", "RescaleIntercept", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient",
               "SliceThickness", "NumberOfFrames", "Modality", "ImageType", "RescaleType", "SOPClassUID",
               "PhotometricInterpretation", "SpecificCharacterSet")  # fmt: skip
SHORT_FIELDS = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
                "PixelPaddingValue", "PixelPaddingRangeLimit", "PlanarConfiguration")  # fmt: skip


@cache
def dicom(kind: str) -> bytes:
    data, syntax = ct_dataset(IMAGE, PixelPaddingValue=5), SYNTAXES.get(kind, "1.2.840.10008.1.2.1")
    syntax = "1.2.840.10008.1.2.1.99" if kind == "deflated" else syntax
    if kind in SYNTAXES:
        data.PixelData = encapsulate([_stream(kind)])
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = "1.2", "1.2.3"
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


def _stream(kind: str) -> bytes:
    if kind == "jpeg lossless":
        return encode(IMAGE, 4, restart_lines=7)
    if kind == "jpeg-ls":
        return bytes(pytest.importorskip("jpeg_ls").encode_array(IMAGE))
    if kind == "jpeg 2000":
        stream = io.BytesIO()
        Image.fromarray(IMAGE).save(stream, "JPEG2000", irreversible=False, no_jp2=True)
        return stream.getvalue()

    data = ct_dataset(IMAGE)
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    data.compress("1.2.840.10008.1.2.5", encoding_plugin="pydicom")
    return pydicom.encaps.get_frame(data.PixelData, 0, number_of_frames=1)


@cache
def other(name: str) -> bytes:
    stream = io.BytesIO()
    if name.endswith("png"):
        Image.fromarray(IMAGE * np.uint16(20)).save(stream, "PNG")
    elif name.endswith("npy"):
        np.save(stream, IMAGE.astype(np.float32)[None] - 1024)
    else:
        volume = nibabel.Nifti1Image(np.stack([IMAGE.astype(np.int16) - 1024] * 3, -1), np.diag([-0.7, -0.8, 2, 1]))
        stream.write(volume.to_bytes())
        return zlib.compress(stream.getvalue(), wbits=31) if name.endswith("gz") else stream.getvalue()
    return stream.getvalue()


def damaged(whole: bytes, rng, head: int) -> bytes:
    """Bytes exchanged, mostly in the header; or cut off, cut out, doubled."""
    data, way = bytearray(whole), rng.integers(6)
    if way == 0:
        return bytes(data[: rng.integers(len(data))])
    if way == 1:
        at, size = int(rng.integers(len(data))), int(rng.integers(1, 200))
        return (
            bytes(data[:at] + data[at + size :]) if rng.random() < 0.5 else bytes(data[:at] + data[at : at + size] * 2)
        )
    stop = len(data) if way == 2 else min(head, len(data))
    for at in rng.integers(0, stop, rng.choice([1, 2, 5, 20])):
        data[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)])
    return bytes(data)


def lying_dicom(rng) -> bytes:
    """Fields with impossible values, one to three of them, in the bytes: no writer would let them through."""
    data = dicom(rng.choice(["plain", "jpeg lossless"]))
    for _ in range(rng.integers(1, 4)):
        text = rng.random() < 0.5
        name = str(rng.choice(TEXT_FIELDS if text else SHORT_FIELDS))
        tag = pydicom.datadict.tag_for_keyword(name)
        at = data.find(struct.pack("<HH", tag >> 16, tag & 0xFFFF), 132)
        if at >= 0:
            size = struct.unpack_from("<H", data, at + 6)[0]
            short = int(rng.choice([0, 1, 2, 3, 11, 12, 16, 17, 20, 24, 32, 64, 255, 4096, 65535]))
            value = str(rng.choice(NUMBERS)).encode() if text else struct.pack("<H", short)
            value += b" " * (len(value) % 2)
            data = data[: at + 6] + struct.pack("<H", len(value)) + value + data[at + 8 + size :]
    return data


def sealed(png: bytes) -> bytes:
    """A PNG with right checksums, as far as its chunks can be followed."""
    out, at = png[:8], 8
    while at + 12 <= len(png) and (stop := at + 8 + int.from_bytes(png[at : at + 4], "big")) + 4 <= len(png):
        out += png[at:stop] + struct.pack(">I", zlib.crc32(png[at + 4 : stop]))
        at = stop + 4
    return out + png[at:]


def lying_png(rng) -> bytes:
    """A header of another size, depth or color."""
    width, height = (int(v) for v in (rng.choice([20, 20, 0, 1, 5000, 2**31 - 1]), rng.choice([24, 24, 1, 23, 5000])))
    depth, color = int(rng.choice([1, 2, 8, 16, 16])), int(rng.choice([0, 0, 0, 2, 3, 4]))
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(rng.integers(2)))
    whole = other("a.png")
    return sealed(whole[:16] + head + whole[29:])


def lying_nifti(rng) -> bytes:
    data = bytearray(other("a.nii"))
    for _ in range(rng.integers(1, 4)):
        kind = rng.integers(4)
        if kind == 0:  # dim[0] ... dim[7]
            struct.pack_into(
                "<h", data, 40 + 2 * int(rng.integers(8)), int(rng.choice([-1, 0, 1, 3, 7, 30, 4000, 32767]))
            )
        elif kind == 1:  # pixdim, vox_offset, scl_slope, scl_inter, quaternion and sform
            at = int(rng.choice([*range(76, 120, 4), *range(256, 328, 4)]))
            struct.pack_into("<f", data, at, float(rng.choice([0, -1, np.nan, np.inf, 1e38, 1e-38, 7])))
        elif kind == 2:  # datatype, bitpix, form codes
            struct.pack_into(
                "<h", data, int(rng.choice([70, 72, 252, 254])), int(rng.choice([0, 1, 2, 8, 64, 128, 1536, -3]))
            )
        else:
            data[123] = rng.integers(256)
    return bytes(data) if rng.random() < 0.5 else zlib.compress(bytes(data), wbits=31)


def lying_npy(rng) -> bytes:
    kinds = ("<f4", ">i2", "|u1", "<c8", "|O", "|S4", "|b1", "<M8[s]", "<f2", "|V8")
    shapes = (
        "(24, 20)",
        "(0, 20)",
        "(1,)",
        "()",
        "(-1, 20)",
        "(10**9, 10**9)",
        "(1, 24, 20, 1)",
        "(24, 20, 1)",
        "(2.5, 3)",
    )
    header = (
        f"{{'descr': '{rng.choice(kinds)}', 'fortran_order': {rng.random() < 0.5}, 'shape': {rng.choice(shapes)}, }}"
    )
    header = header.ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + rng.bytes(int(rng.choice([0, 960, 1920])))


CASES = {  # name: how a seed becomes the bytes of a file of this name
    **{f"{k}.dcm": lambda rng, k=k: damaged(dicom(k), rng, 1100) for k in ("plain", "deflated", *SYNTAXES)},
    "lying.dcm": lying_dicom, "lying.png": lying_png, "lying.nii": lying_nifti, "lying.npy": lying_npy,
    "a.png": lambda rng: sealed(damaged(other("a.png"), rng, 60)),
    "a.npy": lambda rng: damaged(other("a.npy"), rng, 140),
    "a.nii": lambda rng: damaged(other("a.nii"), rng, 360),
    "a.nii.gz": lambda rng: damaged(other("a.nii.gz"), rng, 300),
}  # fmt: skip


def outcome(path: Path, unit: str | None) -> str:
    """What became of a file: "image", or the field of its one typed error."""
    found = None
    try:
        found = load_slice(path, unit=unit)
    except (DataError, ArgumentError) as raised:
        error = raised
    if found is None:
        assert "\n" not in str(error)
        assert isinstance(error, DataError) or error.argument == "unit"
        return getattr(error, "field", "unit")
    assert found.image.dtype == torch.float32
    assert found.image.ndim == 2
    assert found.image.numel() > 0
    assert bool(torch.isfinite(found.image).all())
    low, high = {"HU": (-1000, 32768), "1": (0, 1), "1/mm": (-10, 10)}[found.unit]
    assert low <= float(found.image.min()) <= float(found.image.max()) <= high
    assert found.spacing_mm is None or all(1e-4 <= s <= 100 for s in found.spacing_mm)
    assert "\n" not in found.describe()
    return "image"


def tried(name: str, seed: int, folder: Path) -> str:
    rng = np.random.default_rng([list(CASES).index(name), seed])
    content = CASES[name](rng)
    gz = content[:2] == b"\x1f\x8b" and name.endswith(".nii")
    path = folder / (name + ".gz" if gz else name)
    path.write_bytes(content)
    unit = None if name.endswith(".dcm") else (None, "HU", "gray")[seed % 3]
    return outcome(path, unit)


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("name", CASES)
def test_damaged_and_lying_files(tmp_path, name, hurry):
    ends = Counter()
    for seed in range(60):
        hurry(10)
        ends[tried(name, seed, tmp_path)] += 1
    assert ends["image"] < 60
    assert len(ends) > 1, "the damage is too small or too large to test anything"


@pytest.mark.usefixtures("silent")
def test_a_folder_of_damaged_files_beside_good_ones(tmp_path, hurry):
    """The good slices are read, whatever lies beside them."""
    hurry(30)
    for k in range(3):
        data = pydicom.dcmread(io.BytesIO(dicom("plain")))
        data.ImagePositionPatient, data.SOPInstanceUID = ["-10", "-20", f"{3 * k}"], f"1.2.{k}"
        data.save_as(tmp_path / f"{k}.dcm")
    for seed in range(40):
        (tmp_path / f"bad{seed}.dcm").write_bytes(dicom("plain")[: 100 + 20 * seed])
    s = read_ct_series(tmp_path)
    assert (len(s.volume), s.runs) == (3, ((0, 3),))
    assert sum(n for _, n in s.set_aside) == 40
