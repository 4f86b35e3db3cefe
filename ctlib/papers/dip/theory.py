"""Why stopping early denoises: the fit linearized around its start, and what it predicts."""

import torch
from torch import Tensor, nn

from ctlib import contract
from ctlib.errors import ArgumentError


def tangent_kernel(net: nn.Module, z: Tensor) -> Tensor:
    """K = J J^T of the output f_theta(z) at the present weights, {cite}`jacot2018`: (N, N) for N pixels, float64.

    J[i] = d f_i / d theta
    """
    parameters = [p for p in net.parameters() if p.requires_grad]
    f = net(z).flatten()
    rows = []
    for i in range(f.numel()):
        g = torch.autograd.grad(f[i], parameters, retain_graph=True)
        rows.append(torch.cat([t.flatten() for t in g]))
    J = torch.stack(rows).double()
    return J @ J.T


def mean_frequency(images: Tensor) -> Tensor:
    """Power-weighted mean spatial frequency [cycles/pixel] of each image: (..., Y, X) -> (...)."""
    images = contract.tensor("images", images, ("Y", "X"))
    if 0 in images.shape[-2:]:
        raise ArgumentError("images", f"shape {tuple(images.shape)}", "images with pixels")
    if not images.numel():
        return images.sum((-2, -1))
    power = torch.fft.fft2(images).abs().square()
    fy, fx = (torch.fft.fftfreq(n, dtype=torch.float64) for n in images.shape[-2:])
    fy, fx = fy.to(images.device), fx.to(images.device)
    f = torch.sqrt(fy[:, None] ** 2 + fx**2)
    return (power * f).sum((-2, -1)) / power.sum((-2, -1))


def _flow(kappa: Tensor, initial: Tensor, sigma: float, t: Tensor) -> tuple[Tensor, Tensor, float, Tensor]:
    """The arguments of the two laws below, checked."""
    kappa, initial = contract.together(("N",), kappa=kappa, initial=initial)
    t = contract.alike("t", contract.tensor("t", t), "kappa", kappa)
    if not kappa.ndim == initial.ndim == t.ndim == 1:
        shapes = [tuple(v.shape) for v in (kappa, initial, t)]
        raise ArgumentError("kappa, initial, t", f"shapes {shapes}", "(N,), (N,) and (T,)")
    return kappa, initial, contract.number("sigma", sigma, at_least=0, at_most=1e100), t


def expected_error(kappa: Tensor, initial: Tensor, sigma: float, t: Tensor) -> Tensor:
    """Expected squared error to the truth along the gradient flow of the linearized fit: (T,) for times t (T,).

        sum_j  exp(-2 kappa_j t) initial_j^2 + sigma^2 (1 - exp(-kappa_j t))^2

    kappa    (N,) eigenvalues of the tangent kernel
    initial  (N,) error f_0 - x_gt at t = 0 in its eigenvectors
    sigma    standard deviation of the white noise in the target
    """
    kappa, initial, sigma, t = _flow(kappa, initial, sigma, t)
    decay = torch.exp(-kappa * t[:, None])
    return (decay.square() * initial.square() + sigma**2 * (1 - decay).square()).sum(-1)


def expected_energy(kappa: Tensor, initial: Tensor, sigma: float, t: Tensor) -> Tensor:
    """Expected data energy along the same flow, which falls for every t: (T,).

    sum_j  exp(-2 kappa_j t) (initial_j^2 + sigma^2)
    """
    kappa, initial, sigma, t = _flow(kappa, initial, sigma, t)
    return (torch.exp(-2 * kappa * t[:, None]) * (initial.square() + sigma**2)).sum(-1)
