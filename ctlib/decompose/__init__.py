"""Material decomposition: from counts in energy bins to path lengths of basis materials."""

from ctlib.decompose.images import decompose_images, effective_attenuation
from ctlib.decompose.mle import Decomposition, decompose_mle
from ctlib.decompose.proxy import ProxyDecomposition, fit_proxy, sobolev_loss, solver_samples
from ctlib.decompose.sensitivity import counts_jacobian, cramer_rao, fisher_information, jacobian_determinant
from ctlib.decompose.simplex import decompose_simplex
from ctlib.decompose.unrolled import decompose_unrolled

__all__ = [
    "Decomposition",
    "ProxyDecomposition",
    "counts_jacobian",
    "cramer_rao",
    "decompose_images",
    "decompose_mle",
    "decompose_simplex",
    "decompose_unrolled",
    "effective_attenuation",
    "fisher_information",
    "fit_proxy",
    "jacobian_determinant",
    "sobolev_loss",
    "solver_samples",
]
