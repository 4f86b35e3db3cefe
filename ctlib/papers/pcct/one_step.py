"""Material images straight from counts: penalized likelihood in one step, and two-step methods beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.decompose import fisher_information
from ctlib.decompose.likelihood import negative_log_likelihood
from ctlib.decompose.start import log_features
from ctlib.errors import ArgumentError, ConvergenceError
from ctlib.physics.model import SpectralModel
from ctlib.recon import fbp

WINDOW = 5  # iterations over which the objective must have gained little


@dataclass(frozen=True, eq=False)
class Polynomial:
    """An empirical decomposition: path lengths as a polynomial of the log counts, fitted on known path lengths.

    coefficients (F, M);  open_beam (E,);  degree 2 or 3: pure cubes are added
    """

    coefficients: Tensor
    open_beam: Tensor
    degree: int

    @classmethod
    def fitted(cls, model: SpectralModel, paths: Tensor, counts: Tensor, degree: int = 3) -> Polynomial:
        """Least squares on counts (P, E) of known path lengths (P, M), as slabs are measured."""
        contract.tensor("paths", paths, (model.num_materials,))
        open_beam = model(torch.zeros(model.num_materials, dtype=torch.float64))
        features = polynomial_features(counts.double(), open_beam, degree)
        return cls(torch.linalg.lstsq(features, paths.double()).solution, open_beam, degree)

    def __call__(self, counts: Tensor) -> Tensor:
        """Path lengths (..., M) [g/cm2] of counts (..., E)."""
        return polynomial_features(counts, self.open_beam.to(counts), self.degree) @ self.coefficients.to(counts)


def polynomial_features(counts: Tensor, open_beam: Tensor, degree: int) -> Tensor:
    """1, the log counts, their products, and for degree 3 their cubes (..., F); a count of 0 is read as one half."""
    contract.count("degree", degree, 2, 3)
    counts = contract.tensor("counts", counts, (len(open_beam),)).clamp_min(0.5)
    quadratic = log_features(counts, open_beam)
    logs = -torch.log(counts / open_beam)
    return quadratic if degree == 2 else torch.cat([quadratic, logs**3], -1)


def two_step(project, paths: Tensor, blur: float) -> Tensor:
    """Densities (M, Y, X) [g/cm3] of path lengths (V, U, M): FBP, then a Gaussian blur of so many pixels."""
    images = 10 * fbp(project, paths.movedim(-1, 0).contiguous(), truncation="ignore")
    blur = contract.number("blur", blur, at_least=0)
    if not blur:
        return images
    k = torch.arange(-int(4 * blur) - 1, int(4 * blur) + 2).to(images)
    kernel = torch.exp(-0.5 * (k / blur) ** 2)
    kernel = (kernel / kernel.sum())[None, None]
    pad = len(k) // 2
    x = torch.nn.functional.pad(images[:, None], [pad] * 4, mode="replicate")
    return torch.nn.functional.conv2d(torch.nn.functional.conv2d(x, kernel[..., None]), kernel[..., None, :])[:, 0]


def edge_penalty(z: Tensor, knee: float) -> Tensor:
    """Sum over neighbors of Huber's function of their difference in images z (M, Y, X): square below the knee."""
    z, knee = contract.tensor("z", z, (None, None), promote=True), contract.number("knee", knee, above=0)
    if 0 in z.shape[-2:]:
        raise ArgumentError("z", f"shape {tuple(z.shape)}", "images of one pixel or more")
    total = z.new_zeros(())
    for axis in (-2, -1):
        total = total + torch.nn.functional.huber_loss(
            z.narrow(axis, 1, z.shape[axis] - 1), z.narrow(axis, 0, z.shape[axis] - 1), reduction="sum", delta=knee
        )
    return total


def equalized(fisher: Tensor) -> Tensor:
    """C (M, M) of C^T C = the mean of information matrices (..., M, M), scaled to trace M."""
    mean = contract.tensor("fisher", fisher, (None, None)).double().flatten(0, -3).mean(0)
    return torch.linalg.cholesky(len(mean) * mean / mean.trace()).mT


def even_steps(project, fisher: Tensor, like: Tensor) -> tuple[Tensor, float]:
    """(steps (Y, X), size): voxels in units in which a likelihood over its size is about evenly curved.

    Rows of P^T F P, summed, with the trace of the readings' information F (V, U, M, M).
    """
    rays = fisher.diagonal(dim1=-2, dim2=-1).sum(-1).to(like)
    curved = project.T(rays * project(torch.ones_like(like[0])))
    return (curved / curved.max()).clamp_min(1e-4).rsqrt(), float(curved.max()) / max(like.shape)


