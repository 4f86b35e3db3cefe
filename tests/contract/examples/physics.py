"""Example calls of ctlib.physics: spectra, detectors, models, counts, and what is public of scatter."""

import torch

from ctlib.geometry import ConeBeam, FanBeam, Volume
from ctlib.physics import Detector, SpectralModel, Spectrum
from ctlib.physics.attenuation import Material
from ctlib.physics.scatter import CrossSections, VoxelPhantom

MATERIALS = ("water", "calcium")


def rand(*shape, seed=0, low=0.1, high=1.0):
    g = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(*shape, generator=g, dtype=torch.float64)


def stream():
    return torch.Generator().manual_seed(0)


def spectrum():
    return Spectrum([20.0, 40.0, 60.0, 80.0], [1.0, 2.0, 1.5])


def model(detector=None, materials=MATERIALS):
    return SpectralModel(spectrum(), materials, detector or Detector.ideal(), (25, 50, 75), photons=1e3)


def table():
    return Detector.tabulated(torch.tensor([20.0, 40.0, 65.0, 90.0]).double(), rand(3, 4, seed=2))


def silicon():
    return Detector.silicon()


def energies():
    return torch.tensor([30.0, 50.0, 70.0]).double()


def phantom():
    return VoxelPhantom(Volume((2, 3, 3), 20.0), MATERIALS, rand(2, 2, 3, 3))


def cone():
    return ConeBeam(Volume((2, 3, 3), 20.0), 2, 3, 40.0, num_rows=2, row_pitch_mm=30.0, source_origin_mm=300.0,
                    source_detector_mm=500.0)  # fmt: skip


def fan():
    return FanBeam(Volume((3, 3), 20.0), 2, 3, 40.0, 300.0, 500.0)


TABLES = CrossSections.of(MATERIALS, 82.0)
BODY, EDGES = {"geometry": cone(), "spectrum": spectrum(), "sections": TABLES}, (15.0, 45.0, 80.0)

_P = "ctlib.physics."
EXAMPLES = {
    _P + "attenuation.Material": lambda: dict(name="x", mass_fractions=(("H", 0.4), ("O", 0.6)), density=1.1),
    _P + "attenuation.Material.mixture": lambda: dict(call=Material.mixture, name="x", parts={"water": 1}, density=1.2),
    _P + "attenuation.mass_attenuation": lambda: dict(material="water", energies_kev=energies()),
    _P + "attenuation.linear_attenuation": lambda: dict(material="water", energies_kev=energies()),
    _P + "attenuation.k_edges": lambda: dict(material="iodine", low_kev=20.0, high_kev=120.0),
    _P + "tube.parametric_tungsten": lambda: dict(kvp=60.0),
    _P + "counts.expected_counts": lambda: dict(line_integrals=rand(2, 3), photons=20.0),
    _P + "counts.transmission_counts": lambda: dict(
        line_integrals=rand(2, 3), photons=20.0, generator=stream(), electronic_std=0.5, gain=2.0, bits=8
    ),
    _P + "counts.quantize": lambda: dict(signal=rand(2, 3), gain=20.0, bits=4),
    _P + "counts.line_integrals_from_counts": lambda: dict(counts=rand(2, 3), photons=rand(3, seed=1), floor=0.2),
    _P + "counts.line_integral_variance": lambda: dict(line_integrals=rand(2, 3), photons=9.0, electronic_std=0.5),
    _P + "spectrum.Spectrum": lambda: dict(edges_kev=torch.tensor([20.0, 30.0, 50.0]).double(), weights=rand(2)),
    _P + "spectrum.Spectrum.tungsten": lambda: dict(call=Spectrum.tungsten, kvp=70, bin_kev=5.0),
    _P + "spectrum.Spectrum.rebinned": lambda: dict(call=spectrum().rebinned, bin_kev=30.0),
    _P + "spectrum.Spectrum.split": lambda: dict(call=spectrum().split, energies_kev=torch.tensor([33.0, 70.0])),
    _P + "spectrum.Spectrum.cuts": lambda: dict(call=spectrum().cuts, energies_kev=torch.tensor([33.0, 70.0])),
    _P + "spectrum.Spectrum.replace": lambda: dict(call=spectrum().replace, weights=rand(3)),
    _P + "detectors.ideal.IdealDetector.response": lambda: dict(
        call=Detector.ideal().response, energies_kev=energies(), widths_kev=rand(3)
    ),
    _P + "detectors.ideal.IdealResponse.above": lambda: dict(
        call=Detector.ideal().response(energies(), rand(3)).above, thresholds_kev=torch.tensor([30.2, 60.0]).double()
    ),
    _P + "detectors.silicon.SiliconDetector": lambda: dict(
        depth_mm=30.0, dead_mm=0.125, pitch_mm=0.5, cloud_mm=0.03125, noise_kev=2.0, rescatter=0.5
    ),
    _P + "detectors.czt.CZTDetector": lambda: dict(
        depth_mm=2.0, pitch_mm=0.25, cloud_mm=0.03125, noise_kev=2.0, escape=0.5
    ),
    _P + "detectors.response.SharingDetector.response": lambda: dict(
        call=silicon().response, energies_kev=energies(), widths_kev=rand(3)
    ),
    _P + "detectors.response.BlurredResponse.above": lambda: dict(
        call=silicon().response(energies(), rand(3)).above, thresholds_kev=torch.tensor([30.2, 60.0]).double()
    ),
    _P + "detectors.tabulated.TabulatedDetector": lambda: dict(
        heights_kev=torch.tensor([20.0, 40.0, 65.0, 90.0]).double(), density=rand(3, 4, seed=2),
        energies_kev=energies(),
    ),
    _P + "detectors.tabulated.TabulatedDetector.response": lambda: dict(
        call=table().response, energies_kev=energies(), widths_kev=rand(3)
    ),
    _P + "detectors.tabulated.TabulatedResponse.above": lambda: dict(
        call=table().response(energies(), rand(3)).above, thresholds_kev=torch.tensor([30.2, 60.0]).double()
    ),
    _P + "model.SpectralModel": lambda: dict(
        spectrum=spectrum(), materials=MATERIALS, detector=Detector.ideal(),
        thresholds_kev=torch.tensor([25.0, 50.0, 75.0]).double(), photons=1e3, gain=1.25,
    ),
    _P + "model.SpectralModel.__call__": lambda: dict(
        call=model(), paths=rand(2, 3, 2), thresholds_kev=torch.tensor([25.0, 52.0, 75.0]).double()
    ),
    _P + "model.SpectralModel.derivatives": lambda: dict(
        call=model().derivatives, paths=rand(2, 3, 2), thresholds_kev=torch.tensor([25.0, 52.0, 75.0]).double()
    ),
    _P + "model.SpectralModel.bin_spectra": lambda: dict(
        call=model().bin_spectra, thresholds_kev=torch.tensor([25.0, 52.0, 75.0]).double()
    ),
    _P + "model.SpectralModel.counts_per_photon": lambda: dict(
        call=model().counts_per_photon, energies_kev=energies()
    ),
    _P + "model.virtual_monoenergetic": lambda: dict(densities=rand(2, 3), materials=MATERIALS, energy_kev=60.0),
    _P + "scatter.beam.with_height": lambda: dict(fan=fan(), height_mm=30.0, num_rows=2),
    _P + "scatter.beam.coarser": lambda: dict(scan=cone(), num_cols=2, num_rows=1),
    _P + "scatter.beam.response_table": lambda: dict(response=EDGES, highest_kev=82.0),
    _P + "scatter.cross_sections.CrossSections.of": lambda: dict(
        call=CrossSections.of, materials=("water",), highest_kev=20.0
    ),
    _P + "scatter.media.VoxelPhantom": lambda: dict(
        volume=Volume((2, 3, 3), 20.0), materials=MATERIALS, densities=rand(2, 2, 3, 3)
    ),
    _P + "scatter.media.VoxelPhantom.extruded": lambda: dict(
        call=VoxelPhantom.extruded, volume=Volume((3, 3), 20.0), materials=MATERIALS, densities=rand(2, 3, 3),
        height_mm=30.0,
    ),
    _P + "scatter.primary.primary_signal": lambda: dict(phantom=phantom(), response=EDGES, rays_per_cell=1, **BODY),
    _P + "scatter.single.single_scatter": lambda: dict(
        phantom=phantom(), response=EDGES, num_rays=(1, 2), num_depths=2, points_per_cell=1, **BODY
    ),
    _P + "scatter.transport.simulate_scatter": lambda: dict(
        phantom=phantom(), response=EDGES, photons_per_view=8, seed=1, num_points=2, num_batches=2, engine="torch",
        **BODY,
    ),
}  # fmt: skip

