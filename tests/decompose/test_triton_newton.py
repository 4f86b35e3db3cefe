"""Newton's method on the GPU against torch and the compiled loops: on a CUDA device, or in Triton's interpreter."""

from dataclasses import replace

import pytest
import torch
from kernel_device import CUDA, DEVICE, triton

from ctlib.decompose import decompose_mle, engine, small
from ctlib.decompose.gradient import describe, implicit_vjp
from ctlib.decompose.mle import polynomial, posed
from ctlib.decompose.restart import FEW, FLAT, descend, local, starts

gpu = pytest.importorskip("ctlib.decompose.gpu.engine")

pytestmark = pytest.mark.usefixtures("one_thread")
TWO = ("water", "calcium"), ((-5, 35), (-5, 10)), (25.0, 1.5), (15, 33, 45, 59, 120), 1e6
THREE = ("water", "calcium", "iodine"), ((-5, 35), (-5, 10), (-1, 1)), (25.0, 1.5, 0.05), (15, 30, 45, 59, 75, 120), 1e9
CASES = {2: TWO, 3: THREE}
TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-7}
ROUNDING = {2: 5e-6, 3: 1e-4}  # in optical depth, of float32
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
MATERIALS = pytest.mark.parametrize("num", CASES)


@pytest.fixture(scope="module")
def scan(build, draw):
    """scan(materials, pixels): a model with few energies, Poisson counts of random path lengths, and the problem."""

    def make(num, pixels, dtype=torch.float32, box=None, photons=None):
        materials, wide, top, thresholds, most = CASES[num]
        model = build(materials, thresholds, most if photons is None else photons, bin_kev=8.0)
        _, counts = draw(model, pixels, top)
        problem = posed(model, counts.to(dtype), box or wide, 200, None)
        return problem, polynomial(model, problem)

    return make


def on(problem):
    """The problem on the device that the kernels run on."""
    names = "counts", "spectra", "attenuation", "low", "high", "photons"
    return replace(problem, **{name: getattr(problem, name).to(DEVICE) for name in names})


def solved(problem, start, max_iters=12, tolerance=None):
    """The kernel's path lengths, steps and flags, on the CPU."""
    start = start.to(problem.counts.to(DEVICE)) if callable(start) else start.to(DEVICE)
    found = gpu.solve(on(problem), start, max_iters, tolerance or TOLERANCE[problem.counts.dtype])
    assert {t.device.type for t in found} == {DEVICE}
    return tuple(t.cpu() for t in found)


def near(ours, right, depth, scale):
    """Path lengths that differ by no more than an optical depth."""
    assert float(((ours - right).abs() * scale).max()) < depth


@DTYPES
@MATERIALS
def test_it_finds_what_torch_and_the_compiled_loops_find(scan, num, dtype):
    problem, start = scan(num, 24, dtype)
    paths, steps, done = solved(problem, start)
    assert done.all()
    assert steps.dtype == torch.int32
    right, taken, sure = engine._solve_torch(problem, start, 12, TOLERANCE[dtype])
    near(paths, right, ROUNDING[num] if dtype == torch.float32 else 1e-11, problem.scale)
    assert (steps - taken).abs().max() <= (dtype == torch.float32)
    assert torch.equal(done, sure)
    if loops := engine.kernels(problem):  # those of the CPU count steps on few energies too
        right, _, sure = loops.solve(problem, start, 12, TOLERANCE[dtype])
        near(paths, right, ROUNDING[num], problem.scale)
        assert torch.equal(done, sure)


@MATERIALS
def test_from_starts_of_the_callers_that_are_far_away(scan, num):
    """Steps that are cut, and those of the log misfit; the start stays as it is."""
    problem, _ = scan(num, 12)
    start = torch.zeros(12, num)
    start[::2, 0] = 34.0
    before = start.clone()
    paths, steps, done = solved(problem, start, max_iters=15)
    assert torch.equal(start, before)
    right, taken, sure = engine._solve_torch(problem, start, 15, TOLERANCE[torch.float32])
    assert taken.max() > 4
    assert torch.equal(done, sure)
    near(paths[done], right[done], ROUNDING[num], problem.scale)
    assert (steps - taken)[done].abs().max() <= 1


