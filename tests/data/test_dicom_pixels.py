"""Every legal way to store CT numbers gives the same HU; padding is air; compression is undone or named."""

import io
import warnings
import zlib

import numpy as np
import pydicom
import pytest
from dicom_writer import ct_dataset, write_ct
from jpeg_lossless_writer import encode
from pydicom.encaps import encapsulate

from ctlib.data import jpeg_lossless
from ctlib.data.dicom import read_ct_slice
from ctlib.errors import DataError

pytestmark = pytest.mark.usefixtures("silent")
STORED = np.random.default_rng(4).integers(30, 4000, (12, 10)).astype(np.uint16)
HU = STORED.astype(np.float32) - 1024


def compressed(path, syntax, stream, stored=STORED, **changes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = ct_dataset(stored, **changes)
        data.PixelData = encapsulate([stream])
        data["PixelData"].VR = "OB"
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = syntax
        data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = "1.2", "1.2.3"
        data["PixelData"].is_undefined_length = True
        data.save_as(path, enforce_file_format=True)
    return path


def image(path):
    return read_ct_slice(path, clip_padding=False).image.numpy()


def test_an_inverted_display_has_the_same_values(tmp_path):
    """The rescale maps stored numbers to HU before the display's polarity (PS3.3 C.7.6.3.1.2, C.11.1)."""
    assert np.array_equal(image(write_ct(tmp_path / "a.dcm", STORED, PhotometricInterpretation="MONOCHROME1")), HU)


@pytest.mark.parametrize("kind", ["HU", "US", None])
def test_rescale_types_of_hu(tmp_path, kind):
    assert np.array_equal(image(write_ct(tmp_path / "a.dcm", STORED, RescaleType=kind)), HU)


def test_signed_numbers_of_twelve_bits_without_their_sign_above(tmp_path):
    signed = np.array([[-1000, -1, 0, 5, 2047, -2048]], np.int16)
    bits = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1, "RescaleIntercept": "0"}
    for stored in (signed, signed.view(np.uint16) & 0x0FFF):
        assert image(write_ct(tmp_path / "a.dcm", stored, **bits)).tolist() == signed.tolist()


def test_numbers_beyond_their_bits_are_refused_unless_an_overlay_lies_there(tmp_path):
    bits = {"BitsStored": 12, "HighBit": 11}
    beyond = STORED | np.uint16(0x8000)
    with pytest.raises(DataError, match="BitsStored: is 12, but 120 pixels need more bits"):
        read_ct_slice(write_ct(tmp_path / "a.dcm", beyond, **bits))
    assert np.array_equal(image(write_ct(tmp_path / "b.dcm", STORED, **bits)), HU)
    data = ct_dataset(beyond, **bits)
    data.add_new(0x60000102, "US", 15)
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.save_as(tmp_path / "c.dcm")
    raw = (tmp_path / "c.dcm").read_bytes()
    (tmp_path / "c.dcm").write_bytes(raw)
    assert np.array_equal(image(tmp_path / "c.dcm"), HU)


PADDED = np.array([[0, 0, 0], [1000, 1024, 0], [1500, 900, 0]])


@pytest.mark.parametrize(
    ("stored", "changes", "expected"),
    [  # padding of 0 HU around the field of view is no water
        (PADDED, {"PixelPaddingValue": 0, "RescaleIntercept": "0"}, np.where(PADDED > 0, PADDED, -1000.0)),
        (PADDED, {"PixelPaddingValue": 0}, np.where(PADDED > 0, PADDED - 1024.0, -1000)),
        (np.where(PADDED > 0, PADDED, 63536), {"PixelPaddingValue": 63536},
         np.where(PADDED > 0, PADDED - 1024.0, -1000)),
        (np.where(PADDED > 0, PADDED, 65535), {"PixelPaddingValue": 65530, "PixelPaddingRangeLimit": 65535},
         np.where(PADDED > 0, PADDED - 1024.0, -1000)),
        (np.where(PADDED > 0, PADDED, 65533), {"PixelPaddingValue": 65535, "PixelPaddingRangeLimit": 65530},
         np.where(PADDED > 0, PADDED - 1024.0, -1000)),
        (np.where(PADDED > 0, PADDED, -2000), {"PixelPaddingValue": -2000, "RescaleIntercept": "0"},
         np.where(PADDED > 0, PADDED, -1000.0)),
        (np.where(PADDED > 0, PADDED, -3024), {"RescaleIntercept": "0"}, np.where(PADDED > 0, PADDED, -1000.0)),
    ],
)  # fmt: skip
def test_padding_is_air(tmp_path, stored, changes, expected):
    kind = np.int16 if stored.min() < 0 else np.uint16
    path = write_ct(tmp_path / "a.dcm", stored.astype(kind), **changes)
    raw = path.read_bytes()  # -2000 is often written as the unsigned number 63536
    path.write_bytes(raw.replace(b"\x28\x00\x20\x01SS", b"\x28\x00\x20\x01US"))
    s = read_ct_slice(path)
    assert np.array_equal(s.image.numpy(), expected.astype(np.float32))
    told = any("5 pixels of padding as -1000 HU" in w for w in s.understood)
    assert told == ("PixelPaddingValue" in changes)


