"""The same decomposition differentiated through its iterations, for comparison: memory grows with their number."""

import torch
from torch import Tensor

from ctlib import contract
from ctlib.decompose.mle import posed, start_paths
from ctlib.decompose.newton import newton_step
from ctlib.physics.model import SpectralModel
from ctlib.physics.moments import moment_tables


def decompose_unrolled(
    model: SpectralModel,
    counts: Tensor,
    box=((-5, 35), (-5, 10)),
    num_iters: int = 8,
    thresholds_kev=None,
    start: Tensor | None = None,
) -> Tensor:
    """Path lengths (..., M) [g/cm2] after a fixed number of Newton steps, with all of them in the graph.

    Arguments as in `decompose_mle`. The start is a constant; derivatives of any order exist.
    """
    num_iters = contract.count("num_iters", num_iters, 1)
    problem = posed(model, counts, box, num_iters, thresholds_kev)
    with torch.no_grad():
        paths = start_paths(model, problem, start)
    tables = moment_tables(problem.attenuation, problem.spectra)
    for _ in range(num_iters):
        paths = newton_step(problem, tables, paths)
    return paths
