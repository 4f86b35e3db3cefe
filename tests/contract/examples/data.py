"""Readers of files, the circle around a body, and samples of patients at two doses."""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from dicom_writer import write_series

from ctlib.data.tooth import tooth_scan
from ctlib.geometry import Volume

FILE = "what a reader found in a file, which it has checked"


@cache
def folder() -> tempfile.TemporaryDirectory:
    made = tempfile.TemporaryDirectory()
    write_series(Path(made.name) / "series", count=3)
    np.save(Path(made.name) / "volume.npy", np.linspace(-1000, 900, 60).reshape(3, 4, 5))
    return made


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


_P = "ctlib.data."
EXAMPLES = {
    _P + "dicom.read_ct_series": lambda: dict(folder=Path(folder().name) / "series", gap_tolerance=0.01),
    _P + "images.load_slice": lambda: dict(path=Path(folder().name) / "volume.npy", index=1, unit="HU"),
    _P + "images.turn": lambda: dict(image=rand(4, 3), way=5),
    _P + "images.window": lambda: dict(hu=1000 * rand(3, 4), low=-100.0, high=400.0),
    _P + "enclosing_circle.enclosing_circle": lambda: dict(points=rand(7, 2)),
    _P + "enclosing_circle.mask_circle": lambda: dict(mask=rand(5, 6) > 0.5),
    _P + "pairs.DosePair": lambda: dict(
        patient="P1", low=rand(3, 4, 4), full=rand(3, 4, 4, seed=1), truth=rand(3, 4, 4, seed=2)
    ),
    _P + "tooth.MeasuredScan.geometry": lambda: dict(
        call=tooth_scan().geometry, volume=Volume((8, 8), 40.0), axis_column=290.5
    ),
    _P + "pairs.split_patients": lambda: dict(ids=["L1", "L2", "L3", "L4"], shares={"a": 0.5, "b": 0.5}, seed=3),
}
SKIP = {
    _P + "anatomy.RealSlice": FILE,
    _P + "tooth.MeasuredScan": FILE,
    _P + "dicom.DicomSeries": FILE,
    _P + "dicom_folder.*": FILE,
    _P + "dicom_header.*": FILE,
    _P + "dicom_pixels.*": FILE,
    _P + "dicom_slice.*": FILE,
    _P + "fields.*": FILE,
    _P + "frame.*": FILE,
    _P + "images.CTSlice": FILE,
    _P + "jpeg_lossless.decode": FILE,
    _P + "nifti.*": FILE,
    _P + "stored_units.in_unit": FILE,
}