def test_padding_beyond_the_stored_bits_and_without_its_sign(tmp_path):
    bits = {"BitsStored": 12, "HighBit": 11}
    beyond = np.where(PADDED > 0, PADDED, 63536).astype(np.uint16)  # -2000 in an unsigned image of twelve bits
    expected = np.where(PADDED > 0, PADDED - 1024.0, -1000)
    path = write_ct(tmp_path / "a.dcm", beyond, PixelPaddingValue=63536, **bits)
    assert np.array_equal(read_ct_slice(path).image.numpy(), expected)
    short = np.where(PADDED > 0, PADDED, 0x830).astype(np.uint16)  # -2000 in twelve bits of a signed image
    signed = {"PixelRepresentation": 1, "PixelPaddingValue": -2000, "RescaleIntercept": "1500"}
    path = write_ct(tmp_path / "b.dcm", short, **bits, **signed)
    assert np.array_equal(read_ct_slice(path).image.numpy(), np.where(PADDED > 0, PADDED + 1500.0, -1000))


def test_a_padding_value_inside_the_image_only_is_not_believed(tmp_path):
    stored = np.array([[5, 6, 7], [8, 1024, 9], [5, 6, 7]], np.uint16)
    s = read_ct_slice(write_ct(tmp_path / "a.dcm", stored, PixelPaddingValue=1024))
    assert float(s.image[1, 1]) == 0
    assert any("not taken as padding" in w for w in s.understood)


@pytest.mark.parametrize(
    ("name", "kind", "vr"), [("FloatPixelData", "<f4", "OF"), ("DoubleFloatPixelData", "<f8", "OD")]
)
def test_floating_point_pixels(tmp_path, name, kind, vr):
    floats = (STORED / 8).astype(kind)
    changes = {"PixelData": None, "BitsAllocated": 8 * floats.itemsize, name: floats.tobytes()}
    assert np.array_equal(image(write_ct(tmp_path / "a.dcm", STORED, **changes)), floats.astype(np.float32) - 1024)
    floats[0, 0] = np.nan
    with pytest.raises(DataError, match=f"{name}: holds values that are not finite"):
        read_ct_slice(write_ct(tmp_path / "a.dcm", STORED, **{**changes, name: floats.tobytes()}))
    with pytest.raises(DataError, match=f"{name}: has .* bytes"):
        read_ct_slice(write_ct(tmp_path / "a.dcm", STORED, **{**changes, name: floats.tobytes()[:-8]}))


def _saved(path, data, syntax, **options):
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = "1.2", "1.2.3"
    pydicom.dcmwrite(path, data, enforce_file_format=True, **options)
    return path


def test_big_endian_deflated_and_bare_files(tmp_path):
    big = ct_dataset(STORED, PixelData=STORED.astype(">u2").tobytes())
    assert np.array_equal(image(_saved(tmp_path / "b.dcm", big, pydicom.uid.ExplicitVRBigEndian)), HU)
    deflated = _saved(tmp_path / "d.dcm", ct_dataset(STORED), pydicom.uid.DeflatedExplicitVRLittleEndian)
    assert np.array_equal(image(deflated), HU)
    for implicit in (True, False):  # neither preamble nor meta information
        stream = io.BytesIO()
        pydicom.dcmwrite(stream, ct_dataset(STORED), implicit_vr=implicit, little_endian=True)
        (tmp_path / "bare").write_bytes(stream.getvalue())
        assert stream.getvalue()[:2] == b"\x08\0"
        assert np.array_equal(image(tmp_path / "bare"), HU)


