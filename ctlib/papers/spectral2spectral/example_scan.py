"""A scan as a laboratory would write it, where the reader has none: counts, flat fields and a description in files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ctlib.papers.spectral2spectral.scan import simulate
from ctlib.papers.spectral2spectral.specimens import RODS, rod_centers

NAMES = ("aluminium", "water", "iodine")


def write_example(folder: str | Path, n: int = 48, views: int = 60, counts: float = 3e4, seed: int = 1) -> Path:
    """Write scan.npy, flat.npy and scan.json of two slices of five rods, whose rods serve as vials; path of the scan.

    The flat field differs by column by a fifth, as a detector's does.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scan = simulate("rods", n, views, 2, counts, seed)
    g = scan.geometry
    gain = 1 + 0.2 * np.sin(np.arange(g.num_cols))
    rng = np.random.default_rng(seed)
    np.save(folder / "scan.npy", rng.poisson(scan.expected.numpy() * gain).astype(np.uint32))
    np.save(folder / "flat.npy", rng.poisson(scan.open_beam.numpy()[:, None] * gain, (20, 5, g.num_cols)))
    centers, axes = rod_centers(seed)
    vials = [
        {
            "x_mm": float(c[0]),
            "y_mm": float(c[1]),
            "radius_mm": float(a[0]),
            "densities": {name: d for name, d in zip(NAMES, rod, strict=True) if d},
        }
        for c, a, rod in zip(centers, axes, RODS, strict=True)
    ]
    about = {
        "voxel_mm": g.volume.voxel_mm[0],
        "num_pixels": n,
        "num_views": views,
        "num_cols": g.num_cols,
        "pitch_mm": g.pitch_mm,
        "source_origin_mm": g.source_origin_mm,
        "source_detector_mm": g.source_detector_mm,
        "flat": "flat.npy",
        "vials": vials,
    }
    (folder / "scan.json").write_text(json.dumps(about, indent=1))
    return folder / "scan.npy"
