"""Linear operators: protocol, dot test, largest singular value, conjugate gradients. Nothing of CT in it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from ctlib import contract
from ctlib.errors import ArgumentError, ConvergenceError


class LinearOperator:
    """y = A(x) with the exact adjoint A.T; leading axes are free. Subclasses give the shapes and the two products.

    domain_shape, range_shape  trailing shape of x and of y, which are float32 or float64
    """

    domain_shape: tuple[int, ...]
    range_shape: tuple[int, ...]

    def _apply(self, x: Tensor) -> Tensor:
        raise TypeError(f"{type(self).__name__} defines no product")

    def _apply_adjoint(self, y: Tensor) -> Tensor:
        raise TypeError(f"{type(self).__name__} defines no adjoint product")

    def __call__(self, x: Tensor) -> Tensor:
        return self._apply(contract.tensor("x", x, self.domain_shape, dtypes=self._dtypes(x)))

    def _dtypes(self, t: object) -> tuple[str, ...]:
        """Types of numbers that it takes where a tensor lies."""
        return contract.REAL

    @property
    def T(self) -> LinearOperator:
        """The adjoint as an operator of its own; A.T.T is A."""
        return _Adjoint(self)

    def norm(self, num_iters: int = 100) -> float:
        """Largest singular value, by the power method in float64."""
        return power_norm(self, num_iters)


class _Adjoint(LinearOperator):
    def __init__(self, base: LinearOperator):
        self.base = base
        self.domain_shape, self.range_shape = base.range_shape, base.domain_shape

    def __call__(self, y: Tensor) -> Tensor:
        return self.base._apply_adjoint(contract.tensor("y", y, self.domain_shape, dtypes=self.base._dtypes(y)))

    def _apply(self, x: Tensor) -> Tensor:
        return self.base._apply_adjoint(x)

    def _apply_adjoint(self, y: Tensor) -> Tensor:
        return self.base._apply(y)

    @property
    def T(self) -> LinearOperator:
        return self.base

    def __repr__(self) -> str:
        return f"{self.base!r}.T"


class FunctionOperator(LinearOperator):
    """Operator from two functions; that they are adjoint to each other is the caller's promise (see `dot_test`).

    Values of another shape than promised are refused.
    """

    def __init__(self, apply: Callable, adjoint: Callable, domain_shape: tuple[int, ...], range_shape: tuple[int, ...]):
        self.functions = {"apply": apply, "adjoint": adjoint}
        self.domain_shape = contract.shape("domain_shape", domain_shape)
        self.range_shape = contract.shape("range_shape", range_shape)

    def _apply(self, x: Tensor) -> Tensor:
        return self._value("apply", x, self.domain_shape, self.range_shape)

    def _apply_adjoint(self, y: Tensor) -> Tensor:
        return self._value("adjoint", y, self.range_shape, self.domain_shape)

    def _value(self, name: str, t: Tensor, given: tuple[int, ...], promised: tuple[int, ...]) -> Tensor:
        value, shape = self.functions[name](t), (*t.shape[: t.ndim - len(given)], *promised)
        if value.shape != shape:
            raise ArgumentError(name, f"a function with values of shape {tuple(value.shape)}", f"the shape {shape}")
        return value


def with_signature(function: type[torch.autograd.Function]) -> type[torch.autograd.Function]:
    """The function, with the signature of its `forward` kept: torch asks for it in every call, which takes 40 us."""
    function.forward.__signature__ = inspect.signature(function.forward)
    return function


@with_signature
class _LinearMap(torch.autograd.Function):
    """One product with a linear map or with its transpose; each is the derivative of the other."""

    @staticmethod
    def forward(t: Tensor, maps: tuple[Callable, Callable], transposed: bool) -> Tensor:
        return maps[transposed](t.detach())

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.maps, ctx.transposed = inputs

    @staticmethod
    def backward(ctx, grad: Tensor):
        return _LinearMap.apply(grad, ctx.maps, not ctx.transposed), None, None

    @staticmethod
    def jvp(ctx, tangent: Tensor, *_):
        return _LinearMap.apply(tangent, ctx.maps, ctx.transposed)

    @staticmethod
    def vmap(info, in_dims, t: Tensor, maps: tuple[Callable, Callable], transposed: bool):
        return _LinearMap.apply(t.movedim(in_dims[0], 0), maps, transposed), 0


def linear_map(
    x: Tensor, apply: Callable, transpose: Callable, dtypes: tuple[str, ...] = contract.REAL
) -> Tensor:  # fmt: skip
    """apply(x) of a linear map that autograd cannot see into, differentiable any number of times.

    apply, transpose  the map and its exact transpose, both free in their leading axes; they need no gradient of their
                      own and are called on tensors without a graph
    dtypes            names of the types of numbers that both take

    Reverse mode, forward mode and `torch.func` (vjp, jvp, vmap, jacrev, jacfwd) all work. Every hand-written linear
    operator of the library goes through here.
    """
    return _LinearMap.apply(contract.tensor("x", x, dtypes=dtypes), (apply, transpose), False)


def from_matrix(matrix: Tensor) -> LinearOperator:
    """Operator of a dense matrix (m, n): (..., n) -> (..., m) in the dtype of the input, on the matrix's device."""
    if contract.tensor("matrix", matrix, ("m", "n")).ndim != 2 or not matrix.numel():
        raise ArgumentError("matrix", f"shape {tuple(matrix.shape)}", "(m, n)")

    def product(name: str, t: Tensor, by: Tensor) -> Tensor:
        if t.device != matrix.device:
            raise ArgumentError(name, f"a tensor on {t.device}", f"one where the matrix is, on {matrix.device}")
        return t @ by.to(t.dtype)

    return FunctionOperator(
        lambda x: product("x", x, matrix.T), lambda y: product("y", y, matrix), matrix.shape[1:], matrix.shape[:1]
    )


