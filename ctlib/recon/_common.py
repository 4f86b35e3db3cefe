"""What every solver checks and sums."""

from torch import Tensor

from ctlib.errors import ArgumentError


def require_range(A, y: Tensor) -> None:
    """Raise unless y ends in the operator's range shape."""
    shape = tuple(A.range_shape)
    if tuple(y.shape[-len(shape) :]) != shape:
        raise ArgumentError("y", tuple(y.shape), f"(..., {', '.join(map(str, shape))}), the operator's range")


def require_count(num_iters: int) -> None:
    """Raise unless the number of iterations is a whole number >= 0."""
    if not isinstance(num_iters, int) or num_iters < 0:
        raise ArgumentError("num_iters", num_iters, "a whole number >= 0")


def inner(a: Tensor, b: Tensor, ndim: int) -> Tensor:
    """Sum of a b over the last ndim axes, kept as axes of length one so that it scales its own batch entry."""
    return (a * b).sum(dim=tuple(range(-ndim, 0)), keepdim=True)


def start_image(A, y: Tensor, x0: Tensor | None) -> Tensor:
    """The starting image: x0 spread over the data's leading axes, or zero."""
    shape, range_ndim = tuple(A.domain_shape), len(A.range_shape)
    if x0 is None:
        return y.new_zeros(*y.shape[:-range_ndim], *shape)
    if tuple(x0.shape[-len(shape) :]) != shape:
        raise ArgumentError("x0", tuple(x0.shape), f"(..., {', '.join(map(str, shape))}), the operator's domain")
    return x0.to(y).expand(*y.shape[:-range_ndim], *shape)
