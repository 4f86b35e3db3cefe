"""How X-rays become numbers; nothing here knows who inverts them."""

from ctlib.physics.attenuation import Material, k_edges, linear_attenuation, mass_attenuation
from ctlib.physics.counts import (
    expected_counts,
    line_integral_variance,
    line_integrals_from_counts,
    quantize,
    transmission_counts,
)
from ctlib.physics.detectors import Detector
from ctlib.physics.model import SpectralModel, virtual_monoenergetic
from ctlib.physics.spectrum import Spectrum

__all__ = [
    "Detector",
    "Material",
    "SpectralModel",
    "Spectrum",
    "expected_counts",
    "k_edges",
    "line_integral_variance",
    "line_integrals_from_counts",
    "linear_attenuation",
    "mass_attenuation",
    "quantize",
    "transmission_counts",
    "virtual_monoenergetic",
]