def test_a_deflated_file_that_fills_the_memory_is_refused(tmp_path):
    path = _saved(tmp_path / "d.dcm", ct_dataset(STORED), pydicom.uid.DeflatedExplicitVRLittleEndian)
    raw, pump = path.read_bytes(), zlib.compressobj(9, zlib.DEFLATED, -15)
    start = 144 + pydicom.filereader.read_file_meta_info(path).FileMetaInformationGroupLength
    bomb = b"".join(pump.compress(bytes(2**24)) for _ in range(40)) + pump.flush()
    path.write_bytes(raw[:start] + bomb)
    with pytest.raises(DataError, match="TransferSyntaxUID: deflated, more than"):
        read_ct_slice(path)


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize(("bits", "lines"), [(16, 0), (12, 0), (16, 5)])
def test_jpeg_lossless_is_decoded_exactly(tmp_path, predictor, bits, lines):
    stream = encode(STORED, predictor, bits, lines)
    assert np.array_equal(jpeg_lossless.decode(stream, STORED.shape), STORED)
    path = compressed(tmp_path / "a.dcm", "1.2.840.10008.1.2.4.57", stream)
    assert np.array_equal(image(path), HU)
    signed = np.array([[-5, 7, -32768], [32767, 0, -1]], np.int16)
    stream = encode(signed.view(np.uint16), predictor)
    path = compressed(tmp_path / "b.dcm", "1.2.840.10008.1.2.4.70", stream, signed, RescaleIntercept="0")
    assert np.array_equal(image(path), signed)


def test_the_largest_difference_has_no_bits_of_its_own():
    image = np.array([[0, 32768, 0, 5], [32768, 0, 32773, 5]], np.uint16)
    assert np.array_equal(jpeg_lossless.decode(encode(image), image.shape), image)


def test_a_stream_of_another_size_is_refused_before_it_is_decoded(tmp_path):
    path = compressed(tmp_path / "a.dcm", "1.2.840.10008.1.2.4.70", encode(STORED), Columns=11)
    with pytest.raises(DataError, match=r"PixelData: cannot be decoded .*\(12, 10\).*\(12, 11\)"):
        read_ct_slice(path)


def test_rle_and_jpeg_2000(tmp_path):
    data = ct_dataset(STORED)
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.compress(pydicom.uid.RLELossless, encoding_plugin="pydicom")
    assert np.array_equal(image(_saved(tmp_path / "r.dcm", data, pydicom.uid.RLELossless)), HU)
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(STORED).save(stream, "JPEG2000", irreversible=False, no_jp2=True)
    assert np.array_equal(image(compressed(tmp_path / "j.dcm", "1.2.840.10008.1.2.4.90", stream.getvalue())), HU)


def test_jpeg_ls(tmp_path):
    jpeg_ls = pytest.importorskip("jpeg_ls")
    stream = bytes(jpeg_ls.encode_array(STORED))
    assert np.array_equal(image(compressed(tmp_path / "a.dcm", "1.2.840.10008.1.2.4.80", stream)), HU)


@pytest.mark.parametrize(
    ("syntax", "package"),
    [
        ("1.2.840.10008.1.2.4.51", "pylibjpeg pylibjpeg-libjpeg"),
        ("1.2.840.10008.1.2.4.201", "pylibjpeg pylibjpeg-openjpeg"),
    ],
)
def test_a_compression_without_decoder_names_the_package(tmp_path, syntax, package):
    path = compressed(tmp_path / "a.dcm", syntax, b"\xff\xd8\xff\xd9" * 8)
    with pytest.raises(DataError, match=f"TransferSyntaxUID: .*: needs a decoder, pip install {package}"):
        read_ct_slice(path)


@pytest.mark.parametrize("kind", ["1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"])
def test_many_slices_in_one_file_are_refused_with_advice(tmp_path, kind):
    with pytest.raises(DataError, match=r"NumberOfFrames: .*enhanced CT.*split"):
        read_ct_slice(write_ct(tmp_path / "a.dcm", STORED, SOPClassUID=kind))
