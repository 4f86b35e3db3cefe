"""The X-ray transform: every engine, every geometry, against itself, against exact integrals and against ASTRA."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ctlib.backends.reference.astra_engine import astra_geometries
from ctlib.errors import ArgumentError
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume
from ctlib.linop import dot_test
from ctlib.phantoms import shepp_logan
from ctlib.projector import Projector

try:
    import astra
except ImportError:  # no wheel for this platform
    astra = None
OURS = ("numba", "sparse", "torch")
needs_astra = pytest.mark.skipif(astra is None, reason="astra-toolbox, an optional engine and oracle, is not installed")
ASTRA = pytest.param("astra", marks=needs_astra)
RULES = settings(deadline=None, max_examples=15, derandomize=True)
sizes, lengths = st.integers(1, 70), st.floats(0.3, 3.0)


@st.composite
def geometries(draw, kinds=("parallel", "fan", "cone"), square=False):
    """Random scans: odd and even sizes, anisotropic voxels, offsets, single views, rays that miss."""
    kind = draw(st.sampled_from(kinds))
    shape = tuple(draw(sizes) for _ in range(3 if kind == "cone" else 2))
    shape = tuple(min(n, 8) for n in shape) if kind == "cone" else shape
    voxel = draw(lengths)
    volume = Volume(shape, voxel if square else tuple(draw(lengths) for _ in shape))
    views = draw(st.integers(1, 5))
    common = {
        "volume": volume, "num_views": views, "num_cols": draw(sizes), "pitch_mm": draw(lengths),
        "angles": [draw(st.floats(-7, 7)) for _ in range(views)], "detector_offset_mm": draw(st.floats(-2, 2)),
    }  # fmt: skip
    if kind == "parallel":
        return ParallelBeam(**common)
    reach = volume.reach_mm
    origin = reach * draw(st.floats(1.1, 4.0))
    common |= {"source_origin_mm": origin, "source_detector_mm": origin * draw(st.floats(0.8, 2.5))}
    return FanBeam(**common) if kind == "fan" else ConeBeam(**common, num_rows=draw(st.integers(1, 6)))


def random_pair(geometry, batch=(), dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*batch, *geometry.volume.shape, generator=generator, dtype=dtype)
    return x, torch.randn(*batch, *geometry.sino_shape, generator=generator, dtype=dtype)


@pytest.mark.parametrize("backend", OURS)
@RULES
@given(geometry=geometries())
def test_the_adjoint_is_exact(backend, geometry):
    A = Projector(geometry, backend)
    assert dot_test(A, torch.Generator().manual_seed(1), batch=(5,)) < 1e-12
    assert dot_test(A, torch.Generator().manual_seed(1), batch=(5,), dtype=torch.float32) < 1e-6
    x, y = random_pair(geometry)
    assert A.T.T is A
    assert torch.equal(A.T.T(x), A(x))
    assert A(x).shape == geometry.sino_shape
    assert A.T(y).shape == geometry.volume.shape


@needs_astra
@RULES
@given(geometry=geometries(("parallel", "fan"), square=True))
def test_the_adjoint_of_astras_matrix_is_exact(geometry):
    assert dot_test(Projector(geometry, "astra"), torch.Generator().manual_seed(1), batch=(5,)) < 1e-12


@RULES
@given(geometry=geometries())
def test_engines_agree_to_rounding(geometry):
    x, y = random_pair(geometry, (2,))
    first = Projector(geometry, "numba")
    for backend in ("sparse", "torch"):
        other = Projector(geometry, backend)
        torch.testing.assert_close(other(x), first(x), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(other.T(y), first.T(y), rtol=1e-10, atol=1e-10)


@RULES
@given(geometry=geometries(), a=st.floats(-2, 2))
def test_linear_and_a_batch_is_a_loop(geometry, a):
    A = Projector(geometry)
    x, _ = random_pair(geometry, (2, 3))
    y = A(x)
    torch.testing.assert_close(y[1, 2], A(x[1, 2]), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(A(x[0, 0] + a * x[0, 1]), y[0, 0] + a * y[0, 1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", [*OURS, ASTRA])
@pytest.mark.parametrize("kind", ["parallel", "fan", "cone"])
def test_gradients_of_first_and_second_order(backend, kind):
    if (backend, kind) == ("astra", "cone"):
        with pytest.raises(ArgumentError, match="3-D"):
            Projector(SMALL[kind], backend)
        return
    A = Projector(SMALL[kind], backend)
    x, y = (t.requires_grad_() for t in random_pair(SMALL[kind]))
    assert torch.autograd.gradcheck(A, (x,))
    assert torch.autograd.gradcheck(A.T, (y,))
    assert torch.autograd.gradgradcheck(A, (x,))
    assert torch.autograd.gradgradcheck(A.T, (y,))


SMALL = {
    "parallel": ParallelBeam(Volume((4, 5), 0.8), 3, 6, 0.9),
    "fan": FanBeam(Volume((4, 5), 0.8), 3, 6, 0.9, source_origin_mm=8.0, source_detector_mm=12.0),
    "cone": ConeBeam(Volume((3, 4, 3), 0.8), 2, 4, 0.9, num_rows=3, source_origin_mm=8.0, source_detector_mm=12.0),
}


@pytest.mark.parametrize("kind", SMALL)
def test_the_gradient_of_half_the_squared_residual_is_the_back_projected_residual(kind):
    A = Projector(SMALL[kind])
    x, y = random_pair(SMALL[kind], dtype=torch.float32)
    x.requires_grad_()
    (0.5 * (A(x) - y).square().sum()).backward()
    torch.testing.assert_close(x.grad, A.T(A(x.detach()) - y))


@pytest.mark.parametrize(("pixel", "norm"), [(1.0, 4.0), (2.0, 8.0), (0.5, 2.0)])
@pytest.mark.parametrize("backend", [*OURS, ASTRA])
def test_the_norm_of_one_parallel_view_is_known(backend, pixel, norm):
    """Each of 16 rays sums its own 16 pixels: A.T A has the eigenvalue 16 pixel^2."""
    A = Projector(ParallelBeam(Volume((16, 16), pixel), 1, 16, pixel), backend)
    assert A.norm() == pytest.approx(norm, rel=1e-6)


@pytest.mark.parametrize("backend", OURS)
def test_the_norm_of_one_view_of_a_far_fan_is_known(backend):
    """Magnification 2, detector cells of 0.5 mm: the rays meet 16 pixels of 0.25 mm in their middles."""
    fan = FanBeam(Volume((16, 16), 0.25), 1, 16, 0.5, source_origin_mm=1e5, source_detector_mm=2e5)
    assert Projector(fan, backend).norm() == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("backend", OURS)
def test_shepp_logan_against_exact_line_integrals(backend):
    """Joseph's method at bin = pixel: 1.38 % of the integral at the bin center, 0.70 % of its bin average."""
    geometry = ParallelBeam(Volume((256, 256)), 180, 363, 1.0)
    phantom = shepp_logan(256.0)
    y = Projector(geometry, backend)(phantom.raster(geometry.volume, 8, torch.float64))
    for rays_per_bin, bound in ((1, 0.0145), (8, 0.0073)):
        exact = phantom.line_integrals(geometry, rays_per_bin)
        assert (y - exact).norm() / exact.norm() <= bound


