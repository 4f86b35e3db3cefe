"""Tiny scans in the DICOM-CT-PD format: one file a view, private fields as the scanners write them."""

import numpy as np
from dicom_writer import write_ct

from ctlib.papers.hqinet.ct_pd_fields import TAGS

DETECTOR = (3, 5)  # rows, columns


def fields_of(view: int, **changes) -> dict:
    """Private fields of one view, by the reader's names; None removes one."""
    values = {
        "num_rows": DETECTOR[0], "num_cols": DETECTOR[1], "col_width_mm": 1.25, "row_height_mm": 1.0,
        "shape": "CYLINDRICAL", "angle_rad": 0.5 * view, "z_mm": -10.0 + 0.25 * view, "radius_mm": 595.0,
        "source_detector_mm": 1085.5, "central_element": (3.25, 2.0), "shift_angle_rad": 0.001 * (-1) ** view,
        "shift_z_mm": 0.0, "shift_radius_mm": 0.5, "views_per_turn": 12, "is_log": "YES",
        "quanta": tuple(1000.0 + 10 * view + k for k in range(DETECTOR[1])), "mu_water": "0.192",
    }  # fmt: skip
    return {**values, **changes}


def write_views(folder, count=6, syntax="explicit", transposed=True, breaks=None, **changes):
    """`count` views with file names in reverse; returns the stored values (V, R, U). breaks = {view: {field: value}}"""
    folder.mkdir(parents=True, exist_ok=True)
    stored = np.random.default_rng(5).integers(0, 60000, (count, *DETECTOR)).astype(np.uint16)
    for k in range(count):
        values = {**changes, **(breaks or {}).get(k, {})}
        public = {name: values.pop(name) for name in list(values) if name not in TAGS}
        write_view(folder / f"{count - k:03d}.dcm", stored[k].T if transposed else stored[k], k, syntax,
                   fields_of(k, **values), public)  # fmt: skip
    return stored


def write_view(path, pixels, view, syntax, private, public):
    from pydicom.dataset import Dataset

    pixels = np.ascontiguousarray(pixels)
    write_ct(path, pixels, float(view), syntax, **{
        "InstanceNumber": view + 1, "RescaleSlope": "0.0001", "RescaleIntercept": "-0.5", "NumberOfFrames": None,
        "ImagePositionPatient": None, **public,
    })  # fmt: skip
    import warnings

    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data: Dataset = pydicom.dcmread(path)
        for name, value in private.items():
            if value is not None:
                tag, kind, _ = TAGS[name]
                data.add_new(tag, kind, list(value) if isinstance(value, tuple) else value)
        data.save_as(path)


def write_frames(folder, files=2, frames=3, syntax="explicit", **changes):
    """Several views a file, whose own fields then hold a number a frame; returns the stored values (V, R, U)."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = np.random.default_rng(6).integers(0, 60000, (files * frames, *DETECTOR)).astype(np.uint16)
    for k in range(files):
        each = [fields_of(v, **changes) for v in range(k * frames, (k + 1) * frames)]
        own = {n: tuple(e[n] for e in each) for n in ("angle_rad", "z_mm", "shift_angle_rad") if each[0][n] is not None}
        own["quanta"] = tuple(q for e in each for q in e["quanta"])
        pixels = stored[k * frames : (k + 1) * frames]
        public = {"NumberOfFrames": frames, "PixelData": np.ascontiguousarray(pixels.transpose(0, 2, 1)).tobytes()}
        write_view(folder / f"{files - k}", pixels[0].T, k, syntax, {**each[0], **own}, public)
    return stored
