import pytest
import torch
from deep_silicon import BOX, THRESHOLDS

from ctlib.decompose import counts_jacobian, decompose_mle, decompose_unrolled
from ctlib.decompose.likelihood import curvature, negative_log_likelihood, score
from ctlib.implicit import attach_root
from ctlib.physics import Detector


def scalar(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def differences(f, x, steps):
    """Central differences of f (a vector) in every entry of x, fourth order."""
    columns = []
    for j, step in enumerate(steps):
        e = torch.zeros_like(x)
        e[j] = step
        columns.append((8 * (f(x + e) - f(x - e)) - (f(x + 2 * e) - f(x - 2 * e))) / (12 * step))
    return torch.stack(columns, -1)


def relative_error(found, expected):
    return ((found - expected).abs() / expected.abs().amax()).max()


def test_score_and_curvature_are_derivatives_of_the_likelihood(model, draw):
    paths, counts = draw(model, 3)
    expected, jacobian, second = model.derivatives(paths)
    packed = second[..., [0, 0, 1], [0, 1, 1]].mT
    g = score(counts, expected, jacobian.mT)
    hessian, fisher = curvature(counts, expected, jacobian.mT, packed)
    for p in range(3):
        loss = lambda a, p=p: negative_log_likelihood(model(a), counts[p])  # noqa: E731
        torch.testing.assert_close(torch.autograd.functional.jacobian(loss, paths[p]), g[p], rtol=1e-7, atol=1e-6)
        dense = torch.autograd.functional.hessian(loss, paths[p])
        torch.testing.assert_close(dense[[0, 0, 1], [0, 1, 1]], hessian[p], rtol=1e-8, atol=0)
        expectation, _ = curvature(expected[p], expected[p], jacobian[p].mT, packed[p])
        torch.testing.assert_close(expectation, fisher[p])


def test_gradcheck_of_the_layer(build, draw):
    """Counts in thousands, so that one finite step suits all; solutions to 1e-12."""
    _, counts = draw(build(photons=1e6), 3)

    def layer(kilocounts, thresholds, photons, gain):
        model = build(thresholds=thresholds, photons=1e6 * photons, gain=gain)
        return decompose_mle(model, 1e3 * kilocounts, tolerance=1e-12)

    thresholds = torch.tensor(THRESHOLDS, dtype=torch.float64).requires_grad_()
    inputs = ((counts / 1e3).requires_grad_(), thresholds, scalar(1.0), scalar(1.0))
    assert torch.autograd.gradcheck(layer, inputs, eps=1e-5, rtol=1e-5, atol=1e-6)


def test_gradients_against_central_differences(model, build, draw):
    """Relative error below 1e-5 for counts, thresholds and gain, one pixel at a time."""
    thresholds = torch.tensor(THRESHOLDS, dtype=torch.float64)
    for y in draw(model, 3)[1]:
        solve = {
            "counts": lambda v: decompose_mle(model, v, tolerance=1e-13),
            "thresholds": lambda v, y=y: decompose_mle(model, y, thresholds_kev=v, tolerance=1e-13),
            "gain": lambda v, y=y: decompose_mle(build(gain=v[0]), y, tolerance=1e-13),
        }
        for kind, at, steps in (
            ("counts", y, 3e-3 * y),
            ("thresholds", thresholds, [3e-3] * 5),
            ("gain", torch.ones(1, dtype=torch.float64), [1e-5]),
        ):
            jacobian = torch.autograd.functional.jacobian(solve[kind], at)
            assert relative_error(jacobian, differences(solve[kind], at, steps)) < 1e-5


def test_gradients_reach_the_response(build, draw):
    """Depth, charge cloud, noise and rescatter of the silicon."""
    _, counts = draw(build(), 2)
    names = ("depth_mm", "cloud_mm", "noise_kev", "rescatter")

    def layer(*values):
        detector = Detector.silicon(**dict(zip(names, values, strict=True)))
        return decompose_mle(build(detector=detector), counts, tolerance=1e-12)

    inputs = (scalar(60.0), scalar(0.012), scalar(1.6), scalar(0.2))
    assert torch.autograd.gradcheck(layer, inputs, eps=1e-5, rtol=1e-4, atol=1e-6)


def test_the_layer_agrees_with_the_general_theorem(model, draw):
    """`attach_root` forms dg/du by autograd and knows nothing of this problem."""
    _, counts = draw(model, 5)
    y, t = counts.clone().requires_grad_(), model.thresholds_kev.clone().requires_grad_()
    found = decompose_mle(model, y, thresholds_kev=t)

    def gradient_of_likelihood(u, y, t):
        expected, jacobian, _ = model.derivatives(u, t)
        return score(y, expected, jacobian.mT)

    general = attach_root(found, gradient_of_likelihood, y, t)
    v = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for ours, theirs in zip(
        torch.autograd.grad((found * v).sum(), (y, t)), torch.autograd.grad((general * v).sum(), (y, t)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_the_vjp_is_the_dense_jacobian(model, draw):
    _, counts = draw(model, 6)
    y = counts.clone().requires_grad_()
    found = decompose_mle(model, y)
    dense = counts_jacobian(model, counts, found.detach())
    v = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (grad,) = torch.autograd.grad((found * v).sum(), y)
    torch.testing.assert_close(grad, torch.einsum("pk,pke->pe", v, dense), rtol=1e-10, atol=1e-15)


def test_own_thresholds_get_their_own_gradients(model, draw):
    paths, _ = draw(model, 6)
    paths = paths.reshape(2, 3, 2)
    t = (model.thresholds_kev + 0.3 * torch.arange(3)[:, None]).requires_grad_()  # (3, 5): a row for each column
    y = model(paths, t.detach()) * 1.01
    (grad,) = torch.autograd.grad(decompose_mle(model, y, thresholds_kev=t).sum(), t)
    for j in range(3):
        row = t[j].detach().requires_grad_()
        (alone,) = torch.autograd.grad(decompose_mle(model, y[:, j], thresholds_kev=row).sum(), row)
        torch.testing.assert_close(grad[j], alone, rtol=1e-8, atol=1e-10)


def test_components_on_the_box_have_no_gradient_and_the_others_the_right_one(model, draw):
    """Calcium held at 0: the gradient of water is that of the problem with water alone in play."""
    _paths, counts = draw(model, 8, top=(20.0, 0.0))
    box = ((-5, 35), (0.2, 10))
    y = counts.clone().requires_grad_()
    found, info = decompose_mle(model, y, box, return_info=True, tolerance=1e-12)
    assert info.active.tolist() == [[False, True]] * 8
    assert torch.equal(found[:, 1], torch.full((8,), 0.2, dtype=torch.float64))
    (held,) = torch.autograd.grad(found[:, 1].sum(), y, retain_graph=True)
    assert torch.equal(held, torch.zeros_like(held))
    (water,) = torch.autograd.grad(found[:, 0].sum(), y)
    run = lambda y: decompose_mle(model, y, box, tolerance=1e-13)[0]  # noqa: E731
    assert relative_error(water[0], differences(run, counts[0], 3e-3 * counts[0])) < 1e-5
    dark = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    both = decompose_mle(model, dark, BOX, max_iters=100)
    assert torch.autograd.grad(both.sum(), dark)[0].abs().max() == 0


def test_the_held_solution_is_the_minimum_along_the_bound(model, draw):
    _, counts = draw(model, 5, top=(20.0, 0.0))
    found = decompose_mle(model, counts, ((-5, 35), (0.2, 10)))
    expected, jacobian, _ = model.derivatives(found)
    g = score(counts, expected, jacobian.mT)
    assert (g[:, 0].abs() < 1e-6 * (counts[:, None, :] * (jacobian / expected[..., None]).mT.abs()).sum((-2, -1))).all()
    assert (g[:, 1] > 0).all()


def test_the_gradient_does_not_depend_on_how_the_solution_was_found(model, draw):
    _, counts = draw(model, 20)
    grads = []
    for start in (None, torch.tensor([5.0, 0.1]), torch.tensor([30.0, 0.0])):
        y = counts.clone().requires_grad_()
        grads.append(torch.autograd.grad(decompose_mle(model, y, start=start, tolerance=1e-10).sum(), y)[0])
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(grads[0], grads[2], rtol=1e-9, atol=1e-15)
    y = counts.clone().requires_grad_()
    unrolled = torch.autograd.grad(decompose_unrolled(model, y, num_iters=8).sum(), y)[0]
    torch.testing.assert_close(unrolled, grads[0], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("materials", [2, 3])
def test_single_precision_gradients(build, draw, materials):
    """Compiled on a CPU: 1e-4 of the largest entry for two materials, 1e-2 for three (condition 4e3)."""
    names, box, top = (("water", "calcium", "iodine"), (*BOX, (-1, 1)), (25.0, 1.5, 0.05))
    model = build(names[:materials], photons=1e7)
    _, counts = draw(model, 200, top=top[:materials])
    grads = []
    for y in (counts.clone().requires_grad_(), counts.float().requires_grad_()):
        t = model.thresholds_kev.clone().requires_grad_()
        found = decompose_mle(model, y, box[:materials], thresholds_kev=t)
        grads.append(torch.autograd.grad((found * torch.arange(1, materials + 1)).sum(), (y, t)))
    for exact, single in zip(*grads, strict=True):
        scale = exact.abs().amax(0) if exact.ndim > 1 else exact.abs().amax()
        assert ((single - exact).abs() / scale).max() < (1e-4 if materials == 2 else 1e-2)


def saved_bytes(call):
    """Bytes that autograd keeps for the backward pass, each storage once."""
    kept = {}

    def note(t):
        kept[t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()] = t
        return t

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        out = call()
    assert out.requires_grad
    return sum(size for _, size in kept)


def test_memory_of_the_layer_does_not_grow_with_iterations(model, draw):
    _, counts = draw(model, 50)
    start = torch.tensor([5.0, 0.1])
    num = (2, 4, 8, 16)
    flat = [
        saved_bytes(
            lambda n=n: decompose_mle(
                model, counts.clone().requires_grad_(), max_iters=n, start=start, return_info=True
            )[0]
        )
        for n in num
    ]
    assert len(set(flat)) == 1
    steps = [
        saved_bytes(lambda n=n: decompose_unrolled(model, counts.clone().requires_grad_(), num_iters=n)) for n in num
    ]
    slope = (steps[-1] - steps[0]) / (num[-1] - num[0])
    assert slope > 10 * 50 * 6 * 8
    assert steps[1] - steps[0] == pytest.approx(2 * slope, rel=0.01)
    assert flat[0] < steps[0] / 3
