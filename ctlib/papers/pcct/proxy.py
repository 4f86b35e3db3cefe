"""A network in place of the solver, trained on its values and on its derivatives."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ctlib import contract
from ctlib.decompose.mle import decompose_mle
from ctlib.decompose.sensitivity import counts_jacobian
from ctlib.errors import ArgumentError
from ctlib.physics.arrays import numbers
from ctlib.physics.counts import require_stream
from ctlib.physics.model import SpectralModel


class ProxyDecomposition(nn.Module):
    """Path lengths (..., M) [g/cm2] from counts (..., E): the log counts through three hidden layers of SiLU.

    open_beam  (E,) counts without an object
    low, high  (M,) range of the path lengths [g/cm2], which scales the output
    log_range  l = log(open_beam / counts) at the dark end, which scales the input
    """

    def __init__(self, open_beam: Tensor, low: Tensor, high: Tensor, log_range: float = 6.0, width: int = 64):
        super().__init__()
        contract.together((None,), low=low, high=high)
        for name, value in (("open_beam", open_beam), ("low", low), ("high", high)):
            if contract.tensor(name, value, (None,)).ndim != 1:
                raise ArgumentError(name, f"shape {tuple(value.shape)}", "one axis")
        contract.alike("open_beam", open_beam, "low", low)
        log_range, width = contract.number("log_range", log_range, above=0), contract.count("width", width, 1)
        self.register_buffer("open_beam", open_beam.detach().clone())
        self.register_buffer("low", low.detach().clone())
        self.register_buffer("high", high.detach().clone())
        self.log_range = log_range
        first = [nn.Linear(len(open_beam), width), nn.SiLU()]
        hidden = [layer for _ in range(2) for layer in (nn.Linear(width, width), nn.SiLU())]
        self.layers = nn.Sequential(*first, *hidden, nn.Linear(width, len(low)))

    def forward(self, counts: Tensor) -> Tensor:
        contract.tensor("counts", counts, (len(self.open_beam),))
        contract.alike("counts", counts, "the network", self.low)
        logs = torch.log(self.open_beam / counts.clamp_min(0.5))
        return self.low + (self.high - self.low) * (0.5 + self.layers(2 * logs / self.log_range - 1))


def relative_jacobian(net: nn.Module, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Path lengths (P, M) of the network and dA / d log counts (P, M, E), differentiable in its parameters."""
    if contract.tensor("counts", counts, (None,)).ndim != 2:
        raise ArgumentError("counts", f"shape {tuple(counts.shape)}", "(P, E)")
    counts = counts.detach().requires_grad_()
    paths = net(counts)
    rows = [torch.autograd.grad(paths[:, k].sum(), counts, create_graph=True)[0] for k in range(paths.shape[1])]
    return paths, torch.stack(rows, 1) * counts[:, None, :]


class WithJacobian(nn.Module):
    """Counts (P, E) -> path lengths and relative derivatives of a network, `relative_jacobian`."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        return relative_jacobian(self.net, counts)


def sobolev_loss(
    estimate: tuple[Tensor, Tensor], paths: Tensor, jacobian: Tensor, size: Tensor, beta: float
) -> Tensor:  # fmt: skip
    """|A - A*|^2 + beta |dA/dlog counts - G|^2, per pixel, {cite}`czarnecki2017` and {eq}`pcct-sobolev`.

    estimate  A (P, M) and dA/dlog counts (P, M, E) of the network
    paths     A* (P, M) of the solver;  jacobian  G (P, M, E), its derivatives in the log counts
    size      (M,) the output's range, in units of which both differences are taken
    """
    found, slope = estimate
    beta = contract.number("beta", beta, at_least=0)
    for name, value, like in (("paths", paths, found), ("jacobian", jacobian, slope)):
        if contract.alike(name, contract.tensor(name, value), "the estimate", like).shape != like.shape:
            raise ArgumentError(name, f"shape {tuple(value.shape)}", f"that of the estimate, {tuple(like.shape)}")
    if contract.alike("size", contract.tensor("size", size), "paths", paths).shape != found.shape[-1:]:
        raise ArgumentError("size", f"shape {tuple(size.shape)}", f"({found.shape[-1]},)")
    values = ((found - paths) / size).square().sum(-1)
    return (values + beta * ((slope - jacobian) / size[:, None]).square().sum((-2, -1))).mean()


def solver_samples(
    model: SpectralModel, low, high, num: int, generator: torch.Generator, box=((-5, 35), (-5, 10)), noisy: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Counts (P, E), the solver's path lengths (P, M) and dA* / d log counts (P, M, E) for random path lengths.

    Path lengths are even over [low, high]; counts are drawn from their Poisson law, or are its mean. float64.
    """
    num, place = contract.count("num", num, 1), torch.zeros((), device=getattr(generator, "device", "cpu"))
    require_stream(generator, "low", place)
    low, high = (numbers(n, t).to(place.device, torch.float64) for n, t in (("low", low), ("high", high)))
    if low.shape != (model.num_materials,) or high.shape != low.shape:
        raise ArgumentError("low, high", (tuple(low.shape), tuple(high.shape)), f"({model.num_materials},) both")
    paths = low + (high - low) * torch.rand(num, len(low), dtype=torch.float64, generator=generator, device=low.device)
    counts = model(paths)
    counts = torch.poisson(counts, generator=generator) if noisy else counts
    found, info = decompose_mle(model, counts, box, return_info=True)
    kept = info.converged & info.condition.isfinite()
    counts, found = counts[kept], found[kept]
    return counts, found, counts_jacobian(model, counts, found, box) * counts[:, None, :]
