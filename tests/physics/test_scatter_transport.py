"""Monte-Carlo transport: conservation, Beer and Lambert, the single-scatter quadrature, engines and seeds.

z-scores are differences over standard errors of 32 batches: Student's t with 31 degrees of freedom, of which 4.5 is
exceeded once in 10^4. Seeds are fixed, so no test fails now and then.
"""

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.geometry import FanBeam, Volume
from ctlib.phantoms import Ellipsoids

pytest.importorskip("xraylib")

from ctlib.physics.attenuation import ELECTRON_KEV
from ctlib.physics.scatter import (
    CrossSections,
    VoxelPhantom,
    primary_signal,
    simulate_scatter,
    single_scatter,
    with_height,
)
from ctlib.physics.scatter.beam import Beam
from ctlib.physics.scatter.media import Media
from ctlib.physics.scatter.photons import Histories, Photons, deflected, emit
from ctlib.physics.scatter.tracking import Observer, track
from ctlib.physics.spectrum import Spectrum

MATERIALS, EDGES = ("water", "calcium"), (15, 49.5, 60, 79.5, 120)
SPECTRUM = Spectrum(torch.tensor([49.9, 50.1, 79.9, 80.1]), torch.tensor([0.6, 0.0, 0.4]))
ENGINES = ["torch", "compiled"]
HIGH = {"torch": 400_000, "compiled": 1_000_000}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def sections():
    return CrossSections.of(MATERIALS, 81.0)


def body(dtype=torch.float32, device="cpu"):
    """An oblique ellipse of water with a calcium rod, 150 mm high."""
    volume = Volume((16, 16), 12.5)
    water = Ellipsoids([1.0], [[0.0, 0.0]], [[95.0, 65.0]], [0.3]).raster(volume, dtype=dtype)
    calcium = Ellipsoids([0.3], [[30.0, 20.0]], [[20.0, 20.0]], [0.0]).raster(volume, dtype=dtype)
    return VoxelPhantom.extruded(volume, MATERIALS, torch.stack([water, calcium]).to(device), 150.0)


def scan(num_cols=6, pitch_mm=60.0, height_mm=40.0, angles=(0.3, 2.0)):
    fan = FanBeam(Volume((16, 16), 12.5), len(angles), num_cols, pitch_mm, 500.0, 900.0, angles=angles)
    return with_height(fan, height_mm)


def need(engine):
    if engine == "compiled":
        pytest.importorskip("numba")


def z_of(tally, kind, expected, least=0.02):
    """z-scores where the expected signal is not tiny, and z of the sum over all of them, batch by batch."""
    where = expected > least * expected.max()
    z = ((tally.mean(kind) - expected) / tally.error(kind))[where]
    sums = (tally._of(kind) - expected)[:, where].sum(1)
    return z, float(sums.mean() / (sums.std() / len(sums) ** 0.5))


def test_every_history_conserves_energy_and_compton_kinematics(sections):
    phantom, geometry = body(torch.float64), scan()
    media, beam = Media.of(phantom, sections), Beam.of(geometry, phantom.densities)
    histories = Histories.of(SPECTRUM, 2, 2, 2000, phantom.densities)
    generator = torch.Generator().manual_seed(0)
    photons = emit(beam, histories, torch.rand(3, 4, generator=generator).double(), 0, len(histories))
    kept, out, ends = (torch.zeros(len(histories), dtype=torch.float64) for _ in range(3))

    def on_scatter(before, after):
        kept.index_add_(0, before.history, before.energy - after.energy)
        cosine = (before.direction * after.direction).sum(1)
        torch.testing.assert_close(after.direction.norm(dim=1), torch.ones_like(cosine))
        free = before.energy / (1 + before.energy / ELECTRON_KEV * (1 - cosine))
        elastic = after.energy == before.energy
        torch.testing.assert_close(after.energy[~elastic], free[~elastic], rtol=1e-9, atol=0)
        assert torch.equal(after.order, before.order + 1)

    def on_absorb(p):
        kept.index_add_(0, p.history, p.energy)
        ends.index_add_(0, p.history, torch.ones_like(p.energy))

    def on_escape(p):
        out.index_add_(0, p.history, p.energy)
        ends.index_add_(0, p.history, torch.ones_like(p.energy))

    track(photons, media, generator, Observer(on_scatter=on_scatter, on_absorb=on_absorb, on_escape=on_escape))
    assert torch.equal(ends, torch.ones_like(ends))
    torch.testing.assert_close(kept + out, photons.energy, rtol=1e-12, atol=0)
    assert 0.05 < float(kept.sum() / photons.energy.sum()) < 0.95


