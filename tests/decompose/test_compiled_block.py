"""Compiled arithmetic of the decomposition against its torch reference, function by function."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ctlib.decompose import small
from ctlib.decompose.gradient import adjoint_solution
from ctlib.decompose.likelihood import curvature, score
from ctlib.decompose.mle import polynomial, posed
from ctlib.decompose.newton import LIMIT, free_step, log_step, newton_step
from ctlib.physics.moments import moment_tables, moments

pytest.importorskip("numba")
block, newton = pytest.importorskip("ctlib.decompose.cpu.block"), pytest.importorskip("ctlib.decompose.cpu.newton")
engine = pytest.importorskip("ctlib.decompose.cpu.engine")
memory = pytest.importorskip("ctlib.decompose.cpu.rows")
unpacked = pytest.importorskip("ctlib.decompose.cpu.packed").unpacked
systems = pytest.importorskip("ctlib.decompose.cpu.systems")

from numba import njit  # noqa: E402

from ctlib.backends.cpu.simd import zeros  # noqa: E402
from ctlib.backends.cpu.simd_memory import store  # noqa: E402

EVERY = np.arange(block.BLOCK)
SETUPS = {2: (("water", "calcium"), ((-5, 35), (-5, 10)), (25.0, 1.5)),
          3: (("water", "calcium", "iodine"), ((-5, 35), (-5, 10), (-1, 1)), (25.0, 1.5, 0.05))}  # fmt: skip


class Case:
    """A block of pixels at path lengths off the solution, as the compiled loops see it and as torch does."""

    def __init__(self, models, draw, num, box=None):
        _, wide, top = SETUPS[num]
        self.model, self.box = models[num], box or wide
        self.paths, counts = draw(self.model, block.BLOCK, top=top)
        self.paths = 0.8 * self.paths + 0.02
        self.problem = posed(self.model, counts.float(), self.box, 1, None)
        self.reference = replace(
            self.problem, **{k: getattr(self.problem, k).double() for k in ("counts", "spectra", "attenuation")},
            low=self.problem.low.double(), high=self.problem.high.double(),
        )  # fmt: skip
        self.start = polynomial(self.model, self.problem)
        self.num = num
        self.task, self.fine, self.rough = loops(self.problem, self.start)
        self.b = block.new_block(self.problem.counts.shape[-1], self.task.materials)
        memory.read(self.task.y, EVERY, self.b.y)
        memory.read(self.paths.float().numpy(), EVERY, self.b.a)
        self.tables = moment_tables(self.reference.attenuation, self.reference.spectra)

    def prepared(self):
        """The same with moments and curvature computed, and all components free; with it what torch says of both."""
        block.moments(self.fine, self.b, True)
        block.curvature(self.b)
        parts = moments(self.paths, self.reference.attenuation, self.tables)
        return parts, score(self.reference.counts, *parts[:2]), curvature(self.reference.counts, *parts)

    def pairs(self, packed):
        """Rows of a (6, BLOCK) array for the pairs that this number of materials has."""
        return rows(packed[[k * (5 - k) // 2 + m for k in range(self.num) for m in range(k, self.num)]])


def loops(problem, start, tolerance=1e-3):
    """Task, and rules of all and of few energies, as the loops take them."""
    return unpacked.py_func(*engine._given(problem, tolerance), *engine._packed(problem, start))


def rows(array, num=None):
    """An array of a block (., BLOCK) as pixels (BLOCK, .), float64."""
    return torch.from_numpy(array[:num].copy()).T.double()


def near(got, expected, tolerance):
    """Largest difference in each column below this share of the largest entry of that column."""
    assert ((got - expected).abs().amax(0) <= tolerance * expected.abs().amax(0)).all()


@pytest.fixture(scope="module")
def models(build):
    return {num: build(materials) for num, (materials, *_) in SETUPS.items()}


@pytest.fixture(params=[2, 3])
def case(request, models, draw):
    return Case(models, draw, request.param)


def test_moments_are_counts_and_their_derivatives(case):
    parts, _, _ = case.prepared()
    near(rows(case.b.acc), torch.cat([p.flatten(1) if p.ndim > 2 else p for p in parts], 1), 1e-6)


def test_gradient_hessian_and_fisher_information(case):
    _, g, (hessian, fisher) = case.prepared()
    near(rows(case.b.g, case.num), g, 1e-5)
    near(case.pairs(case.b.fisher), fisher, 3e-6)
    near(case.pairs(case.b.h), hessian, 1e-5)


@pytest.mark.parametrize("exponent", [False, True])
def test_the_start_is_the_polynomial_and_uses_every_coefficient(case, exponent):
    """Each monomial in turn with a coefficient of its own, so that none can be lost, swapped or change its sign."""
    g = torch.Generator().manual_seed(3)
    counts = case.problem.counts * (1e-9 if exponent else 1)  # darker than the darkest transmission that counts
    sizes = case.start.coefficients.abs().amax(0)
    wide = {"low": torch.full_like(case.problem.low, -1e4), "high": torch.full_like(case.problem.high, 1e4)}
    for row in range(len(case.start.coefficients)):
        coefficients = torch.zeros_like(case.start.coefficients)
        coefficients[0] = 100.0
        coefficients[row] += sizes * torch.rand(sizes.shape, generator=g)
        start = replace(case.start, coefficients=coefficients)
        problem = replace(case.problem, counts=counts, **wide)
        task, _, _ = loops(problem, start)
        memory.read(task.y, EVERY, case.b.y)
        block.start(task, case.b)
        torch.testing.assert_close(rows(case.b.a, len(sizes)), start(problem).double(), rtol=2e-6, atol=0)


def test_the_start_stays_in_the_box_and_is_not_negative(models, draw):
    case = Case(models, draw, 2, box=((-5, 9), (0.3, 0.9)))
    block.start(case.task, case.b)
    found = rows(case.b.a, 2)
    torch.testing.assert_close(found, case.start(case.problem).double(), rtol=1e-5, atol=2e-5)
    assert (found >= torch.tensor([0, 0.3])).all()
    assert (found <= torch.tensor([9, 0.9]) + 1e-6).all()
    assert (found[:, 0] == 9).any()


def test_steps_of_the_free_components(case):
    """With a component that the gradient holds in every third pixel, and an indefinite Hessian in every fifth."""
    _, g, (hessian, fisher) = case.prepared()
    low, high = case.reference.low, case.reference.high
    for k, sign, bound in ((1, 1, low), (0, -1, high)):
        at = slice(k, None, 3)
        case.paths[at, k], g[at, k] = bound[k], sign * g[at, k].abs()
        case.b.a[k, at], case.b.g[k, at] = float(bound[k]), sign * abs(case.b.g[k, at])
    hessian[::5, 0] *= -1
    case.b.h[0, ::5] *= -1
    newton.free_step(case.task, case.b)
    free = ~case.reference.active(case.paths, g)
    step = free_step(hessian, fisher, g, free)
    for _ in range(case.num - 1):
        free = free & ~case.reference.active(case.paths, step)
        step = free_step(hessian, fisher, g, free)
    near(rows(case.b.step, case.num), step, 1e-4 if case.num == 2 else 2e-2)
    assert torch.equal(rows(case.b.free, case.num) > 0, free)
    assert (~free).sum() > 20
    assert (rows(case.b.step, case.num)[~free] == 0).all()


@njit
def definite(b, out):
    for at in range(0, block.BLOCK, 16):
        one = zeros(out, 1)
        store(systems.definite(len(b.materials), block.six(one, b.h, at), block.six(one, b.fisher, at)), out, at, 0)


def test_where_the_hessian_is_safe(case):
    """Each minor in turn is negative, or too small a share of Fisher's."""
    _, _, (hessian, fisher) = case.prepared()
    diagonal = [0, 2] if case.num == 2 else [0, 3, 5]
    for n, k in enumerate(diagonal):
        for first, factor in ((n, -1), (n + 3, 5e-4)):
            hessian[first::7, k] *= factor
            case.b.h[[0, 3, 5][n], first::7] *= np.float32(factor)
    out = np.zeros(block.BLOCK, np.float32)
    definite(case.b, out)
    expected = small.positive_definite(hessian, fisher)
    assert torch.equal(torch.from_numpy(out) > 0, expected)
    assert 3 < int(expected.sum()) < block.BLOCK - 3


