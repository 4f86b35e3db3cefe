"""Material decomposition: from counts in energy bins to path lengths of basis materials."""

from ctlib.decompose.images import decompose_images, effective_attenuation
from ctlib.decompose.mle import Decomposition, decompose_mle
from ctlib.decompose.reference.simplex import decompose_simplex
from ctlib.decompose.reference.unrolled import decompose_unrolled
from ctlib.decompose.sensitivity import counts_jacobian, cramer_rao, fisher_information, jacobian_determinant

__all__ = [
    "Decomposition",
    "counts_jacobian",
    "cramer_rao",
    "decompose_images",
    "decompose_mle",
    "decompose_simplex",
    "decompose_unrolled",
    "effective_attenuation",
    "fisher_information",
    "jacobian_determinant",
]