def test_a_cone_projection_approaches_exact_line_integrals():
    """The error of a 3-D Shepp-Logan falls at least as fast as the voxel size to the power 0.8."""
    phantom, errors = shepp_logan(64.0, ndim=3), []
    for n in (16, 32, 64):
        volume = Volume((n, n, n), 64.0 / n)
        cone = ConeBeam(volume, 4, 40, 3.2, num_rows=40, source_origin_mm=100.0, source_detector_mm=200.0)
        exact = phantom.line_integrals(cone, 2)
        y = Projector(cone)(phantom.raster(volume, 4, torch.float64))
        errors.append(float((y - exact).norm() / exact.norm()))
    assert errors[2] < errors[1] / 2**0.8 < errors[0] / 2**1.6


@needs_astra
@RULES
@given(geometry=geometries(("parallel",), square=True))
def test_parallel_beam_equals_astras_linear_model(geometry):
    """ASTRA's projector itself, in float32. At a view exactly between the axes its choice of main axis may differ."""
    turn = np.abs(np.mod(np.asarray(geometry.angles), np.pi / 2) - np.pi / 4)
    assume(turn.min() > 1e-3)
    x, _ = random_pair(geometry)
    difference = (Projector(geometry)(x) - run_astra(geometry, x, "linear")).norm()
    assert difference <= 1e-5 * Projector(geometry)(x.abs()).norm()  # rounding scales with what is added, not the sum


@needs_astra
@RULES
@given(geometry=geometries(("fan",), square=True))
def test_the_astra_engine_is_astras_fan_projector(geometry):
    x, _ = random_pair(geometry)
    A = Projector(geometry, "astra")
    difference = (A(x) - run_astra(geometry, x, "line_fanflat")).norm()
    assert difference <= 1e-4 * A(x.abs()).norm()