@pytest.mark.parametrize("far", [False, True])
@MATERIALS
def test_one_step_is_the_references(scan, num, far, monkeypatch):
    """From where the Hessian is not definite in some pixels, steps are cut in some, and the box holds some."""
    from ctlib.decompose.newton import newton_step

    problem, near_by = scan(num, 30, torch.float64, box=((0, 35), (0, 10), (0, 1))[:num])
    start = torch.zeros(30, num, dtype=torch.float64)
    start[::3, 0], start[1::3, 1], start[::2] = 34.0, 4.0, near_by(problem)[::2]
    if not far:
        monkeypatch.setattr("ctlib.decompose.gpu.newton.NUM_FAR", triton.language.constexpr(0))
    if far or not CUDA:  # compiled kernels do not see a changed constant
        right = newton_step(problem, problem.tables, start, far=far)
        near(solved(problem, start, max_iters=1)[0], right, 1e-9, problem.scale)


def test_components_on_the_box_are_held_and_the_others_solved(scan):
    problem, start = scan(2, 40, box=((2, 12), (0.2, 0.6)))
    paths, _, done = solved(problem, start)
    right, _, sure = engine._solve_torch(problem, start, 12, TOLERANCE[torch.float32])
    near(paths, right, 1e-5, problem.scale)
    assert torch.equal(done, sure)
    held = (paths == problem.low) | (paths == problem.high)
    assert min(int(held.any(-1).sum()), int((~held).any(-1).sum()), int(held.all(-1).sum())) > 2
    right, _, _ = engine._solve_torch(problem.wide(), start.to(problem.wide().counts), 40, 1e-9)
    near(paths[done].double(), right[done], 1e-5, problem.scale)


def test_a_pixel_whose_step_the_box_cuts_is_in_doubt(scan):
    """It moved little, but the likelihood still falls; on the bound it is held, and settled."""
    problem, start = scan(2, 6)
    right, _, _ = solved(problem, start)
    for i in (0, 5):
        high = torch.stack([right[i, 0] - 0.01, problem.high[1]])
        one = replace(problem, counts=problem.counts[i : i + 1], high=high, photons=problem.photons)
        first = right[i : i + 1].clone()
        first[:, 0] = high[0] - 1e-5
        paths, steps, done = solved(one, first)
        assert (paths[0, 0], int(steps), bool(done)) == (high[0], 1, False)
        assert solved(one, paths, max_iters=3)[2].all()


@MATERIALS
def test_few_counts_leave_a_pixel_in_doubt_where_they_do_not_tell_its_path_lengths(scan, num):
    """By the variances of path lengths, in optical depth, in double precision; and by the misfit."""
    problem, start = scan(num, 30, photons=torch.logspace(2, 5, 30, dtype=torch.float64))
    paths, _, done = solved(problem, start)
    wide = problem.wide()
    at = local(wide, wide.tables, paths.double())
    few = wide.counts.sum(-1) * wide.photons < FEW
    variances = small.full(at.fisher).inverse().diagonal(dim1=-2, dim2=-1) * wide.scale**2 / wide.photons[:, None]
    told = (variances <= FLAT**2).all(-1)
    assert few.any()
    assert not (done & few & ~told).any()
    assert not (done & (at.misfit > 0.0101 * wide.counts.sum(-1))).any()
    if num == 2:
        assert 4 < int(done.sum()) < 26
        right = engine._solve_torch(problem, start, 12, TOLERANCE[torch.float32])[2]
        assert int((done != right).sum()) <= 2  # torch asks for the smallest eigenvalue


