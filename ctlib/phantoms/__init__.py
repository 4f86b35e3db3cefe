"""Test objects with known line integrals, and plausible anatomy made from them."""

from ctlib.phantoms.ellipsoids import Ellipsoids
from ctlib.phantoms.shepp_logan import shepp_logan
from ctlib.phantoms.texture import band_limited_texture
from ctlib.phantoms.torso import torso, torso_slice

__all__ = ["Ellipsoids", "band_limited_texture", "shepp_logan", "torso", "torso_slice"]