def test_the_log_step(case):
    parts, _, _ = case.prepared()
    case.b.free[:], case.b.step[:] = 1, 0
    newton.swap_far(case.task._replace(near=np.float32(-1)), case.b)
    expected = log_step(case.reference.counts, *parts[:2], torch.ones(block.BLOCK, case.num, dtype=torch.bool))
    near(rows(case.b.step, case.num), expected, 1e-4 if case.num == 2 else 2e-2)


def test_only_long_steps_are_swapped(case):
    case.prepared()
    newton.free_step(case.task, case.b)
    step, depth = rows(case.b.step, case.num), case.reference.depth(rows(case.b.step, case.num))[:, 0]
    newton.swap_far(case.task._replace(near=np.float32(depth.median())), case.b)
    changed = (rows(case.b.step, case.num) != step).any(1)
    assert torch.equal(changed, depth > depth.median())


@pytest.mark.parametrize("far", [False, True])
def test_one_step_is_the_references(case, far):
    """From where steps are longer than the limit in some pixels, and shorter in others."""
    num = case.num
    case.paths[::2] = torch.tensor([30.0, 0.0, 0.0][:num], dtype=torch.float64)
    memory.read(case.paths.float().numpy(), EVERY, case.b.a)
    task = case.task._replace(num_far=8 if far else 0)
    newton.newton(task, case.fine, case.rough, case.b, 0, 1)
    expected = newton_step(case.reference, case.tables, case.paths, far=far)
    near(rows(case.b.a, num) - case.paths, expected - case.paths, 1e-4 if num == 2 else 2e-2)
    assert (case.b.taken == 1).all()