def test_a_pixel_does_not_depend_on_others_nor_on_the_call(scan):
    """Bit by bit: a second call, another order, another block, and beside a pixel that never ends."""
    problem, start = scan(2, 70)
    every = solved(problem, start, max_iters=6)
    again = solved(problem, start, max_iters=6)
    assert all(torch.equal(a, b) for a, b in zip(every, again, strict=True))
    counts = problem.counts.flip(0).clone()
    counts[3] = torch.nan
    turned = solved(replace(problem, counts=counts, photons=problem.photons), start, max_iters=6)
    others = torch.arange(70) != 3
    for a, b in zip(every, turned, strict=True):
        assert torch.equal(a.flip(0)[others], b[others])
    assert not turned[2][3]
    assert turned[1][3] == 6


def test_memory_layout_leading_axes_and_photons_do_not_matter(scan):
    problem, start = scan(2, 12, photons=torch.linspace(1e5, 1e6, 12).double())
    right = solved(problem, start)
    counts = problem.counts.unflatten(0, (3, 4)).movedim(-1, 0).contiguous().movedim(0, -1)
    assert not counts.is_contiguous()
    whole = solved(replace(problem, counts=counts, photons=problem.photons.unflatten(0, (3, 4))), start)
    for a, b in zip(right, whole, strict=True):
        assert torch.equal(a, b.flatten(0, 1))
    same = solved(replace(problem, photons=problem.photons[:1].expand(12)), start)
    number = solved(replace(problem, photons=problem.photons[0]), start)
    assert all(torch.equal(a, b) for a, b in zip(same, number, strict=True))
    w = torch.ones(3, 4, 2)
    flat = gpu.adjoint(on(problem), right[0].to(DEVICE), w.flatten(0, 1).to(DEVICE))
    found = gpu.adjoint(on(replace(problem, counts=counts)), whole[0].to(DEVICE), w.to(DEVICE))
    for a, b in zip(flat, found, strict=True):
        assert torch.equal(a, b.flatten(0, 1))


@DTYPES
@MATERIALS
def test_the_gradient_is_the_implicit_one(scan, num, dtype):
    """With components on the box in some pixels, and path lengths that are no minimum, of no gradient, in others."""
    _, (_, (low, high), *_), *_ = CASES[num]
    problem, start = scan(num, 30, dtype, box=((2, 20), (low, high), (-1, 1))[:num])
    paths = engine._solve_torch(problem, start, 12, TOLERANCE[dtype])[0]
    paths[::7] = torch.tensor([34.0, 2.0, 0.05])[:num].to(dtype)  # where the Hessian is not definite
    v = torch.randn(30, num, generator=torch.Generator().manual_seed(1)).to(dtype)
    found = gpu.adjoint(on(problem), paths.to(DEVICE), v.to(DEVICE))
    w, to_counts = (t.cpu().double() for t in found)
    assert (found[0].dtype, found[1].dtype) == (dtype, dtype)
    wide, at = problem.wide(), paths.double()
    right = implicit_vjp(wide, at, v.double(), (True, False))[0]
    condition = describe(wide, at)[1].nan_to_num(posinf=0.0)  # no gradient where it is infinite
    error = (to_counts - right).abs().amax(-1) / right.abs().amax(-1).clamp_min(1e-30)
    assert (error <= (3e-7 if dtype == torch.float32 else 1e-15) * condition).all()
    none = gpu.adjoint(on(problem), torch.full_like(paths, torch.nan).to(DEVICE), v.to(DEVICE))
    assert none[0].abs().max() == 0  # as `adjoint_solution` has it
    assert none[1].isnan().all()
    free = ~wide.active(at, local(wide, wide.tables, at).gradient)
    assert (w[~free] == 0).all()
    assert min(int((~free).any(-1).sum()), int((w == 0).all(-1).sum())) > 2


