"""Compiled arithmetic of the decomposition against its torch reference, function by function."""

from dataclasses import replace

import pytest
import torch

from ctlib.decompose import engine, small
from ctlib.decompose.gradient import adjoint_solution
from ctlib.decompose.likelihood import curvature, score
from ctlib.decompose.mle import polynomial, posed
from ctlib.decompose.newton import LIMIT, RIDGE, free_step, log_step, newton_step
from ctlib.physics.moments import moment_tables, moments

pytest.importorskip("numba")
block, newton = pytest.importorskip("ctlib.decompose.cpu.block"), pytest.importorskip("ctlib.decompose.cpu.newton")

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
        self.task = engine._task(self.problem, self.start, 1e-3, RIDGE)
        self.b = block.new_block(self.task.y.shape[1], self.task.tables.shape[1])
        block.load(self.task.y, 0, self.b.y)
        block.load(self.paths.float().numpy(), 0, self.b.a)
        self.tables = moment_tables(self.reference.attenuation, self.reference.spectra)

    def prepared(self):
        """The same with moments and curvature computed, and all components free; with it what torch says of both."""
        block.moments(self.task, self.b)
        block.curvature(self.task, self.b)
        newton.hold_gradient(self.task, self.b)
        parts = moments(self.paths, self.reference.attenuation, self.tables)
        return parts, score(self.reference.counts, *parts[:2]), curvature(self.reference.counts, *parts)

    def pairs(self, packed):
        """Rows of a (6, BLOCK) array for the pairs that this number of materials has."""
        num = len(self.task.low)
        return rows(packed[[block.pair.py_func(k, m) for k in range(num) for m in range(k, num)]])


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
    near(rows(case.b.g, len(case.task.low)), g, 1e-5)
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
        task = engine._task(problem, start)
        block.load(task.y, 0, case.b.y)
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


def test_solutions_of_the_free_components(case):
    """With a component held in every third pixel, and an indefinite Hessian in every fifth, where Fisher's is taken."""
    _, g, (hessian, fisher) = case.prepared()
    num = len(case.task.low)
    free = torch.ones(block.BLOCK, num, dtype=torch.bool)
    free[::3, 1] = False
    hessian[::5, 0] *= -1
    case.b.free[:num] = free.T.numpy()
    case.b.h[0, ::5] *= -1
    newton.pin(case.task, case.b)
    newton.solve(case.task, case.b, case.b.step)
    near(rows(case.b.step, num), free_step(hessian, fisher, g, free), 1e-4 if num == 2 else 2e-2)
    held = small.pinned(hessian, free), small.pinned(fisher, free)
    assert torch.equal(torch.from_numpy(case.b.safe) > 0, small.positive_definite(*held))
    assert (case.b.step[1, ::3] == 0).all()


def test_the_log_step(case):
    parts, _, _ = case.prepared()
    num = len(case.task.low)
    newton.pin(case.task, case.b)
    block.log_misfit(case.task, case.b)
    newton.solve(case.task, case.b, case.b.other)
    expected = log_step(case.reference.counts, *parts[:2], torch.ones(block.BLOCK, num, dtype=torch.bool))
    near(rows(case.b.other, num), expected, 1e-4 if num == 2 else 2e-2)


def test_components_are_held_where_the_reference_holds_them(models, draw):
    case = Case(models, draw, 2, box=((2, 12), (0.2, 0.6)))
    case.paths = case.paths.clamp(case.reference.low, case.reference.high)
    block.load(case.paths.float().numpy(), 0, case.b.a)
    _, g, _ = case.prepared()
    active = case.problem.active(case.paths.float(), g)
    assert 3 < int(active.sum()) < 2 * block.BLOCK - 3
    assert torch.equal(torch.from_numpy(case.b.free[:2]).T == 0, active)


@pytest.mark.parametrize("far", [False, True])
def test_one_step_is_the_references(case, far):
    """From where steps are longer than the limit in some pixels, and shorter in others."""
    num = len(case.task.low)
    case.paths[::2] = torch.tensor([30.0, 0.0, 0.0][:num], dtype=torch.float64)
    block.load(case.paths.float().numpy(), 0, case.b.a)
    task = case.task._replace(num_far=8 if far else 0)
    newton.newton(task, case.b, 1)
    expected = newton_step(case.reference, case.tables, case.paths, far=far)
    near(rows(case.b.a, num) - case.paths, expected - case.paths, 1e-4 if num == 2 else 2e-2)
    assert (case.b.taken == 1).all()


def test_no_step_is_longer_than_the_limit(case):
    """A step ten times the limit is cut to it, along its direction; one of half the limit is taken whole."""
    num, scale = len(case.task.low), torch.from_numpy(case.task.scale).double()
    step = torch.zeros(block.BLOCK, num, dtype=torch.float64)
    step[:, 0], step[:, 1] = 0.5 * LIMIT / scale[0], -0.1 * LIMIT / scale[1]
    step[::2] *= 20
    case.b.step[:num], case.b.still[:] = step.T.numpy(), 1
    task = case.task._replace(low=case.task.low - 1000, high=case.task.high + 1000)
    before = rows(case.b.a, num)
    assert newton.move(task, case.b) == block.BLOCK
    cut = (case.reference.depth(step) / LIMIT).clamp_min(1)
    assert sorted(set(cut.flatten().round(decimals=3).tolist())) == [1, 10]
    torch.testing.assert_close(rows(case.b.a, num), before - step / cut, rtol=1e-5, atol=1e-5)


def test_a_step_that_is_not_finite_leaves_its_pixel(case):
    """Nor does it close: the larger of a number and NaN may be the number, so depth alone does not tell."""
    case.b.step[:], case.b.still[:] = 0, 1
    case.b.step[0, 3], case.b.step[1, 4] = float("nan"), float("inf")
    before = case.b.a.copy()
    assert newton.move(case.task, case.b) == 2
    assert (case.b.a == before).all()
    assert case.b.still.nonzero()[0].tolist() == [3, 4]


def test_the_adjoint_is_the_references(case):
    num = len(case.task.low)
    parts, _, _ = case.prepared()
    v = torch.randn(block.BLOCK, num, generator=torch.Generator().manual_seed(1))
    newton.adjoint(case.task._replace(ridge=case.task.ridge * 0), case.b, v.numpy(), 0)
    w = adjoint_solution(case.reference, parts, case.paths, v.double())
    near(rows(case.b.step, num), w, 1e-4 if num == 2 else 2e-2)
    near(rows(case.b.y), (w[..., None] * parts[1]).sum(-2) / parts[0], 1e-4 if num == 2 else 2e-2)
