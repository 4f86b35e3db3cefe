"""Losses between images: mean absolute error joined with structural similarity."""

from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.metrics import ssim_map


def l1_ssim_loss(
    estimate: Tensor, reference: Tensor, alpha: float = 0.85, beta: float = 0.15, *, data_range: float
) -> Tensor:  # fmt: skip
    """Weighted sum of two errors, both means over all their entries, {eq}`hqi-loss`, {cite}`lu2021`.

        L = alpha mean|x - r| + beta (1 - mean SSIM(x, r))

    estimate, reference  x, r of equal shape (..., Y, X), any unit; half precision, as of a network under autocast,
                         integers and two dtypes are promoted
    alpha, beta          >= 0, not both 0; a term of weight 0 is not computed
    data_range           of SSIM, `metrics.ssim_map`
    """
    estimate, reference = contract.together(("Y", "X"), promote=True, estimate=estimate, reference=reference)
    if estimate.shape != reference.shape:
        raise ArgumentError("estimate", tuple(estimate.shape), f"the shape of the reference, {tuple(reference.shape)}")
    alpha, beta = contract.number("alpha", alpha, at_least=0), contract.number("beta", beta, at_least=0)
    if alpha + beta == 0:
        raise ArgumentError("alpha, beta", (alpha, beta), "numbers >= 0, not both 0")
    loss = alpha * (estimate - reference).abs().mean() if alpha else 0.0
    return loss + beta * (1 - ssim_map(estimate, reference, data_range=data_range).mean()) if beta else loss