@pytest.mark.parametrize(("num", "pixels", "most"), [(2, 8, 8), (3, 4, 12)])
def test_restarts_are_those_of_torch(scan, num, pixels, most):
    """Few counts, from starts far apart, where some steps are refused; some have settled when the steps end."""
    problem, _ = scan(num, pixels, torch.float64, photons=torch.logspace(2, 4, pixels, dtype=torch.float64))
    first = starts(problem)
    every = problem.rows(torch.arange(pixels).repeat(len(first)))
    first = first.flatten(0, 1)
    before = first.clone()
    found = [t.cpu() for t in gpu.descend(on(every), first.to(DEVICE), most, 1e-7)]
    assert torch.equal(first, before)
    right = descend(every, first, most, 1e-7)
    assert 0 < int(right[3].sum()) < len(first)
    for ours, theirs, tolerance in zip(found, right, (1e-7, 1e-10, 0, 0), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_the_layer_with_the_kernels_is_the_layer(build, draw, monkeypatch):
    """Through the engine: values, flags and gradients to counts and thresholds; a reading that is no number."""
    model = build(bin_kev=8.0)
    _, counts = draw(model, 20)
    counts[4, 1], counts[7] = torch.nan, torch.tensor([8.0, 0, 7, 6])

    def layer(y):
        y, thresholds = y.clone().requires_grad_(), model.thresholds_kev.clone().requires_grad_()
        found, info = decompose_mle(model, y, thresholds_kev=thresholds, return_info=True)
        weights = torch.arange(found.numel(), device=found.device).reshape(found.shape).to(found)
        grads = torch.autograd.grad((weights * found)[info.converged].sum(), (y, thresholds))
        return tuple(t.detach().cpu() for t in (found, info.converged, *grads))

    called = []
    right = layer(counts.float())
    for name in ("solve", "descend", "adjoint"):
        kernel = getattr(gpu, name)
        monkeypatch.setattr(gpu, name, lambda *a, kernel=kernel, name=name: called.append(name) or kernel(*a))
    if not CUDA:
        monkeypatch.setattr(engine, "kernels", lambda problem: gpu if gpu.fits(problem) else None)
    ours = layer(counts.float().to(DEVICE))
    assert called == ["solve", "descend", "adjoint"]
    for a, b in zip(right, ours, strict=True):
        torch.testing.assert_close(b, a, rtol=2e-4, atol=2e-4, equal_nan=True)


def test_which_problems_it_takes(scan, build):
    problem, _ = scan(2, 3)
    assert gpu.fits(problem)
    assert gpu.fits(replace(problem, counts=problem.counts.double(), spectra=problem.spectra.double()))
    own = replace(problem, spectra=problem.spectra.expand(3, -1, -1))
    none, half = (replace(problem, counts=c) for c in (problem.counts[:0], problem.counts.half()))
    four = replace(problem, attenuation=problem.attenuation[:, [0, 1, 0, 1]])
    nine = replace(problem, counts=problem.counts[:, [0] * 9], spectra=problem.spectra[:, [0] * 9])
    assert [gpu.fits(p) for p in (own, none, half, four, nine)] == [False] * 5
    eight = replace(problem, counts=torch.ones(2, 8), attenuation=problem.attenuation[:, [0, 1, 0]])
    assert gpu.fits(eight)
    assert not gpu.fits(replace(eight, counts=torch.ones(2, 8).double()))  # more than the registers hold
    assert (engine.kernels(on(problem)) is gpu) == CUDA


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA, reason="needs a CUDA device")
@MATERIALS
def test_many_pixels_are_those_of_the_cpu(build, draw, num):
    materials, box, top, thresholds, photons = CASES[num]
    model = build(materials, thresholds, photons, bin_kev=1.0)
    _, counts = draw(model, 100_003, top)
    ours, info = decompose_mle(model, counts.float().to(DEVICE), box, return_info=True)
    right, flags = decompose_mle(model, counts.float(), box, return_info=True)
    assert torch.equal(info.converged.cpu(), flags.converged)
    assert float(((ours.cpu() - right).abs() / torch.tensor(top)).max()) < 1e-3
