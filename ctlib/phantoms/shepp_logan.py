"""The Shepp-Logan head phantom with the modified contrast in common use."""

import numpy as np

from ctlib import contract
from ctlib.phantoms.ellipsoids import Ellipsoids

#      value, half axes (x, y, z), center (x, y, z), angle in degrees; lengths in half fields of view
TABLE = np.array(
    [
        [1.0, 0.6900, 0.920, 0.81, 0.00, 0.0000, 0.00, 0],
        [-0.8, 0.6624, 0.874, 0.78, 0.00, -0.0184, 0.00, 0],
        [-0.2, 0.1100, 0.310, 0.22, 0.22, 0.0000, 0.00, -18],
        [-0.2, 0.1600, 0.410, 0.28, -0.22, 0.0000, 0.00, 18],
        [0.1, 0.2100, 0.250, 0.41, 0.00, 0.3500, -0.15, 0],
        [0.1, 0.0460, 0.046, 0.05, 0.00, 0.1000, 0.25, 0],
        [0.1, 0.0460, 0.046, 0.05, 0.00, -0.1000, 0.25, 0],
        [0.1, 0.0460, 0.023, 0.05, -0.08, -0.6050, 0.00, 0],
        [0.1, 0.0230, 0.023, 0.02, 0.00, -0.6060, 0.00, 0],
        [0.1, 0.0230, 0.046, 0.02, 0.06, -0.6050, 0.00, 0],
    ]
)


def shepp_logan(size_mm: float = 256.0, ndim: int = 2, mu_per_mm: float = 0.02) -> Ellipsoids:
    """Shepp-Logan phantom, {cite}`shepp1974` with the contrast of {cite}`toft1996`, in a field of view of size_mm.

    ndim       2, or 3 for the ellipsoids whose slice z = 0 shows the same head (the small ones lie off that plane)
    mu_per_mm  attenuation of the value 1, the skull [1/mm]
    """
    half, ndim = contract.number("size_mm", size_mm, above=0) / 2, contract.count("ndim", ndim, 2, 3)
    mu_per_mm = contract.number("mu_per_mm", mu_per_mm)
    return Ellipsoids(
        TABLE[:, 0] * mu_per_mm, TABLE[:, 4 : 4 + ndim] * half, TABLE[:, 1 : 1 + ndim] * half, np.deg2rad(TABLE[:, 7])
    )