@needs_astra
@pytest.mark.parametrize("offset", [0.0, 7.0])
def test_fan_beam_agrees_with_astra_as_well_as_two_discretizations_can(offset):
    """Joseph and Siddon at pixels of 2 mm: 1.7 % and 2.0 % from exact, and no further from each other."""
    volume = Volume((128, 128), 2.0)
    places = {"source_origin_mm": 400.0, "source_detector_mm": 700.0, "detector_offset_mm": offset}
    fan = FanBeam(volume, 60, 160, 3.0, **places)
    phantom = shepp_logan(256.0)
    x, exact = phantom.raster(volume, 8, torch.float64), phantom.line_integrals(fan, 8)
    ours, theirs = Projector(fan)(x), Projector(fan, "astra")(x)
    errors = [float((a - b).norm() / exact.norm()) for a, b in ((ours, exact), (theirs, exact), (ours, theirs))]
    assert max(errors) < 0.022
    assert errors[0] < errors[1]


def run_astra(geometry, x, model):
    """ASTRA's forward projection of x by its own algorithm."""
    volume, projection = astra_geometries(geometry)
    projector = astra.create_projector(model, projection, volume)
    handle, sino = astra.create_sino(x.numpy().astype(np.float32), projector)
    astra.data2d.delete(handle)
    astra.projector.delete(projector)
    return torch.from_numpy(sino.astype(np.float64))


@pytest.mark.parametrize("backend", OURS)
def test_several_rays_per_bin_of_a_cone_are_averaged_over_rows_and_columns(backend):
    """Against the rays of a scan with 3 x 3 times as many bins; unequal angles, a shifted detector, tall bins."""
    options = {"source_origin_mm": 14.0, "source_detector_mm": 25.0, "detector_offset_mm": 0.7, "angles": [0.3, 1.1, 4]}
    volume = Volume((7, 8, 6), (0.9, 0.7, 1.1))
    A = Projector(ConeBeam(volume, 3, 5, 2.4, num_rows=4, row_pitch_mm=3.0, **options), backend, rays_per_bin=3)
    fine = Projector(ConeBeam(volume, 3, 15, 0.8, num_rows=12, row_pitch_mm=1.0, **options), "sparse")
    x, y = random_pair(A.geometry, (2,))
    torch.testing.assert_close(A(x), fine(x).unflatten(3, (5, 3)).unflatten(2, (4, 3)).mean((3, 5)))
    spread = y.repeat_interleave(3, 2).repeat_interleave(3, 3) / 9
    torch.testing.assert_close(A.T(y), fine.T(spread))
    assert dot_test(A, torch.Generator().manual_seed(0)) < 1e-12


def test_a_ray_that_misses_sees_nothing():
    geometry = ParallelBeam(Volume((8, 8)), 3, 4, 1.0, detector_offset_mm=50.0)
    x, y = random_pair(geometry)
    for backend in Projector.backends():
        assert Projector(geometry, backend)(x).abs().max() == 0
        assert Projector(geometry, backend).T(y).abs().max() == 0


def test_dtype_follows_the_input_and_memory_layout_does_not_matter():
    geometry = SMALL["fan"]
    x, _ = random_pair(geometry, (2,))
    A = Projector(geometry)
    assert A(x.float()).dtype == torch.float32
    torch.testing.assert_close(A(x.transpose(0, 1).contiguous().transpose(0, 1)), A(x))
    torch.testing.assert_close(A(x[:, ::1]), A(x.clone()))


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("x", lambda A: A(torch.zeros(5, 4))),
        ("x", lambda A: A(torch.zeros(4, 5, dtype=torch.int64))),
        ("x", lambda A: A([[0.0]])),
        ("y", lambda A: A.T(torch.zeros(4, 5))),
        ("backend", lambda A: Projector(A.geometry, "fast")),
        pytest.param(
            "voxel_mm",
            lambda A: Projector(ParallelBeam(Volume((4, 4), (1.0, 2.0)), 2, 5, 1.0), "astra"),
            marks=needs_astra,
        ),
    ],
)
def test_bad_input_names_the_argument(argument, call):
    with pytest.raises(ArgumentError) as caught:
        call(Projector(SMALL["parallel"]))
    assert caught.value.argument == argument


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", SMALL)
def test_the_same_call_runs_on_cuda(kind):
    A = Projector(SMALL[kind])
    x, y = random_pair(SMALL[kind], (2,))
    torch.testing.assert_close(A(x.cuda()).cpu(), A(x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(A.T(y.cuda()).cpu(), A.T(y), rtol=1e-10, atol=1e-10)
    assert dot_test(A, torch.Generator().manual_seed(0), device="cuda") < 1e-12
