"""Monte-Carlo simulation of scatter in a cone-beam scan: the same call on CPU and CUDA."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError, MissingDependency
from ctlib.geometry import ConeBeam
from ctlib.physics.scatter.beam import TABLE_KEV, Beam, response_table
from ctlib.physics.scatter.cross_sections import CrossSections
from ctlib.physics.scatter.media import Media, VoxelPhantom
from ctlib.physics.scatter.photons import RATIOS, Histories, Photons, emit, join
from ctlib.physics.scatter.primary import primary_signal
from ctlib.physics.scatter.tally import ABSORBED, EMITTED, ESCAPED, Counter, ScatterTally, count_hits, expect_hits
from ctlib.physics.scatter.tracking import Observer, track

CHUNK = {"cpu": 2**17, "cuda": 2**22}  # photons followed at once


def simulate_scatter(
    phantom: VoxelPhantom, geometry: ConeBeam, spectrum, response, photons_per_view: int, *, seed: int = 0,
    tally: str = "expected", num_points: int = 4, num_batches: int = 16, engine: str = "auto",
    sections: CrossSections | None = None,
) -> ScatterTally:  # fmt: skip
    """Primary, single and multiple scatter in every view, cell and energy bin, with their statistical errors.

    spectrum          a `Spectrum`; the open beam is uniform over the detector
    response          bin edges [keV], or a function of energies (K,) to counts per photon (E, K)
    photons_per_view  histories in each view, in num_batches independent batches
    tally             "hits": a photon counts where it meets the detector; "expected": each collision adds what it
                      is expected to send there, from num_points rays, and the primary is exact. Same mean.
    engine            "torch" (CPU and CUDA), "compiled" (CPU), or "auto", the compiled one where it can
    sections          tables from an earlier call with the same materials; made anew if not given

    Follows the dtype and device of phantom.densities. A seed gives the same tally at any number of threads; engines
    and devices use different random numbers, and CUDA adds in any order (sums differ in the last digits).
    """
    contract.choice("tally", tally, ("hits", "expected"))
    seed = contract.count("seed", seed, 0, 2**63 - 1)
    photons_per_view = contract.count("photons_per_view", photons_per_view, 1)
    num_points, num_batches = contract.count("num_points", num_points, 1), contract.count("num_batches", num_batches, 2)
    sections = CrossSections.for_scan(sections, phantom, spectrum)
    media, beam = Media.of(phantom, sections), Beam.of(geometry, phantom.densities)
    histories = Histories.of(spectrum, geometry.num_views, num_batches, photons_per_view, phantom.densities)
    table = response_table(response, sections.highest_kev).to(phantom.densities)
    follow = follow_compiled if _compiled(engine, phantom.densities) else follow_torch
    sums, ledger = follow(media, beam, histories, table, seed, num_points if tally == "expected" else 0)
    result = ScatterTally.of(sums, ledger, histories, beam)
    if tally == "expected":
        result.batches[:, 0] = primary_signal(phantom, geometry, spectrum, response, sections=sections)
    return result


def _compiled(engine: str, like: Tensor) -> bool:
    """Whether the compiled engine is meant; an error where it is and cannot be used."""
    contract.choice("engine", engine, ("auto", "torch", "compiled"))
    if engine == "compiled" and like.device.type != "cpu":
        raise ArgumentError("engine", "'compiled'", f"densities on the CPU, not on {like.device}")
    has_numba = find_spec("numba") is not None
    return engine == "compiled" or (engine == "auto" and like.device.type == "cpu" and has_numba)


def follow_compiled(media: Media, beam: Beam, histories: Histories, table: Tensor, seed: int, num_points: int):
    """As `follow_torch`, by machine code and in float64, with other random numbers."""
    try:
        from ctlib.cpu.threads import share
        from ctlib.physics.scatter.cpu.transport import Source, follow_slots
    except ImportError as error:
        raise MissingDependency("numba", "engine='compiled'") from error
    spectrum = _array(histories.edges_kev), _array(histories.share), np.array(RATIOS)
    sums = np.zeros((histories.num_slots, 3, len(table), beam.rows * beam.cols))
    ledger = np.zeros((histories.num_slots, 3))
    source = Source(*spectrum, histories.per_slot, seed, num_points)
    share(follow_slots, len(sums), *as_arrays(media, beam, table), source, sums, ledger)
    return torch.from_numpy(sums), torch.from_numpy(ledger)


def as_arrays(media: Media, beam: Beam, table: Tensor):
    """What the compiled loops fly through: the grid, its tables, and the detector."""
    from ctlib.physics.scatter.cpu.histories import Grid, Tables
    from ctlib.physics.scatter.cpu.transport import Detector

    s = media.sections
    tables = (_array(t) for t in (s.rates, s.total, media.majorant, s.quantiles, s.norms, s.forms))
    vectors = (_array(v) for v in (beam.source, beam.center, beam.along, beam.normal))
    return (
        Grid(_array(media.densities), _array(media.low), _array(media.size), np.array(media.counts)),
        Tables(s.first_kev, s.step_kev, *tables, s.form_step),
        Detector(*vectors, beam.width, beam.height, beam.cols, beam.rows, _array(table), TABLE_KEV),
    )


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.double().numpy())


def follow_torch(media: Media, beam: Beam, histories: Histories, table: Tensor, seed: int, num_points: int):
    """(sums (slots, 3, E, cells), ledger (slots, 3)) of all histories, chunk by chunk; num_points = 0 counts hits."""
    generator = torch.Generator(table.device).manual_seed(seed)
    shift = torch.rand(3, histories.num_slots, generator=generator, device=table.device, dtype=torch.float64)
    counter = Counter(histories, table, beam.rows * beam.cols)
    rays = CHUNK["cuda" if table.is_cuda else "cpu"]
    for first in range(0, len(histories), rays):
        collisions = []
        photons = emit(beam, histories, shift, first, min(first + rays, len(histories)))
        counter.add_energy(EMITTED, photons.history, photons.energy)
        track(photons, media, generator, _observer(beam, counter, collisions if num_points else None))
        for photons, rates in _pieces(collisions, rays // max(num_points, 1)):
            expect_hits(beam, media, counter, num_points, generator, photons, rates)
    return counter.result()


def _observer(beam: Beam, counter: Counter, collisions: list | None) -> Observer:
    """What happens at events: energies are booked; collisions are noted in the list, or without it hits counted."""

    def on_escape(photons: Photons) -> None:
        counter.add_energy(ESCAPED, photons.history, photons.energy)
        if collisions is None:
            count_hits(beam, counter, photons)

    return Observer(
        on_collide=lambda p, rates: None if collisions is None else collisions.append((p, rates)),
        on_scatter=lambda p, after: counter.add_energy(ABSORBED, p.history, p.energy - after.energy),
        on_absorb=lambda p: counter.add_energy(ABSORBED, p.history, p.energy),
        on_escape=on_escape,
    )


def _pieces(collisions: list, size: int):
    """The noted collisions in pieces of a size that keeps memory bounded and calls few."""
    if collisions:
        photons, rates = join([p for p, _ in collisions]), torch.cat([r for _, r in collisions], -1)
        for first in range(0, len(photons), size):
            which = torch.arange(first, min(first + size, len(photons)), device=rates.device)
            yield photons.take(which), rates[..., which]
