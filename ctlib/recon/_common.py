"""What every solver checks and sums."""

from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError


def problem(A, y: Tensor, x0: Tensor | None, num_iters: int) -> tuple[Tensor, int]:
    """The starting image, x0 spread over the data's leading axes or zero, and the iterations; or an ArgumentError."""
    y = data_of(A, y)
    domain, lead = tuple(A.domain_shape), y.shape[: y.ndim - len(A.range_shape)]
    if x0 is None:
        x0 = y.new_zeros(*lead, *domain)
    else:
        x0 = contract.spreads("x0", contract.tensor("x0", x0, domain), (*lead, *domain)).to(y)
    return x0.expand(*lead, *domain), contract.count("num_iters", num_iters)


def data_of(A, y: Tensor) -> Tensor:
    """The data, if A is an operator and they end in its range."""
    if not callable(A) or not all(hasattr(A, name) for name in ("T", "domain_shape", "range_shape")):
        raise ArgumentError("A", type(A).__name__, "a LinearOperator: A(x), A.T(y), domain_shape, range_shape")
    return contract.tensor("y", y, tuple(A.range_shape))


def inner(a: Tensor, b: Tensor, ndim: int) -> Tensor:
    """Sum of a b over the last ndim axes, kept as axes of length one so that it scales its own batch entry."""
    return (a * b).sum(dim=tuple(range(-ndim, 0)), keepdim=True)
