"""What people pass to spectra, models, detectors and scatter: taken as meant, or refused with the argument's name."""

import math

import numpy as np
import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.geometry import FanBeam, Volume
from ctlib.physics import (
    Detector,
    Material,
    SpectralModel,
    Spectrum,
    k_edges,
    linear_attenuation,
    mass_attenuation,
    transmission_counts,
    virtual_monoenergetic,
)

pytest.importorskip("xraylib")

from ctlib.physics.scatter import CrossSections, VoxelPhantom, primary_signal, simulate_scatter, with_height

THRESHOLDS = (25.0, 42.0, 60.0, 85.0)


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


def spectrum():
    return Spectrum([20.0, 40.0, 55.0, 75.0, 90.0], [1.0, 2.0, 3.0, 1.5])


def build(**options):
    given = {"spectrum": spectrum(), "materials": ("water", "calcium"), "detector": Detector.silicon(),
             "thresholds_kev": THRESHOLDS, "photons": 1e4, "gain": 1.0}  # fmt: skip
    return SpectralModel(**given | options)


PATHS = f64([[5.0, 0.2], [12.0, 0.7], [0.0, 0.0]])


@pytest.mark.parametrize(
    "thresholds",
    [
        list(THRESHOLDS), np.array(THRESHOLDS), np.array(THRESHOLDS, np.float32), np.array(THRESHOLDS, np.int16),
        torch.tensor(THRESHOLDS), torch.tensor(THRESHOLDS).long(), torch.tensor(THRESHOLDS).to(torch.uint8),
        tuple(np.float32(t) for t in THRESHOLDS),
    ],
)  # fmt: skip
def test_thresholds_of_any_kind_are_the_same_energies(thresholds):
    exact = build()
    model = build(thresholds_kev=thresholds)
    assert torch.equal(model(PATHS), exact(PATHS))
    assert torch.equal(exact(PATHS, thresholds), exact(PATHS))
    assert float(model.bin_spectra().sum()) == pytest.approx(float(exact.bin_spectra().sum()), rel=1e-6)


@pytest.mark.parametrize(
    "thresholds",
    [
        (42.0, 25.0, 60.0), (25.0, 25.0, 60.0), (25.0, math.nan, 60.0), (25.0, math.inf, math.inf), (-1.0, 25.0),
        (-math.inf, 25.0), ("25", "42"), (25 + 0j, 42), ((25.0, 42.0), (25.0,)), 25.0, (25.0,), (), None,
        torch.tensor(THRESHOLDS).half(), torch.tensor(THRESHOLDS).cfloat(),
    ],
)  # fmt: skip
def test_impossible_thresholds_are_named(thresholds):
    with pytest.raises(ArgumentError) as caught:
        build(thresholds_kev=thresholds)
    assert caught.value.argument == "thresholds_kev"
    if thresholds is not None:
        with pytest.raises(ArgumentError, match="thresholds_kev"):
            build()(PATHS, thresholds)


def test_float32_thresholds_are_not_rounded_again():
    """0.1 eV matter where a sharp line meets a threshold: all is computed in float64."""
    line, sharp = Spectrum([60.0, 60.0002], [1.0]), Detector.silicon(noise_kev=1e-4, cloud_mm=0.0)
    t = torch.tensor([20.0, 60.0001])
    found = [SpectralModel(line, ("water",), sharp, thresholds)(PATHS[:, :1]) for thresholds in (t, t.double())]
    assert torch.equal(*found)


def test_pixels_have_thresholds_photons_and_gains_of_their_own_together():
    t = f64(THRESHOLDS) + f64([[0.0], [0.7], [-0.4]])
    photons, gain = f64([1e3, 2e4, 7e2]), f64([1.0, 1.02, 0.97])
    whole = build(thresholds_kev=t, photons=photons, gain=gain)(PATHS)
    for k in range(3):
        alone = build(thresholds_kev=t[k], photons=float(photons[k]), gain=float(gain[k]))(PATHS[k])
        torch.testing.assert_close(whole[k], alone)


@pytest.mark.parametrize("number", [np.float32(1.5), np.float64(1.5), np.array(1.5), torch.tensor(1.5), f64(1.5)])
def test_numbers_of_any_kind(number):
    assert torch.equal(build(photons=number)(PATHS), build(photons=1.5)(PATHS))
    torch.testing.assert_close(build(gain=number)(PATHS), build(gain=1.5)(PATHS))
    assert torch.equal(build(photons=torch.tensor(3))(PATHS), build(photons=3.0)(PATHS))
    for name in ("depth_mm", "noise_kev"):
        one, other = (build(detector=Detector.silicon(**{name: n})) for n in (number, 1.5))
        torch.testing.assert_close(one(PATHS), other(PATHS))
    assert Spectrum.tungsten(np.int64(70)) == Spectrum.tungsten(70.0, bin_kev=np.float32(1.0))
    assert spectrum().filtered({"Al": number}) == spectrum().filtered({"Al": 1.5})
    assert linear_attenuation("water", number) == linear_attenuation("water", 1.5)