def scaled(A: LinearOperator, factor: float) -> LinearOperator:
    """factor A, with its adjoint factor A.T: a change of unit."""
    factor = contract.number("factor", factor)
    return FunctionOperator(lambda x: factor * A(x), lambda y: factor * A.T(y), A.domain_shape, A.range_shape)


def dot_test(
    A: LinearOperator, generator: torch.Generator, dtype=torch.float64, device="cpu", batch: tuple[int, ...] = ()
) -> float:
    """Mismatch of the adjoint on random signs, |<A x, y> - <x, A.T y>| / (|A x| |y|); 0 for an exact pair."""
    batch = contract.shape("batch", batch)
    x = torch.randn(*batch, *A.domain_shape, generator=generator, dtype=torch.float64).to(device, dtype)
    y = torch.randn(*batch, *A.range_shape, generator=generator, dtype=torch.float64).to(device, dtype)
    Ax, Aty = A(x).double(), A.T(y).double()
    scale = float(Ax.norm() * y.double().norm())
    mismatch = abs(float((Ax * y).sum() - (x * Aty).sum()))
    return mismatch / scale if scale > 0 else mismatch


def power_norm(A: LinearOperator, num_iters: int = 100, tolerance: float = 1e-7) -> float:
    """Largest singular value of A by power iteration on A.T A from a fixed random start, in float64.

    v <- A.T A v / |A.T A v|,    |A|^2 = lim <v, A.T A v>

    ConvergenceError where that is no finite number >= 0: a product is not finite, or A.T is not the adjoint.
    """
    num_iters, tolerance = (
        contract.count("num_iters", num_iters, 1),
        contract.number("tolerance", tolerance, at_least=0),
    )
    with temporarily_clear_interpreter_stack():  # of torch.func, which lets no vmap draw numbers
        v = torch.rand(tuple(A.domain_shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    value = 0.0
    for _ in range(num_iters):
        w = A.T(A(v))
        size = float(w.norm())
        if size == 0.0:
            return 0.0
        previous, value = value, float((v * w).sum() / (v * v).sum())
        if not 0 <= value < math.inf:
            raise ConvergenceError(f"power_norm: <v, A.T A v> = {value:g}, but it must be a finite number >= 0")
        v = w / size
        if abs(value - previous) <= tolerance * value:
            break
    return value**0.5


def conjugate_gradient(apply: Callable, b: Tensor, num_iters: int = 100, tolerance: float = 1e-10) -> Tensor:
    """Solve H x = b for a symmetric positive definite H given by x -> H x; stops at |r| <= tolerance |b|.

    {cite}`hestenes1952`. ConvergenceError where H turns out not to be positive definite, or a value is not finite.
    """
    b, num_iters = contract.tensor("b", b), contract.count("num_iters", num_iters)
    tolerance = contract.number("tolerance", tolerance, at_least=0, at_most=1)
    x, r = torch.zeros_like(b), b.clone()
    p, rr, goal = r, float((r * r).sum()), tolerance**2 * float((b * b).sum())
    for _ in range(num_iters):
        if rr <= goal:
            break
        Hp = contract.trailing("apply", apply(p), p.shape)
        curvature = float((p * Hp).sum())
        if not curvature > 0:
            raise ConvergenceError(f"conjugate_gradient: <p, H p> = {curvature:g}, but H must be positive definite")
        step = rr / curvature
        x, r = x + step * p, r - step * Hp
        rr, previous = float((r * r).sum()), rr
        p = r + rr / previous * p
    return x
