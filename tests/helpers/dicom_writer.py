"""Small CT files in the format scanners write: enough to read back, little enough to break on purpose."""

import io
import warnings
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

SYNTAXES = {"explicit": ExplicitVRLittleEndian, "implicit": ImplicitVRLittleEndian}


def ct_dataset(stored: np.ndarray, z: float = 0.0, **changes: object) -> Dataset:
    """A CT slice of 16-bit values at height z; `changes` sets fields by keyword, None removes one."""
    rows, cols = stored.shape
    signed = int(stored.dtype.kind == "i")
    defaults = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "SOPInstanceUID": f"1.2.3.{round(1000 * z) + 10**6}",
        "SeriesInstanceUID": "1.2.4", "Modality": "CT", "PatientID": "P1", "Rows": rows, "Columns": cols,
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16,
        "HighBit": 15, "PixelRepresentation": signed, "RescaleSlope": "1", "RescaleIntercept": "-1024",
        "PixelSpacing": ["0.8", "0.7"], "ImagePositionPatient": ["-10", "-20", f"{z:g}"],
        "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"], "SliceThickness": "3", "PixelData": stored.tobytes(),
    }  # fmt: skip
    data = Dataset()
    for name, value in {**defaults, **changes}.items():
        if name == "PixelData" and value is not None:
            data.add_new("PixelData", "OW", value)
        elif value is not None:
            setattr(data, name, value)
    return data


def write_ct(path: Path, stored: np.ndarray, z: float = 0.0, syntax: str = "explicit", **changes: object) -> Path:
    """Write `ct_dataset(stored, z, **changes)`, values that break the standard included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = ct_dataset(stored, z, **changes)
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = SYNTAXES[syntax]
        data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        stream = io.BytesIO()
        data.save_as(stream, enforce_file_format=True)
    path.write_bytes(stream.getvalue())
    return path


def write_series(folder: Path, count: int = 4, syntax: str = "explicit", step: float = 3.0, **changes) -> np.ndarray:
    """`count` slices of 6 x 5, file names in reverse of their height; returns the stored values in height order."""
    folder.mkdir(exist_ok=True)
    stored = np.random.default_rng(3).integers(0, 3000, (count, 6, 5)).astype(np.uint16)
    for k in range(count):
        write_ct(folder / f"{count - k:02d}.dcm", stored[k], step * k - 4.5, syntax, **changes)
    return stored