def test_deflection_has_the_angle_and_an_even_azimuth():
    g = torch.Generator().manual_seed(1)
    direction = torch.nn.functional.normalize(torch.randn(5000, 3, generator=g).double(), dim=1)
    direction[0], direction[1] = torch.tensor([0.0, 0, 1]), torch.tensor([0.0, 0, -1])
    cosine = 2 * torch.rand(5000, generator=g).double() - 1
    azimuth = 6.283185307 * torch.rand(5000, generator=g).double()
    turned = deflected(direction, cosine, azimuth)
    torch.testing.assert_close((turned * direction).sum(1), cosine, rtol=0, atol=1e-9)
    across = turned - cosine[:, None] * direction
    opposite = deflected(direction, cosine, azimuth + torch.pi) - cosine[:, None] * direction
    torch.testing.assert_close(across, -opposite, rtol=0, atol=1e-9)


def test_interactions_in_a_water_cylinder():
    """60 keV, 20 cm of water: photoelectric : Compton : Rayleigh = .132 : .784 : .084, another program's count."""
    volume = Volume((32, 32), 6.5)
    water = Ellipsoids([1.0], [[0.0, 0.0]], [[100.0, 100.0]], [0.0]).raster(volume)
    phantom = VoxelPhantom.extruded(volume, ("water",), water[None], 400.0)
    media = Media.of(phantom, CrossSections.of(("water",), 61.0))
    n, generator, counts = 40_000, torch.Generator().manual_seed(0), torch.zeros(3)
    start = torch.tensor([[0.0, -500.0, 0.0]]).expand(n, 3)
    ray = torch.tensor([[0.0, 1.0, 0.0]]).expand(n, 3)
    photons = Photons(start, ray, torch.full((n,), 60.0), torch.zeros(n).long(), torch.arange(n))

    def on_scatter(before, after):
        counts[2] += (after.energy == before.energy).sum()
        counts[1] += (after.energy != before.energy).sum()

    def on_absorb(p):
        counts[0] += len(p)

    track(photons, media, generator, Observer(on_scatter=on_scatter, on_absorb=on_absorb))
    share = counts / counts.sum()
    torch.testing.assert_close(share, torch.tensor([0.132, 0.784, 0.084]), rtol=0, atol=0.004)


@pytest.mark.parametrize("engine", ENGINES)
def test_primary_hits_follow_beer_and_lambert(engine, sections):
    need(engine)
    exact = primary_signal(body(), scan(), SPECTRUM, EDGES, rays_per_cell=96, sections=sections)
    tally = simulate_scatter(body(), scan(), SPECTRUM, EDGES, HIGH[engine], tally="hits", engine=engine,
                             num_batches=32, sections=sections)  # fmt: skip
    z, total = z_of(tally, "primary", exact, least=1e-3)
    assert len(z) >= 20
    assert z.abs().max() < 4.5
    assert 0.6 < z.pow(2).mean().sqrt() < 1.4
    assert abs(total) < 3.5
    inside, out, emitted = tally.energy_kev.unbind(-1)
    torch.testing.assert_close(inside + out, emitted, rtol=1e-6, atol=0)
    assert float(emitted.sum() / tally.photons_per_view / 2) == pytest.approx(0.6 * 50 + 0.4 * 80, rel=1e-4)


@pytest.fixture(scope="module", params=[True, False], ids=["bound", "free"])
def single(request):
    """Narrow cells and a detector of small angles, in which the quadrature needs few points to converge."""
    geometry, tables = scan(3, 30.0, 30.0, (0.3,)), CrossSections.of(MATERIALS, 81.0, bound=request.param)
    phantom = body(torch.float64)
    options = {"num_depths": 64, "points_per_cell": 6, "sections": tables}
    signal = sum(
        single_scatter(phantom, geometry, SPECTRUM, EDGES, process=p, num_rays=(8, 16), **options)
        for p in ("compton", "rayleigh")
    )
    return geometry, tables, signal


@pytest.mark.parametrize(("engine", "tally"), [("torch", "expected"), ("compiled", "expected"), ("compiled", "hits")])
def test_single_scatter_agrees_with_the_quadrature(single, engine, tally):
    need(engine)
    geometry, tables, signal = single
    photons = {"torch": 40_000, "compiled": 400_000}[engine] * (10 if tally == "hits" else 1)
    result = simulate_scatter(body(), geometry, SPECTRUM, EDGES, photons, seed=2, tally=tally, engine=engine,
                              num_batches=32, sections=tables)  # fmt: skip
    z, total = z_of(result, "single", signal)
    assert len(z) == 6
    assert z.abs().max() < 4.5
    assert abs(total) < 3.5
    where = signal > 0.02 * signal.max()
    assert (result.error("single") / signal)[where].max() < 0.12  # or agreement within errors would say little