@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("photons", lambda: build(photons=[1e3, 1e4])),
        ("photons", lambda: build(photons=f64([1e3, math.nan]))),
        ("photons", lambda: build(photons=math.inf)),
        ("photons", lambda: build(photons="many")),
        ("photons", lambda: build(photons=torch.ones(3, dtype=torch.bool))),
        ("photons", lambda: build(photons=f64([1.0, 2.0]))(PATHS)),
        ("gain", lambda: build(gain=0)),
        ("gain", lambda: build(gain=f64([1.0, -1.0]))),
        ("gain, thresholds_kev",
         lambda: build(gain=f64([1.0, 1.1]), thresholds_kev=f64(THRESHOLDS).expand(3, 4))(PATHS)),
        ("paths", lambda: build()(PATHS.long())),
        ("paths", lambda: build()(PATHS.half())),
        ("paths", lambda: build()(PATHS.tolist())),
        ("paths", lambda: build().derivatives(PATHS[:, :1])),
        ("materials", lambda: build(materials="water")),
        ("materials", lambda: build(materials=None)),
        ("materials", lambda: build(materials=Material.named("water"))),
        ("material", lambda: build(materials=("water", 53))),
        ("spectrum", lambda: build(spectrum=[1.0, 2.0])),
        ("detector", lambda: build(detector="silicon")),
        ("edges_kev", lambda: Spectrum([20.0, math.inf], [1.0])),
        ("edges_kev", lambda: Spectrum([20.0, math.nan, 30.0], [1.0, 1.0])),
        ("weights", lambda: Spectrum([20.0, 30.0], [math.inf])),
        ("weights", lambda: Spectrum([20.0, 30.0, 40.0], [1.0, math.nan])),
        ("weights", lambda: Spectrum([20.0, 30.0], [0.0])),
        ("weights", lambda: Spectrum([20.0, 30.0], [1j])),
        ("kvp", lambda: Spectrum.tungsten(19)),
        ("kvp", lambda: Spectrum.tungsten(math.nan)),
        ("kvp", lambda: Spectrum.tungsten("120")),
        ("bin_kev", lambda: Spectrum.tungsten(120, bin_kev=0.3)),
        ("bin_kev", lambda: Spectrum.tungsten(120, bin_kev=0)),
        ("bin_kev", lambda: spectrum().rebinned(10.0)),
        ("filters_mm", lambda: Spectrum.tungsten(120, {"Al": math.nan})),
        ("filters_mm", lambda: Spectrum.tungsten(120, ["Al"])),
        ("filters_mm", lambda: Spectrum.tungsten(70, {"Au": 1e5})),
        ("material", lambda: Spectrum.tungsten(120, {"alu": 3.0})),
        ("energies_kev", lambda: spectrum().split(["33"])),
        ("energies_kev", lambda: mass_attenuation("water", 0.05)),
        ("energies_kev", lambda: mass_attenuation("water", [60.0, 801.0])),
        ("energies_kev", lambda: mass_attenuation("water", 0.0)),
        ("energies_kev", lambda: mass_attenuation("water", f64([60.0, math.nan]))),
        ("energies_kev", lambda: mass_attenuation("water", f64(60.0).requires_grad_())),
        ("energies_kev", lambda: mass_attenuation("water", torch.tensor([True]))),
        ("low_kev", lambda: k_edges("iodine", math.nan, 100)),
        ("energy_kev", lambda: virtual_monoenergetic(torch.ones(2, 3), ("water", "calcium"), math.nan)),
        ("densities", lambda: virtual_monoenergetic(torch.ones(3, 3), ("water", "calcium"), 60.0)),
        ("mass_fractions", lambda: Material("x", (("H", math.nan),), 1.0)),
        ("mass_fractions", lambda: Material("x", 3, 1.0)),
        ("density", lambda: Material("x", (("H", 1.0),), math.inf)),
        ("parts", lambda: Material.mixture("x", {"water": 1.5, "soft tissue": -0.5}, 1.0)),
        ("depth_mm", lambda: Detector.silicon(depth_mm=math.inf)),
        ("noise_kev", lambda: Detector.czt(noise_kev=f64([1.0, 2.0]))),
        ("noise_kev", lambda: Detector.czt(noise_kev=True)),
        ("rescatter", lambda: Detector.silicon(rescatter=1.5)),
        ("escape", lambda: Detector.czt(escape=1.01)),
        ("cloud_mm", lambda: Detector.silicon(cloud_mm=0.07)),
        ("energies_kev", lambda: Detector.silicon().response(f64([60.0, -1.0]), torch.ones(2))),
        ("energies_kev, widths_kev", lambda: Detector.czt().response(f64([60.0, 70.0, 80.0]), torch.ones(2))),
        ("line_integrals", lambda: transmission_counts(f64([1.0, math.nan]), 10.0, torch.Generator())),
        ("line_integrals", lambda: transmission_counts(f64([1.0, -1e4]), 10.0, torch.Generator())),
        ("generator", lambda: transmission_counts(f64([1.0]), 10.0, None)),
        ("generator", lambda: transmission_counts(f64([1.0]), 10.0, 7)),
        ("bits", lambda: transmission_counts(f64([1.0]), 10.0, torch.Generator(), bits=8.5)),
        ("photons", lambda: transmission_counts(f64([1.0]), f64([1.0, 2.0]), torch.Generator())),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(argument, make):
    with pytest.raises(ArgumentError) as caught:
        make()
    assert caught.value.argument == argument
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "meant"),
    [("Water", "water"), ("alumnium", "aluminium"), ("AL", "Al"), ("bone", "cortical bone"), ("tisue", None),
     ("Iodine", "iodine"), ("ca", "Ca")],
)  # fmt: skip
def test_an_unknown_material_comes_with_a_suggestion(said, meant):
    with pytest.raises(ArgumentError, match="material") as caught:
        mass_attenuation(said, 60.0)
    assert meant is None or f"did you mean '{meant}'?" in str(caught.value)


