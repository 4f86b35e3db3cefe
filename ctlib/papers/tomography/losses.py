"""What a sampler of reconstructions is trained on: Gaussian likelihoods, the two-sample KL term, Wasserstein losses.

Line integrals y, their estimate mu and its deviation sigma have shape (B, V, U) or any other; all losses are means per
ray, so that the weight lam of the critic does not depend on the geometry. Half precision and integers are promoted.
"""

import math

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError

FACTORS = {"ml": 0.25, "unbiased": 0.5}  # c in s^2 = c (y1 - y2)^2
DIRECTIONS = ("fit || target", "target || fit")
EULER_GAMMA = 0.5772156649015329


def rays(**values: Tensor) -> list[Tensor]:
    """Tensors whose shapes spread over each other, promoted to the widest of their dtypes, float32 at least."""
    return contract.together(promote=True, **values)


def ray_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over all rays, or over those where the mask (bool, broadcast to values) holds: 0 where it holds nowhere."""
    (values,) = rays(values=values)
    if mask is None or not values.numel():
        return values.mean()
    mask = contract.spreads("mask", contract.mask("mask", mask, ()), values.shape).expand_as(values)
    if mask.device != values.device:
        raise ArgumentError("mask", f"a mask on {mask.device}", f"one on {values.device}, as the values")
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp_min(1)


def mean_loss(y: Tensor, mu: Tensor, mask: Tensor | None = None) -> Tensor:
    """Stage 1: (y - mu)^2, least at mu = E[y | r], {eq}`gtr-mean`."""
    y, mu = rays(y=y, mu=mu)
    return ray_mean((y - mu).square(), mask)


def gaussian_nll(y: Tensor, mu: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
    """Stage 2: ((y - mu)/sigma)^2 + 2 log sigma, which is -2 log p(y) - log 2 pi, {eq}`gtr-nll`.

    For a fixed mu it is least at sigma^2 = E[(y - mu)^2 | r].
    """
    y, mu, sigma = rays(y=y, mu=mu, sigma=sigma)
    return ray_mean(((y - mu) / sigma).square() + 2 * sigma.log(), mask)


def gaussian_kl(m: Tensor, s: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """KL(N(m, s^2) || N(mu, sigma^2)) of every ray, {eq}`gtr-kl`.

    log(sigma / s) + (s^2 + (m - mu)^2) / (2 sigma^2) - 1/2
    """
    m, s, mu, sigma = rays(m=m, s=s, mu=mu, sigma=sigma)
    return (sigma / s).log() + (s.square() + (m - mu).square()) / (2 * sigma.square()) - 0.5


def distillation_loss(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], mask: Tensor | None = None
) -> Tensor:  # fmt: skip
    """KL(teacher || student) of two Gaussians (mean, deviation): 0 where they are the same, {eq}`gtr-distillation`."""
    for name, pair in (("student", student), ("teacher", teacher)):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ArgumentError(name, type(pair).__name__, "mean and deviation")
    return ray_mean(gaussian_kl(*teacher, *student), mask)


def data_term(y: Tensor, mu: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
    """|y - mu|^2_sigma / rays, the first term of {eq}`gtr-objective`. Its expectation charges for the variance of y."""
    y, mu, sigma = rays(y=y, mu=mu, sigma=sigma)
    return ray_mean(((y - mu) / sigma).square(), mask)


def fitted_gaussian(y1: Tensor, y2: Tensor, estimator: str = "ml") -> tuple[Tensor, Tensor]:
    """Mean and variance of a Gaussian fitted to two samples, {eq}`gtr-fit`: m = (y1 + y2)/2, s^2 = c (y1 - y2)^2.

    estimator  "ml": c = 1/4; "unbiased": c = 1/2
    """
    contract.choice("estimator", estimator, tuple(FACTORS))
    y1, y2 = rays(y1=y1, y2=y2)
    return (y1 + y2) / 2, FACTORS[estimator] * (y1 - y2).square()


def two_sample_kl(
    y1: Tensor, y2: Tensor, mu: Tensor, sigma: Tensor, mask: Tensor | None = None, estimator: str = "ml",
    direction: str = "fit || target", eta: float = 0.05,
) -> Tensor:  # fmt: skip
    """KL between the Gaussian fitted to two samples and N(mu, sigma^2), mean per ray, {eq}`gtr-two-sample`.

    direction  "target || fit" has an infinite expectation and is there to show it
    eta        s^2 + (eta sigma)^2 takes the place of s^2: finite where the samples agree. 0 is the formula itself.

    In float32 even under autocast, as (y1 - y2)^2 underflows in half precision.
    """
    contract.choice("direction", direction, DIRECTIONS)
    eta = contract.number("eta", eta, at_least=0)
    y1, y2, mu, sigma = rays(y1=y1, y2=y2, mu=mu, sigma=sigma)
    m, variance = fitted_gaussian(y1, y2, estimator)
    fit, target = (m, (variance + (eta * sigma).square()).sqrt()), (mu, sigma)
    pair = (*fit, *target) if direction == DIRECTIONS[0] else (*target, *fit)
    return ray_mean(gaussian_kl(*pair), mask)


def calibrated_ratio(estimator: str = "ml") -> float:
    """tau / sigma of the samples that minimize the expected two-sample KL, 1 / sqrt(2 c + 1/2), {eq}`gtr-ratio`.

    1 for "ml", sqrt(2/3) for "unbiased" (eta = 0, independent Gaussian samples).
    """
    return (2 * FACTORS[contract.choice("estimator", estimator, tuple(FACTORS))] + 0.5) ** -0.5


def kl_floor(estimator: str = "ml") -> float:
    """Least expectation of the two-sample KL, not 0, {eq}`gtr-floor`: 0.982 for "ml".

    (log((2 c + 1/2) / (2 c)) + gamma + log 2) / 2,    gamma Euler's constant
    """
    c = FACTORS[contract.choice("estimator", estimator, tuple(FACTORS))]
    return 0.5 * (math.log((2 * c + 0.5) / (2 * c)) + EULER_GAMMA + math.log(2))


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """E D(x) - E D(G), {cite}`arjovsky2017` with D low on real images: its minimum over D is -c W1."""
    (real,), (fake,) = rays(real=real), rays(fake=fake)
    if real.device != fake.device:
        raise ArgumentError("fake", f"scores on {fake.device}", f"some on {real.device}, as real")
    return real.mean() - fake.mean()