def test_the_quadrature_converges_and_knows_rayleigh_from_compton(single):
    geometry, tables, signal = single
    coarse = [
        single_scatter(
            body(torch.float64), geometry, SPECTRUM, EDGES, process=p, num_rays=(4, 8), num_depths=32,
            points_per_cell=4, sections=tables,
        )
        for p in ("compton", "rayleigh")
    ]  # fmt: skip
    assert sum(coarse).sum().item() == pytest.approx(signal.sum().item(), rel=0.02)
    compton, rayleigh = (c.sum((1, 2, 3)) for c in coarse)
    assert rayleigh[0] == rayleigh[2] == 0  # 50 and 80 keV keep their energy, in the bins above 49.5 and 79.5
    assert compton[1] > 0
    assert compton[3] > 0


def test_engines_and_tallies_agree_on_multiple_scatter(sections):
    need("compiled")
    runs = [
        simulate_scatter(body(), scan(), SPECTRUM, EDGES, n, seed=4, tally=tally, engine=engine, num_batches=32,
                         sections=sections)
        for engine, tally, n in (
            ("compiled", "expected", 60_000), ("torch", "expected", 20_000), ("compiled", "hits", 1_000_000),
            ("torch", "hits", 400_000),
        )
    ]  # fmt: skip
    for kind in ("single", "multiple"):
        sums = torch.stack([r._of(kind).sum((1, 2, 3, 4)) for r in runs])  # (4, B)
        mean, error = sums.mean(1), sums.std(1) / 32**0.5
        z = (mean[:, None] - mean) / (error[:, None] ** 2 + error**2).sqrt()
        assert z.abs().max() < 3.5
        assert (error / mean).max() < 0.03


@pytest.mark.parametrize("engine", ENGINES)
def test_a_seed_fixes_the_result(engine, sections):
    need(engine)

    def run(seed):
        return simulate_scatter(
            body(), scan(), SPECTRUM, EDGES, 2000, seed=seed, engine=engine, sections=sections
        ).batches

    torch.manual_seed(0)
    state = torch.get_rng_state()
    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_compiled_result_does_not_depend_on_the_threads(sections, monkeypatch):
    pytest.importorskip("numba")
    from ctlib.cpu import threads

    results = []
    for num in (1, 3):
        monkeypatch.setattr(threads, "num_threads", lambda num=num: num)
        results.append(simulate_scatter(body(), scan(), SPECTRUM, EDGES, 4000, engine="compiled", sections=sections))
    assert torch.equal(results[0].batches, results[1].batches)
    assert torch.equal(results[0].energy_kev, results[1].energy_kev)


def test_scatter_is_single_and_multiple(sections):
    tally = simulate_scatter(body(), scan(), SPECTRUM, EDGES, 1000, engine="torch", sections=sections)
    torch.testing.assert_close(tally.mean(), tally.mean("single") + tally.mean("multiple"))
    assert tally.mean().shape == tally.error().shape == (4, 2, 1, 6)
    assert (tally.error("primary") == 0).all()
    with pytest.raises(ArgumentError, match="kind"):
        tally.mean("triple")


def test_vacuum_scatters_nothing(sections):
    empty = VoxelPhantom(Volume((1, 4, 4), (100.0, 40.0, 40.0)), MATERIALS, torch.zeros(2, 1, 4, 4))
    tally = simulate_scatter(empty, scan(), SPECTRUM, EDGES, 1000, tally="hits", engine="torch", sections=sections)
    assert tally.mean().sum() == 0
    assert float(tally.mean("primary").sum((0, 2)).mean()) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("tally", {"tally": "forced"}),
        ("engine", {"engine": "fortran"}),
        ("photons_per_view", {"photons_per_view": 0}),
        ("num_points", {"num_points": 0}),
        ("num_batches", {"num_batches": 1}),
    ],
)
def test_wrong_arguments_are_named(argument, options, sections):
    given = {"photons_per_view": 100, "sections": sections} | options
    with pytest.raises(ArgumentError) as caught:
        simulate_scatter(body(), scan(), SPECTRUM, EDGES, **given)
    assert caught.value.argument == argument


def test_the_quadrature_names_a_wrong_process(sections):
    with pytest.raises(ArgumentError, match="process"):
        single_scatter(body(), scan(), SPECTRUM, EDGES, process="pair", sections=sections)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("tally", ["hits", "expected"])
def test_cuda_by_the_same_call(tally, sections):
    here = simulate_scatter(body(), scan(), SPECTRUM, EDGES, 200_000, tally=tally, sections=sections, num_batches=32)
    there = simulate_scatter(
        body(device="cuda"), scan(), SPECTRUM, EDGES, 2_000_000, tally=tally, sections=sections, num_batches=32
    )
    assert there.batches.is_cuda
    for kind in ("single", "multiple"):
        a, b = here._of(kind).sum((1, 2, 3, 4)), there._of(kind).sum((1, 2, 3, 4)).cpu()
        assert abs(a.mean() - b.mean()) < 4 * ((a.var() + b.var()) / 32).sqrt()