def test_no_step_is_longer_than_the_limit(case):
    """A step ten times the limit is cut to it, along its direction; one of half the limit is taken whole."""
    num, scale = case.num, torch.tensor(case.task.scale).double()
    step = torch.zeros(block.BLOCK, num, dtype=torch.float64)
    step[:, 0], step[:, 1] = 0.5 * LIMIT / scale[0], -0.1 * LIMIT / scale[1]
    step[::2] *= 20
    case.b.step[:num], case.b.still[:] = step.T.numpy(), 1
    task = case.task._replace(low=(np.float32(-1e3),) * 3, high=(np.float32(1e3),) * 3)
    before = rows(case.b.a, num)
    assert newton.move(task, case.b, np.float32(1e-3))
    assert (case.b.still == 1).all()
    cut = (case.reference.depth(step) / LIMIT).clamp_min(1)
    assert sorted(set(cut.flatten().round(decimals=3).tolist())) == [1, 10]
    torch.testing.assert_close(rows(case.b.a, num), before - step / cut, rtol=1e-5, atol=1e-5)


def test_a_step_that_is_not_finite_leaves_its_pixel(case):
    """Nor does it close: the larger of a number and NaN may be the number, so depth alone does not tell."""
    case.b.step[:], case.b.still[:] = 0, 1
    case.b.step[0, 3], case.b.step[1, 4], case.b.step[1, 20] = float("nan"), float("inf"), 2.9e38
    before = case.b.a.copy()
    assert newton.move(case.task, case.b, np.float32(1e-3))
    assert (case.b.a == before).all()
    assert case.b.still[0].nonzero()[0].tolist() == [3, 4, 20]


def test_what_few_energies_find_is_near_and_all_energies_end_it(case):
    """Rough steps end where the counts of few energies fit, to `EQUAL` and its condition; one step on all is enough."""
    solution, _, done = engine.solve(case.problem, case.start, 40, 1e-4)
    block.start(case.task, case.b)
    task = case.task._replace(tolerance=np.float32(1e-4))
    newton.newton(task, case.rough, case.rough, case.b, 4, 36)
    apart = case.problem.depth(rows(case.b.a, case.num).float() - solution)
    assert done.sum() > 20
    assert 0 < apart[done].max() < (2e-4 if case.num == 2 else 2e-2)
    assert len(case.rough.row) < 0.7 * len(case.fine.row)


def test_a_pixel_does_not_depend_on_its_neighbors(case):
    """Bit by bit, whether they take as many steps, more, or never end."""

    def end(counts):
        return engine.solve(replace(case.problem, counts=counts.contiguous()), case.start, 12, 1e-4)

    counts = case.problem.counts
    together, dark = end(counts), counts.clone()
    dark[1::2] = torch.tensor([3e-6, 0, 2e-6, 1e-6])
    for pixel in range(0, block.BLOCK, 5):
        alone = end(counts[pixel : pixel + 1].expand(40, -1))
        assert all(torch.equal(a[7], b[pixel]) for a, b in zip(alone, together, strict=True))
    assert len(set(together[1].tolist())) > (1 if case.num == 2 else 3)  # some wait, and are solved with others
    beside = end(dark)
    assert not torch.equal(beside[1][1::2], together[1][1::2])
    assert all(torch.equal(a[::2], b[::2]) for a, b in zip(beside, together, strict=True))


def test_the_adjoint_is_the_references(case):
    num = case.num
    parts, _, _ = case.prepared()
    v = torch.randn(block.BLOCK, num, generator=torch.Generator().manual_seed(1))
    memory.read(v.numpy(), EVERY, case.b.step)
    newton.adjoint(case.task, case.fine, case.b)
    w = adjoint_solution(case.reference, parts, case.paths, v.double())
    near(rows(case.b.step, num), w, 1e-4 if num == 2 else 2e-2)
    near(rows(case.b.y), (w[..., None] * parts[1]).sum(-2) / parts[0], 1e-4 if num == 2 else 2e-2)