INNER = "a step of the simulation: reached with what `simulate_scatter` or `single_scatter` has checked"
SKIP = {
    _P + "spectrum.Spectrum.filtered": "takes a dictionary: tests/physics/test_spectrum.py",
    _P + "arrays.*": "the checks themselves",
    _P + "counts.require_stream": "a check itself",
    _P + "compton.*": "formulas over NumPy arrays, called with the energies of a checked response",
    _P + "moments.*": "products of the model and the solver, whose arguments are checked there",
    _P + "detectors.sharing.*": "steps of a response that has checked its bins",
    _P + "detectors.silicon.*": "steps of a response that has checked its bins",
    _P + "detectors.czt.*": "steps of a response that has checked its bins",
    _P + "detectors.detector.*": "the base class, and the checks themselves",
    _P + "detectors.ideal.IdealResponse": "made by IdealDetector.response",
    _P + "detectors.response.*": "made by SharingDetector.response",
    _P + "detectors.tabulated.*": "steps of a response that has checked its bins",
    _P + "model.SpectralModel.kept": "any value under any key",
    _P + "model.SpectralModel.photons_as": "a cast",
    _P + "scatter.angles.*": "formulas over NumPy arrays, called with the tables' own energies",
    _P + "scatter.beam.Beam*": INNER,
    _P + "scatter.cross_sections.CrossSections*": INNER,
    _P + "scatter.media.Media*": INNER,
    _P + "scatter.paths.*": INNER,
    _P + "scatter.photons.*": INNER,
    _P + "scatter.primary.scan_paths": INNER,
    _P + "scatter.single.beam_points": INNER,
    _P + "scatter.tally.*": INNER,
    _P + "scatter.tracking.*": INNER,
    _P + "scatter.transport.*": INNER,
}
ALLOW = {
    _P + "counts.transmission_counts": {
        "line_integrals: batch": "every reading has noise of its own",
        "line_integrals: missing axis": "every reading has noise of its own",
    },
    _P + "model.virtual_monoenergetic": {"densities: batch": "materials are the first axis"},
    _P + "spectrum.Spectrum": {"weights: requires_grad": "kept as they are, and normalized whenever they are read"},
    _P + "spectrum.Spectrum.replace": {
        "weights: requires_grad": "kept as they are, and normalized whenever they are read"
    },
}
