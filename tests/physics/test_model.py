import math

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.physics import Detector, SpectralModel, Spectrum, linear_attenuation, mass_attenuation, virtual_monoenergetic

pytest.importorskip("xraylib")

THRESHOLDS = (15, 33, 45, 59, 120)


def build(materials=("water", "calcium"), detector=None, thresholds=THRESHOLDS, **options):
    spectrum = Spectrum.tungsten(120, {"Al": 3.0}, bin_kev=2.0)
    return SpectralModel(spectrum, materials, detector or Detector.silicon(), thresholds, **options)


def random_paths(*shape, top=(25.0, 1.5), seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, len(top), generator=g, dtype=torch.float64) * torch.tensor(top, dtype=torch.float64)


def test_one_energy_is_beer_lambert():
    line = Spectrum(torch.tensor([59.5, 60.5]), torch.ones(1))
    model = SpectralModel(line, ("water", "calcium"), Detector.ideal(), (20, 100), photons=1e5)
    paths = random_paths(7)
    f = torch.stack([mass_attenuation(m, 60.0) for m in ("water", "calcium")])
    torch.testing.assert_close(model(paths)[:, 0], 1e5 * torch.exp(-paths @ f))


def test_derivatives_are_those_of_autograd():
    model, paths = build(photons=1e6), random_paths(3)
    counts, jacobian, second = model.derivatives(paths)
    torch.testing.assert_close(counts, model(paths))
    for p in range(3):
        torch.testing.assert_close(torch.autograd.functional.jacobian(model, paths[p]), jacobian[p])
        for i in range(4):
            hessian = torch.autograd.functional.hessian(lambda a, i=i: model(a)[i], paths[p])
            torch.testing.assert_close(hessian, second[p, i])


def test_inner_thresholds_move_counts_between_neighbors_only():
    model, paths = build(photons=1e6), random_paths(5)
    t = model.thresholds_kev.clone()
    moved = t.clone()
    moved[2] += 1.7
    torch.testing.assert_close(model(paths, moved).sum(-1), model(paths, t).sum(-1))
    t.requires_grad_()
    rows = torch.stack([torch.autograd.grad(model(paths, t)[:, i].sum(), t)[0] for i in range(4)])
    assert (rows.diagonal() < 0).all()
    torch.testing.assert_close(rows.diagonal(1)[:3], -rows.diagonal()[1:])  # each inner threshold in two rows
    torch.testing.assert_close(rows[:, 1:4].sum(0), torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0)


def test_gradients_to_paths_thresholds_gain_and_photons():
    paths = random_paths(2).requires_grad_()
    t = torch.tensor(THRESHOLDS, dtype=torch.float64).requires_grad_()
    gain = torch.tensor(1.02, dtype=torch.float64, requires_grad=True)
    photons = torch.tensor([2.0, 3.0], dtype=torch.float64, requires_grad=True)
    run = lambda a, t, g, n: build(thresholds=t, gain=g, photons=n)(a)  # noqa: E731
    assert torch.autograd.gradcheck(run, (paths, t, gain, photons))


def test_gain_is_a_change_of_thresholds():
    paths = random_paths(4)
    expected = build()(paths, torch.tensor(THRESHOLDS, dtype=torch.float64) / 1.05)
    torch.testing.assert_close(build(gain=1.05)(paths), expected)
    own = build(gain=torch.tensor([1.0, 1.05, 1.0, 1.05], dtype=torch.float64))(paths)
    torch.testing.assert_close(own[1::2], expected[1::2])
    torch.testing.assert_close(own[::2], build()(paths)[::2])


def test_counts_of_single_energies_see_the_gain():
    gains, energies = torch.tensor([1.0, 1.05], dtype=torch.float64), (34.0, 61.0, 99.0)
    own = build(gain=gains).counts_per_photon(energies)
    for found, gain in zip(own, gains.tolist(), strict=True):
        expected = build(thresholds=[t / gain for t in THRESHOLDS]).counts_per_photon(energies)
        torch.testing.assert_close(build(gain=gain).counts_per_photon(energies), expected)
        torch.testing.assert_close(found, expected)
    assert (own[0] - own[1]).abs().max() > 0.01


