import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.implicit import attach, attach_root, reduced, residual_jacobian


def real(*values):
    return torch.tensor(values, dtype=torch.float64)


def cubic(u, a):
    return u**3 - a


def test_the_cube_root_has_its_derivative():
    a = real(0.5, 2.0, 8.0)[:, None].requires_grad_()
    u = attach_root(a.detach() ** (1 / 3), cubic, a)
    torch.testing.assert_close(u, a.detach() ** (1 / 3))
    (grad,) = torch.autograd.grad(u.sum(), a)
    torch.testing.assert_close(grad, a.detach() ** (-2 / 3) / 3)


def test_gradcheck_with_a_solver_that_keeps_no_graph():
    def solve(matrix, b):  # minimizes u' M u / 2 - b' u + sum u^4 / 4 by Newton, matrix symmetric
        u = torch.zeros_like(b)
        with torch.no_grad():
            for _ in range(30):
                hessian = matrix + torch.diag_embed(3 * u**2)
                u = u - torch.linalg.solve(hessian, (matrix @ u[..., None])[..., 0] - b + u**3)
        return attach_root(u, lambda u, m, b: (m @ u[..., None])[..., 0] - b + u**3, matrix, b)

    g = torch.Generator().manual_seed(0)
    root = torch.randn(4, 3, 3, dtype=torch.float64, generator=g)
    b = torch.randn(4, 3, dtype=torch.float64, generator=g, requires_grad=True)
    raw = (root @ root.mT + torch.eye(3)).requires_grad_()
    assert torch.autograd.gradcheck(lambda m, b: solve(0.5 * (m + m.mT), b), (raw, b))


def test_components_on_the_box_have_no_derivative_and_the_others_theirs():
    """min (u1 - t1)^2 + (u2 - t2)^2 + u1 u2 over u1 <= 1: with u1 = 1, u2 = t2 - 1/2."""
    t = real(5.0, 3.0).requires_grad_()

    def gradient(u, t):
        return 2 * (u - t) + u.flip(-1)

    u = attach_root(real(1.0, 2.5), gradient, t, upper=1.0 + torch.tensor([0.0, 1e9], dtype=torch.float64))
    assert gradient(u, t)[1].abs() < 1e-12
    assert torch.autograd.grad(u[0], t, retain_graph=True)[0].tolist() == [0, 0]
    assert torch.autograd.grad(u[1], t)[0].tolist() == [0, 1]
    free = attach_root(torch.linalg.solve(real(2, 1, 1, 2).reshape(2, 2), 2 * t.detach()), gradient, t)
    expected = torch.linalg.inv(real(2, 1, 1, 2).reshape(2, 2)) * 2
    rows = [torch.autograd.grad(free[k], t, retain_graph=True)[0] for k in range(2)]
    torch.testing.assert_close(torch.stack(rows), expected)


def test_only_what_wants_a_gradient_gets_one_and_only_u_and_theta_are_kept():
    a, b = real(2.0)[None].requires_grad_(), real(1.0)[None]
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.shape) or t, lambda t: t):
        u = attach_root(real(2.0)[None].sqrt(), lambda u, a, b: b * u**2 - a, a, b)
    assert len(saved) == 3
    u.sum().backward()
    assert float(a.grad) == pytest.approx(0.5 / 2**0.5)
    assert b.grad is None


def cube_root(a):
    return attach_root(a.detach() ** (1 / 3), cubic, a)


def test_derivatives_of_any_order():
    a = real(0.5, 2.0, 8.0)[:, None].requires_grad_()
    assert torch.autograd.gradgradcheck(cube_root, a)
    assert torch.autograd.gradcheck(cube_root, a, check_forward_ad=True)
    hessian = torch.func.hessian(lambda a: cube_root(a).sum())(a.detach()[1:2])
    torch.testing.assert_close(hessian.flatten(), -2 / 9 * a.detach()[1] ** (-5 / 3))


def test_every_transform_of_torch_func():
    a = real(0.5, 2.0, 8.0)[:, None]
    slope = a ** (-2 / 3) / 3
    torch.testing.assert_close(torch.func.jvp(cube_root, (a,), (2 * a,)), (a ** (1 / 3), 2 * a * slope))
    torch.testing.assert_close(torch.func.vjp(cube_root, a)[1](a)[0], a * slope)
    dense = torch.diag_embed(slope[:, 0])[:, None, :, None]
    torch.testing.assert_close(torch.func.jacrev(cube_root)(a), dense)
    torch.testing.assert_close(torch.func.jacfwd(cube_root)(a), dense)
    each = torch.func.vmap(torch.func.grad(lambda a: cube_root(a).sum()))
    torch.testing.assert_close(each(a), slope)
    torch.testing.assert_close(torch.func.vmap(cube_root)(a), a ** (1 / 3))


def test_a_singular_system_is_an_error_not_a_number():
    a = real(0.0)[None].requires_grad_()
    with pytest.raises(torch.linalg.LinAlgError):
        attach_root(real(0.0)[None], cubic, a).sum().backward()


def test_attach_hands_the_callers_product_its_arguments():
    theta = real(1.0, 2.0).requires_grad_()
    u = attach(real(3.0, 4.0), lambda u, v, wanted, t: [u * v * t] if wanted[0] else [None], theta)
    (grad,) = torch.autograd.grad((u * real(10.0, 20.0)).sum(), theta)
    assert grad.tolist() == [30.0, 160.0]


def test_helpers():
    matrix = real(1, 2, 3, 4).reshape(2, 2)
    assert reduced(matrix, torch.tensor([True, False])).tolist() == [[1, 0], [0, 1]]
    jacobian = residual_jacobian(lambda u: torch.stack([u[..., 0] * u[..., 1], u[..., 1] ** 2], -1), real(2.0, 3.0))
    assert jacobian.tolist() == [[3, 2], [0, 6]]
    with pytest.raises(ArgumentError, match="residual"):
        residual_jacobian(lambda u: u.sum(), real(2.0, 3.0))