def one_step(
    model: SpectralModel, project, counts: Tensor, start: Tensor, beta: float, knee: float = 0.02,
    tol: float = 1e-6, max_iters: int = 2000,
) -> Tensor:  # fmt: skip
    """Densities (M, Y, X) [g/cm3] that minimize the likelihood of counts (V, U, E) with a penalty on edges.

        sum over readings of L(P x; gamma) + beta sum over neighbors of Huber(C (x_a - x_b))

    C as in `equalized`: the penalty works on combinations of the materials that the counts know equally well, and so
    do the steps of SciPy's L-BFGS-B (torch's line search stands still long before the minimum), in units of
    `even_steps`. It ends when the last five iterations gained less than tol of the drop.

    start  (M, Y, X), such as a two-step image;  knee  [g/cm3]
    ConvergenceError where max_iters do not suffice.
    """
    from scipy.optimize import minimize

    contract.tensor("counts", counts, (model.num_bins,))
    beta, knee, tol = (contract.number(n, v, above=0) for n, v in (("beta", beta), ("knee", knee), ("tol", tol)))
    scale = 0.1  # [1/mm] and [g/cm3] to [g/cm2]
    fisher = fisher_information(model, scale * project(start).movedim(0, -1).double())
    c = equalized(fisher)
    back = torch.linalg.inv(c).to(start)
    first = torch.einsum("km,myx->kyx", c.to(start), start)
    step, size = even_steps(project, scale**2 * fisher, start)

    def image(z: Tensor) -> Tensor:
        return torch.einsum("mk,kyx->myx", back, step * z)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        z = torch.from_numpy(flat).to(first).reshape(first.shape).requires_grad_()
        expected = model(scale * project(image(z)).movedim(0, -1))
        value = (negative_log_likelihood(expected, counts).sum() + beta * edge_penalty(step * z, knee)) / size
        (slope,) = torch.autograd.grad(value, z)
        return float(value.detach()), slope.detach().cpu().double().reshape(-1).numpy()

    flat = (first / step).detach().cpu().double().reshape(-1).numpy()
    values, settled = [objective(flat)[0]], []

    def look(intermediate_result) -> None:
        values.append(float(intermediate_result.fun))
        drop = values[0] - min(values)
        if len(values) > WINDOW and values[-1 - WINDOW] - values[-1] <= tol * max(drop, 1e-300):
            settled.append(len(values))
            raise StopIteration

    options = {"maxiter": contract.count("max_iters", max_iters, 1), "maxcor": 20, "ftol": 0.0, "gtol": 0.0}
    options["maxfun"] = 10 * options["maxiter"]
    found = minimize(objective, flat, jac=True, method="L-BFGS-B", callback=look, options=options)
    if not settled and not found.success:
        raise ConvergenceError(f"one_step: not settled after {found.nit} iterations: {found.message}")
    return image(torch.from_numpy(found.x).to(first).reshape(first.shape))


def noise_and_bias(images: Tensor, truth: Tensor, inside: Tensor) -> Mapping[str, Tensor]:
    """Of images (S, M, Y, X) of repeated scans: rms error, bias and noise (M,) over the voxels inside (Y, X).

    bias: of their mean, without the noise that so few scans leave in it (0 where that is more than all of it);
    noise: standard deviation from scan to scan, which needs two scans or more
    """
    images, truth = contract.together((None, None, None), promote=True, images=images, truth=truth)
    contract.trailing("images", images, truth.shape)
    inside = contract.mask("inside", inside, truth.shape[-2:]).to(truth.device)
    if inside.ndim != 2:
        raise ArgumentError("inside", f"shape {tuple(inside.shape)}", "(Y, X)")
    if images.ndim != 4 or len(images) < 2:
        raise ArgumentError("images", f"shape {tuple(images.shape)}", "(S, M, Y, X) of two scans or more")
    off = (images - truth)[..., inside]
    return {
        "rmse": off.square().mean((0, 2)).sqrt(),
        "bias": (off.mean(0).square() - off.var(0) / len(off)).mean(-1).clamp_min(0).sqrt(),
        "noise": off.var(0).mean(-1).sqrt(),
    }
