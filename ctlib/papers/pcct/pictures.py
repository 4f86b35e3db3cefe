"""What the chapter draws of the layer: its likelihood, and the surface of its solutions with the tangent plane."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ctlib import contract
from ctlib.decompose import counts_jacobian, decompose_mle
from ctlib.decompose.likelihood import negative_log_likelihood
from ctlib.papers.pcct.calibration import threshold_jacobian
from ctlib.physics.model import SpectralModel


def likelihood_map(model: SpectralModel, counts: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Deviance (P, Q) of one reading (E,) over path lengths first (P,) and second (Q,) [g/cm2] of two materials.

        2 (L(A) - sum_i gamma_i - gamma_i log gamma_i)

    0 where the model gives the counts exactly; its contour at 1 is one standard deviation from a minimum of 0.
    """
    contract.tensor("counts", counts, (model.num_bins,))
    first, second = (contract.tensor(n, t, (None,)) for n, t in (("first", first), ("second", second)))
    plane = torch.stack(torch.meshgrid(first, second, indexing="ij"), -1)
    least = negative_log_likelihood(counts.clamp_min(1e-12), counts)
    return 2 * (negative_log_likelihood(model(plane), counts) - least)


def perturbed(
    model: SpectralModel, at: Tensor, of: str, span: float, num: int, box, which: Sequence[int] = (0, 1)
) -> tuple[Tensor, Tensor]:
    """Solutions and their tangent plane (num, num, M) [g/cm2] when two counts or thresholds are moved, Fig. 5.

    at     path lengths (M,) around which is perturbed, where the solver starts
    of     "counts", by a share of them up to span, or "thresholds", up to span [keV]
    which  the two counts, or thresholds, that move: along the first axis and along the second
    NaN where the solver does not converge and, with as many bins as materials, where its best does not give the
    counts to 1e-6: beyond a fold no path lengths do.
    """
    contract.choice("of", of, ("counts", "thresholds"))
    s = torch.linspace(-span, span, contract.count("num", num, 2), dtype=torch.float64)
    moves = torch.zeros(num, num, model.num_bins, dtype=torch.float64)
    moves[..., which[0]], moves[..., which[1]] = s[:, None], s
    y, edges = model(at.double()), model.thresholds_kev.double()
    flat = moves.reshape(-1, model.num_bins)
    if of == "counts":
        slope = (counts_jacobian(model, y[None], at[None], box) * y)[0]
        readings, own = y * (1 + flat), None
    else:
        slope = threshold_jacobian(model, y[None], edges, box)[0] if model.num_bins > 2 else None
        readings, own = y.expand(len(flat), -1), torch.cat([edges[:-1] + flat, edges[-1:].expand(len(flat), 1)], -1)
    if slope is None:
        slope = own_branch_slope(model, y, edges, at, box)
    found, info = decompose_mle(
        model, readings, box, thresholds_kev=own, start=at.expand(len(flat), -1), return_info=True
    )
    kept = info.converged
    if model.num_bins == len(at):
        given = model(found, thresholds_kev=edges if own is None else own)
        kept = kept & ((given / readings - 1).abs().amax(-1) < 1e-6)
    found = torch.where(kept[:, None], found, torch.nan)
    return found.reshape(num, num, -1), at + moves @ slope.mT


def own_branch_slope(model: SpectralModel, y: Tensor, edges: Tensor, at: Tensor, box) -> Tensor:
    """dA*/dD (M, E) of the solution near `at`: where a model folds, the likelihood has another one."""
    own = edges[None].detach().clone().requires_grad_()
    paths = decompose_mle(model, y[None], box, thresholds_kev=own, start=at[None])
    rows = [torch.autograd.grad(paths[0, k], own, retain_graph=True)[0][0, :-1] for k in range(paths.shape[1])]
    return torch.stack(rows)
