"""The scatter set: repeatable, smooth, and as near to a long simulation as it says."""

import math

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.geometry import FanBeam, Volume
from ctlib.phantoms import torso_slice

pytest.importorskip("xraylib")
pytest.importorskip("numba")

from ctlib.papers.pcct.cohort import BODY_MM, scatter_set, smooth_columns, smooth_views
from ctlib.phantoms.materials import MATERIALS, abdomen_densities
from ctlib.physics.attenuation import mass_attenuation
from ctlib.physics.scatter import VoxelPhantom, coarser, simulate_scatter, with_height
from ctlib.physics.spectrum import Spectrum

EDGES = (40, 60, 120)

pytestmark = pytest.mark.usefixtures("one_thread")


def fan(num_views=12, **options):
    return FanBeam(Volume((32, 32), 12.5), num_views, 64, 11.5, 625.0, 1097.0, **options)


@pytest.fixture(scope="module")
def spectrum():
    return Spectrum.tungsten(120, {"Al": 6.0}, bin_kev=4.0)


@pytest.fixture(scope="module")
def made(spectrum):
    return scatter_set(fan(), 1, spectrum, EDGES, first_seed=5)


def test_densities_attenuate_as_the_torso():
    volume = Volume((48, 48), 8.0)
    densities = abdomen_densities(volume, 3, torch.float64)
    mass = torch.stack([mass_attenuation(m, 60.0) for m in MATERIALS])
    mu = 0.1 * torch.einsum("m,myx->yx", mass, densities)
    torch.testing.assert_close(mu, torso_slice(volume, 3, dtype=torch.float64), rtol=2e-3, atol=1e-12)
    assert float(densities[1].max()) > 0.1
    assert (densities[1] > 0).double().mean() < 0.1  # bone alone


def test_shapes_and_size_of_the_signals(made):
    assert made.densities.shape == (1, 2, 32, 32)
    assert made.paths.shape == (1, 2, 12, 64)
    assert made.primary.shape == made.scatter.shape == (1, 2, 12, 64)
    assert made.tally_error.shape == (1, 2, 12, 16)
    assert 20 < float(made.paths[:, 0].max()) < 45  # g/cm2 of water along the longest way
    middle = slice(24, 40)
    ratio = made.scatter[..., middle].sum() / made.primary[..., middle].sum()
    assert 0.1 < ratio < 1  # 40 mm beam, no grid


def test_the_same_arguments_give_the_same_set(spectrum):
    few = {"num": 2, "spectrum": spectrum, "response": EDGES, "photons_per_view": 64}
    a, b, c = (scatter_set(fan(), first_seed=s, **few) for s in (0, 0, 1))
    for name in vars(a):
        assert torch.equal(getattr(a, name), getattr(b, name))
        assert torch.equal(getattr(a, name)[1], getattr(c, name)[0])
        assert not torch.equal(getattr(a, name), getattr(c, name))


def test_error_of_the_smoothed_scatter_against_a_long_simulation(made, spectrum):
    """Its noise and what smoothing hides, with 4 % of the long simulation: 10 % of the scatter, 0.1 % in the mean."""
    phantom = VoxelPhantom.extruded(fan().volume, MATERIALS, made.densities[0], BODY_MM)
    scan = coarser(with_height(fan(), 40.0), 16)
    truth = simulate_scatter(phantom, scan, spectrum, EDGES, 60_000, seed=99)
    exact = truth.mean()[:, :, 0]
    cells = made.scatter[0].double().unflatten(-1, (16, 4)).mean(-1)
    assert (truth.error()[:, :, 0] / exact).median() < 0.05
    assert ((cells - exact).norm() / exact.norm()).item() < 0.12
    assert cells.sum().item() == pytest.approx(exact.sum().item(), rel=0.03)


def test_series_of_cosines_are_recovered_exactly():
    u = (torch.arange(6400).double() + 0.5) / 6400
    signal = 1 + 0.5 * torch.cos(math.pi * u) - 0.2 * torch.cos(3 * math.pi * u)
    cells, columns = signal.unflatten(0, (16, -1)).mean(1), (torch.arange(64).double() + 0.5) / 64
    expected = 1 + 0.5 * torch.cos(math.pi * columns) - 0.2 * torch.cos(3 * math.pi * columns)
    torch.testing.assert_close(smooth_columns(cells, 64, 8), expected, rtol=0, atol=1e-6)


def test_smoothing_over_views_keeps_low_harmonics_only():
    view = 2 * math.pi * torch.arange(12).double() / 12
    low, high = 1 + torch.cos(2 * view), torch.cos(5 * view)
    torch.testing.assert_close(smooth_views((low + high)[:, None].expand(12, 3), 3), low[:, None].expand(12, 3))


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("num_modes", lambda s: smooth_columns(torch.ones(16), 64, 17)),
        ("geometry", lambda s: scatter_set(fan(2, angles=(0.0, 1.0)), 1, s, EDGES)),
    ],
)
def test_bad_input_names_the_argument(argument, call, spectrum):
    with pytest.raises(ArgumentError) as caught:
        call(spectrum)
    assert caught.value.argument == argument
