"""The scatter test from the chapter's parameters, and the check of its simulation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from ctlib.geometry import FanBeam, Volume
from ctlib.papers.pcct.bodies import (
    Body,
    catsim_spectrum,
    chest_body,
    labeled_body,
    real_bodies,
    synthetic_bodies,
)
from ctlib.papers.pcct.experiment import Setting
from ctlib.papers.pcct.panel_study import METHODS, PanelStudy
from ctlib.papers.pcct.panels import PanelScan, Simulation
from ctlib.phantoms.materials import MATERIALS, abdomen_densities
from ctlib.physics import Spectrum
from ctlib.physics.scatter import VoxelPhantom, simulate_scatter, single_scatter, with_height

SPLITS = ("train", "val", "test")
FIRST_SEED = {"train": 0, "val": 100, "test": 200}  # of synthetic bodies


def spectrum_of(p: Mapping) -> Spectrum:
    """CatSim's 120 kV behind aluminium where its folder is given, else the one that ships with the library."""
    filters = {"Al": p["filter_mm"]}
    return catsim_spectrum(p["xcist"], filters) if p["xcist"] else Spectrum.tungsten(kvp=120, filters_mm=filters)


def bodies_of(p: Mapping, field: Volume) -> dict[str, list[Body]]:
    """Synthetic bodies and people by split; numerical and labeled ones, where given, are tested on alone."""
    found = {}
    for k, split in enumerate(SPLITS):
        first = FIRST_SEED[split]
        found[split] = synthetic_bodies(field, range(first, first + p["synthetic"][k]))
        if p["people"][k]:
            found[split] += real_bodies(field, p["data"] or None, split, p["people"][k])
    if p["xcist"]:
        found["test"].append(chest_body(field, p["xcist"]))
    if p["organs"]:
        found["test"].append(labeled_body(field, p["organs"]))
    return found


def study_of(p: Mapping) -> PanelStudy:
    """The experiment of the page with these parameters, by name as its first cell declares them."""
    scan = PanelScan(
        size=p["size"], slices=p["slices"], cols=p["cols"], rows=p["rows"], step_deg=p["step_deg"],
        arc_deg=p["arc_deg"], finer=p["finer"], beam_mm=p["beam_mm"],
    )  # fmt: skip
    how = Simulation(p["photons"], tuple(p["cells"]), tuple(p["modes"]), p["harmonics"])
    chosen = {m: p["seeds"] if m in p["repeated"] else p["seeds"][:1] for m in p["methods"] or METHODS}
    return PanelStudy(
        Setting.of_paper(spectrum=spectrum_of(p)), scan, how, bodies_of(p, scan.field), p["spr"], p["channels"],
        p["pools"], p["epochs"], p["lr"], chosen, (p["proxy_samples"], p["proxy_steps"]), p["validate_epochs"],
        p["precision"], p["checkpoints"] or None,
    )  # fmt: skip


def single_against_quadrature(
    field: Volume, spectrum: Spectrum, response: Callable, photons: int, seed: int, points: int = 1
) -> tuple[Tensor, Tensor]:
    """Differences of simulated single scatter from the integral, over their standard errors, per cell and bin.

    And the median relative standard error of a cell. One view of one abdomen, 16 cells, `points` per axis of each.
    """
    one = with_height(FanBeam(field, 1, 16, 46.0, 625.0, 1097.0), 40.0)
    body = VoxelPhantom.extruded(field, MATERIALS, abdomen_densities(field, 500 + seed), 300.0)
    tally = simulate_scatter(body, one, spectrum, response, photons, seed=seed)
    options = {"num_rays": (2, 64), "points_per_cell": points}
    exact = sum(single_scatter(body, one, spectrum, response, process=p, **options) for p in ("compton", "rayleigh"))
    error = tally.error("single")
    return (tally.mean("single") - exact) / error, (error / exact).median()
