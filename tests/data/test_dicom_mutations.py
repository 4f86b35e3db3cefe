"""CT_small.dcm damaged in 300 ways, from seeds: a sound HU image or one DataError, at once and in silence."""

import io
import warnings
from collections import Counter

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from test_dicom import outcome

from ctlib.errors import DataError

SOURCE = open(get_testdata_file("CT_small.dcm", download=False), "rb").read()  # noqa: SIM115
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    RAW = dict(pydicom.dcmread(io.BytesIO(SOURCE))._dict)
ELEMENTS = [e for e in RAW.values() if isinstance(e, pydicom.dataelem.RawDataElement) and e.length > 0]
PIXELS = next(e.value_tell for e in ELEMENTS if e.tag == 0x7FE00010)
USED = [e for e in ELEMENTS if e.tag.group in (0x0028, 0x7FE0) or pydicom.datadict.keyword_for_tag(e.tag) in {
    "Modality", "PatientID", "SOPInstanceUID", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness",
    "SpecificCharacterSet"}]  # fmt: skip
JUNK = [
    b"nan",
    b"inf",
    b"-1",
    b"0",
    b"1e300",
    b"",
    b"\xff\xff",
    b"\\\\",
    b"1\\2\\3",
    b"MR",
    b"\0\0\0\0",
    b"\xd0\xcf \x80",
]


def flip(data: bytearray, rng: np.random.Generator, start: int, stop: int) -> bytearray:
    for at in rng.integers(start, stop, rng.choice([1, 4, 32])):
        data[at] ^= 1 << rng.integers(8)
    return data


def header(data, rng):
    return flip(data, rng, 128, PIXELS)


def anywhere(data, rng):
    return flip(data, rng, 0, len(data))


def truncate(data, rng):
    return data[: rng.integers(0, len(data))]


def cut_out(data, rng):
    start = int(rng.integers(128, len(data)))
    return data[:start] + data[start + int(rng.integers(1, 400)) :]


def overwrite_value(data, rng):
    e = USED[rng.integers(len(USED))]
    size = min(e.length, 64)
    junk = JUNK[rng.integers(len(JUNK))].ljust(size)[:size] if rng.random() < 0.6 else rng.bytes(size)
    data[e.value_tell : e.value_tell + size] = junk
    return data


def overwrite_head(data, rng):
    """Tag, VR or length of an element."""
    e = USED[rng.integers(len(USED))]
    at = e.value_tell - 8 + 2 * int(rng.integers(4))
    data[at : at + 2] = rng.choice([rng.bytes(2), b"\xff\xff", b"\0\0", b"SQ", b"UN", b"DS", b"US"])
    return data


MUTATIONS = (header, anywhere, truncate, cut_out, overwrite_value, overwrite_head)


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda f: f.__name__)
def test_damaged_files(tmp_path, mutation, hurry):
    ends = Counter()
    for seed in range(50):
        path = tmp_path / f"{seed}.dcm"
        path.write_bytes(bytes(mutation(bytearray(SOURCE), np.random.default_rng([MUTATIONS.index(mutation), seed]))))
        hurry(10)
        result = outcome(path)
        if isinstance(result, DataError):
            ends[result.field] += 1
        else:
            ends["image"] += 1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                declared = pydicom.dcmread(path)
            assert result.image.shape == (declared.Rows, declared.Columns), seed
    assert ends.total() == 50
    assert len(ends) > 1, "the damage is too small or too large to test anything"