def test_aluminum_has_both_spellings():
    assert mass_attenuation("aluminum", 60.0) == mass_attenuation("aluminium", 60.0) == mass_attenuation("Al", 60.0)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, lambda v: torch.tensor(v).half().float(), tuple])
def test_energies_of_any_kind_and_shape(kind):
    values = [[30.0, 60.0], [80.0, 100.0]]
    found = mass_attenuation("water", kind(values))
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, mass_attenuation("water", f64(values)))
    assert mass_attenuation("water", torch.zeros(0, 3)).shape == (0, 3)


def test_a_spectrum_may_begin_at_zero():
    """K-edges of light elements cut no bin there: no tables reach so far down."""
    model = build(spectrum=Spectrum([0.0, 40.0, 80.0], [1.0, 1.0]), detector=Detector.ideal())
    assert model.energies_kev.tolist() == pytest.approx([(0 + 4.038) / 2, (4.038 + 40) / 2, 60.0], abs=0.01)


MATERIALS = ("water", "calcium")


def scatter(**options):
    fan = FanBeam(Volume((3, 3), 20.0), 1, 3, 40.0, 300.0, 500.0)
    body = VoxelPhantom.extruded(fan.volume, MATERIALS, torch.full((2, 3, 3), 0.1), 50.0)
    given = {"phantom": body, "geometry": with_height(fan, 30.0), "spectrum": spectrum(),
             "response": (15.0, 45.0, 95.0), "photons_per_view": 32, "engine": "torch", "num_batches": 2}  # fmt: skip
    return simulate_scatter(**given | options)


@pytest.mark.parametrize("seed", [np.int64(3), torch.tensor(3), np.array(3), np.uint8(3)])
def test_seeds_and_sizes_of_any_kind(seed):
    assert torch.equal(scatter(seed=seed).batches, scatter(seed=3).batches)
    assert torch.equal(scatter(photons_per_view=np.int32(32)).batches, scatter().batches)


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("seed", {"seed": -1}), ("seed", {"seed": 1.5}), ("seed", {"seed": 2**63}),
        ("photons_per_view", {"photons_per_view": 1e4}),
        ("sections", {"sections": CrossSections.of(MATERIALS, 60.0)}),
        ("sections", {"sections": CrossSections.of(MATERIALS[::-1], 95.0)}),
        ("sections", {"sections": "tables"}), ("spectrum", {"spectrum": [1.0]}),
        ("phantom", {"phantom": torch.ones(2, 3)}),
        ("geometry", {"geometry": FanBeam(Volume((3, 3), 20.0), 1, 3, 40.0, 300.0, 500.0)}),
        ("response", {"response": (45.0, 15.0)}),
        ("response", {"response": lambda e: torch.full((2, len(e)), math.nan)}),
        ("response", {"response": (15.0, math.nan)}),
    ],
)  # fmt: skip
def test_impossible_simulations_are_named(argument, options):
    with pytest.raises(ArgumentError) as caught:
        scatter(**options)
    assert caught.value.argument == argument


def test_tables_that_end_before_the_spectrum_are_refused_by_the_primary_too():
    fan = FanBeam(Volume((3, 3), 20.0), 1, 3, 40.0, 300.0, 500.0)
    body = VoxelPhantom.extruded(fan.volume, MATERIALS, torch.full((2, 3, 3), 0.1), 50.0)
    with pytest.raises(ArgumentError, match="sections"):
        primary_signal(
            body, with_height(fan, 30.0), spectrum(), (15.0, 95.0), sections=CrossSections.of(MATERIALS, 60.0)
        )
