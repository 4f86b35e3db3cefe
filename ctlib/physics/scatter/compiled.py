"""The compiled engine: tables and scan as arrays, histories by machine code."""

import numpy as np
import torch
from torch import Tensor

from ctlib.errors import MissingDependency
from ctlib.physics.attenuation import ELECTRON_KEV
from ctlib.physics.compton import HC_KEV_ANGSTROM
from ctlib.physics.scatter.beam import TABLE_KEV, Beam
from ctlib.physics.scatter.cross_sections import LOWEST_KEV
from ctlib.physics.scatter.media import Media
from ctlib.physics.scatter.photons import RATIOS, Histories


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.double().numpy())


def follow_compiled(media: Media, beam: Beam, histories: Histories, table: Tensor, seed: int, num_points: int):
    """(sums (slots, 3, E, cells), ledger (slots, 3) [keV] absorbed, escaped, emitted) of all histories, float64."""
    try:
        from ctlib.physics.scatter.cpu import histories as history_kernels
        from ctlib.physics.scatter.cpu import transport as transport_kernels
    except ImportError as error:
        raise MissingDependency("numba", "engine='compiled'") from error
    s, total = media.sections, media.sections.rates.unflatten(0, (-1, 3)).sum(1)
    grid = history_kernels.Grid(
        _array(media.densities), _array(media.low), _array(media.size), np.array(media.counts, dtype=np.int64)
    )
    tables = history_kernels.Tables(
        s.first_kev, s.step_kev, *(_array(t) for t in (s.rates, total, media.majorant, s.quantiles, s.norms, s.forms)),
        s.form_step, ELECTRON_KEV, LOWEST_KEV, HC_KEV_ANGSTROM,
    )  # fmt: skip
    vectors = (_array(v) for v in (beam.source, beam.center, beam.along, beam.normal))
    detector = transport_kernels.Detector(
        *vectors, beam.width, beam.height, beam.cols, beam.rows, _array(table), TABLE_KEV
    )
    source = transport_kernels.Source(
        _array(histories.edges_kev), _array(histories.share), np.array(RATIOS), histories.per_slot, seed, num_points
    )
    slots = histories.num_views * histories.num_batches
    sums, ledger = np.zeros((slots, 3, len(table), beam.rows * beam.cols)), np.zeros((slots, 3))
    transport_kernels.follow_slots(grid, tables, detector, source, sums, ledger)
    return torch.from_numpy(sums), torch.from_numpy(ledger)


def available(like: Tensor) -> bool:
    """Whether the compiled engine can follow photons in these densities."""
    if like.device.type != "cpu":
        return False
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True