@pytest.mark.parametrize("lead", [(5,), (3, 5), (3, 1), (1, 5), (2, 1, 1), (2, 1, 5), (2, 3, 5)])
def test_each_pixel_may_have_its_own_thresholds(lead):
    model, paths = build(), random_paths(2, 3, 5)
    g = torch.Generator().manual_seed(1)
    t = model.thresholds_kev + torch.rand(*lead, 5, generator=g, dtype=torch.float64)
    each = zip(paths.flatten(0, 2), t.expand(2, 3, 5, 5).flatten(0, 2), strict=True)
    alone = torch.stack([model(path, thresholds) for path, thresholds in each]).unflatten(0, (2, 3, 5))
    torch.testing.assert_close(model(paths, t), alone)


def test_leading_axes_dtype_and_order_do_not_matter():
    model, paths = build(photons=1e6), random_paths(2, 3, 4)
    whole = model(paths)
    torch.testing.assert_close(whole[1, 2], model(paths[1, 2]))
    single = model(paths.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), whole, rtol=2e-5, atol=1e-3)
    assert model(paths[:0]).shape == (0, 3, 4, 4)


def test_iodine_cuts_its_bin_at_the_k_edge():
    model = build(("water", "iodine"))
    edge = 33.1694
    assert len(model.energies_kev) == len(build().energies_kev) + 1
    below = model.energies_kev < edge
    f = model.attenuation[:, 1]
    assert f[~below][0] / f[below][-1] > 4.5
    assert model.spectrum.weights.sum() == pytest.approx(1)


def test_an_open_last_bin_counts_the_resolution_tail():
    paths = torch.zeros(2, dtype=torch.float64)
    closed, wide = build()(paths), build(thresholds=(*THRESHOLDS[:-1], math.inf))(paths)
    assert wide[3] > closed[3]
    assert torch.equal(wide[:3], closed[:3])


def test_parameters_that_want_gradients_are_never_served_from_memory():
    noise = torch.tensor(1.6, dtype=torch.float64, requires_grad=True)
    model, paths = build(detector=Detector.silicon(noise_kev=noise)), random_paths(3)
    before = model(paths)
    with torch.no_grad():
        noise.add_(2.0)
    assert (model(paths) - before).abs().max() > 1e-6
    assert torch.autograd.grad(model(paths).sum(), noise)[0].isfinite()


def test_virtual_monoenergetic_images_are_attenuation():
    vmi = virtual_monoenergetic(torch.tensor([[1.0], [0.1]], dtype=torch.float64), ("water", "calcium"), 60.0)
    expected = linear_attenuation("water", 60.0) + 0.1 * 0.1 * mass_attenuation("calcium", 60.0)
    assert float(vmi) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"materials": ()}, "materials"),
        ({"thresholds": (15, 10)}, "thresholds_kev"),
        ({"thresholds": (-1, 10)}, "thresholds_kev"),
        ({"thresholds": (15,)}, "thresholds_kev"),
        ({"photons": 0.0}, "photons"),
        ({"gain": -1.0}, "gain"),
    ],
)
def test_wrong_arguments_are_named(options, name):
    with pytest.raises(ArgumentError, match=name):
        build(**options)


def test_wrong_shapes_are_named():
    with pytest.raises(ArgumentError, match="paths"):
        build()(torch.zeros(3))
    with pytest.raises(ArgumentError, match="thresholds_kev"):
        build()(torch.zeros(7, 2), torch.tensor([15.0, 33.0]))
    with pytest.raises(ArgumentError, match="thresholds_kev"):
        build()(torch.zeros(7, 2), torch.tensor(THRESHOLDS).expand(3, 5))


def test_importing_physics_does_not_import_xraylib():
    import subprocess
    import sys

    code = (
        "import sys, ctlib.physics, ctlib.decompose; sys.exit(bool({'xraylib', 'numba', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
