"""Does an image agree with the data it came from? The misfit of its projections, in units of their uncertainty."""

from collections.abc import Callable

from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError


def data_misfit(
    project: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, sigma: Tensor | None = None
) -> Tensor:  # fmt: skip
    """Root mean square over the rays of (A x - y) / sigma, one number an image: (B, Y, X), (B, V, U) -> (B,).

    project   A
    y, sigma  line integrals and their standard deviations: the noise-free ones without sigma, for an error in nepers;
              or mu(r) and sigma(r), for the square root of the first term of {eq}`gtr-objective`, which is near 1 for
              the true image and larger for one that denies the readings
    """
    x = contract.tensor("x", x, ("Y", "X"))
    y = contract.alike("y", contract.tensor("y", y, ("V", "U")), "x", x)
    sigma = None if sigma is None else contract.alike("sigma", contract.tensor("sigma", sigma), "x", x)
    if x.ndim != 3 or y.ndim != 3 or len(x) != len(y) or (sigma is not None and sigma.shape != y.shape):
        given = (tuple(x.shape), tuple(y.shape), None if sigma is None else tuple(sigma.shape))
        raise ArgumentError("x, y, sigma", given, "(B, Y, X), (B, V, U) and the same as y's")
    off = project(x) - y
    return (off if sigma is None else off / sigma).square().mean((1, 2)).sqrt()
