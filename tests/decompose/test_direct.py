"""Readings that go into the compiled loops as they are, against the layer that knows every derivative."""

import pytest
import torch
from deep_silicon import BOX
from torch.func import vmap
from torch.nn import Parameter

from ctlib.decompose import decompose_mle, direct, engine
from ctlib.errors import ConvergenceError

pytest.importorskip("numba")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def readings(model, draw):
    """Float32 counts (3, 20, 4) with a negative reading, one of 0, and pixels so dark that they are solved again."""
    _, counts = draw(model, 60)
    counts = counts.float().reshape(3, 20, 4)
    counts[0, 1, 0], counts[1, 2, 0] = -3, 0
    counts[2, 4:6] = torch.tensor([8.0, 0, 7, 6])
    return counts


def calls(monkeypatch):
    """What went to the loops directly."""
    seen, found = [], direct._found
    monkeypatch.setattr(direct, "_found", lambda counts, *rest: (seen.append(counts.shape), found(counts, *rest))[1])
    return seen


def pulled(paths, y, v, **options):
    return torch.autograd.grad(paths, y, v, retain_graph=True, **options)[0]


def same(grad, right):
    """As float32 has it: the loops sum over a few energies that stand for all, the layer over all."""
    apart = (grad - right).norm(dim=-1) / right.norm(dim=-1)
    assert apart.max() < 1e-5


def test_paths_and_gradients_are_those_of_the_layer(model, readings, monkeypatch):
    seen, again, lowest = calls(monkeypatch), [], engine._lowest
    monkeypatch.setattr(engine, "_lowest", lambda problem, *rest: (again.append(1), lowest(problem, *rest))[1])
    y, other = readings.clone().requires_grad_(), readings.clone().requires_grad_()
    right = decompose_mle(model, other, BOX, return_info=True)[0]
    assert not seen
    found = decompose_mle(model, y, BOX)
    assert seen == [readings.shape]
    assert torch.equal(found, right)
    assert len(again) == 2  # pixels in doubt were solved again, by both
    v = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    for given in (v, v.transpose(0, 1).contiguous().transpose(0, 1), torch.ones(()).expand(v.shape)):
        same(pulled(found, y, given), pulled(right, other, given))
    grad = pulled(found, y, v)
    assert grad[0, 1, 0] == 0
    assert grad[1, 2, 0] != 0
    assert grad[0, 1].abs().max() > 0


def test_any_strides_and_no_gradient(model, readings):
    right = decompose_mle(model, readings, BOX)
    assert not right.requires_grad
    strided = readings.movedim(-1, 0).contiguous().movedim(0, -1)
    assert torch.equal(decompose_mle(model, strided, BOX), right)
    assert torch.equal(decompose_mle(model, readings[:, ::2], BOX), right[:, ::2])
    assert torch.equal(decompose_mle(model, readings[0, :1].expand(40, 4), BOX), right[0, :1].expand(40, 2))
    assert torch.equal(decompose_mle(model, Parameter(readings[1, 3]), BOX).detach(), right[1, 3])
    with torch.no_grad():
        assert torch.equal(decompose_mle(model, readings.clone().requires_grad_(), BOX), right)


def test_derivatives_of_the_gradient(model, readings):
    """Hessian-vector products of the layer, and gradients to many directions at once."""
    y, other = readings.clone().requires_grad_(), readings.clone().requires_grad_()
    found, right = decompose_mle(model, y, BOX), decompose_mle(model, other, BOX, return_info=True)[0]
    v = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    first, expected = pulled(found, y, v, create_graph=True), pulled(right, other, v, create_graph=True)
    torch.testing.assert_close(first, expected, rtol=1e-6, atol=0)
    same(pulled(found, y, v), first)
    twice, expected = pulled(first.square().sum(), y, None), pulled(expected.square().sum(), other, None)
    assert expected.abs().max() > 0
    torch.testing.assert_close(twice, expected, rtol=1e-5, atol=1e-7 * float(expected.abs().max()))
    many = vmap(lambda v: pulled(found, y, v))(torch.stack([v, -2 * v]))
    torch.testing.assert_close(many, torch.stack([first, -2 * first]).detach(), rtol=1e-6, atol=0)


def test_transforms_tangents_and_other_problems_take_the_layer(model, build, readings, monkeypatch):
    seen = calls(monkeypatch)
    vmap(lambda y: decompose_mle(model, y, BOX))(readings)
    torch.func.jvp(lambda y: decompose_mle(model, y, BOX), (readings,), (readings,))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(readings, readings)
        assert torch.autograd.forward_ad.unpack_dual(decompose_mle(model, dual, BOX)).tangent is not None
    decompose_mle(model, readings.double(), BOX)
    decompose_mle(model, readings[:0], BOX)
    decompose_mle(model, readings, BOX, thresholds_kev=model.thresholds_kev)
    decompose_mle(build(photons=torch.tensor(1e6, requires_grad=True)), readings, BOX)
    decompose_mle(build(gain=torch.tensor(1.0, requires_grad=True)), readings, BOX)
    decompose_mle(build(photons=torch.full((20,), 1e6)), readings, BOX)
    decompose_mle(build(thresholds=(15, 33, 45, 59, 120, 160, 170)), torch.full((2, 6), 1e4), BOX)
    decompose_mle(build(thresholds=(15, 50, 120)), readings[0, 3:9, :2], BOX)
    assert not seen


@pytest.mark.parametrize("odd", [torch.nan, torch.inf, -torch.inf])
def test_readings_that_are_none_raise_the_error(model, readings, odd):
    readings[1, 3, 2] = odd
    with pytest.raises(ConvergenceError, match=r"1 of 60 pixels.*1 of them because a reading"):
        decompose_mle(model, readings, BOX)
    with pytest.raises(ConvergenceError, match="did not converge in 1 steps"):
        decompose_mle(model, readings[0, 3:9], BOX, max_iters=1)
