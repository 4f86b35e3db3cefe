"""The input contract itself: what counts as a number, a count, a tensor, and what is said where it does not."""

import math
from decimal import Decimal

import numpy as np
import pytest
import torch

from ctlib import contract
from ctlib.errors import ArgumentError

NUMBERS = [
    3,
    3.0,
    np.float32(3),
    np.float64(3),
    np.int64(3),
    np.array(3.0),
    torch.tensor(3),
    torch.tensor(3.0),
    Decimal(3),
]
NO_NUMBERS = [True, np.True_, torch.tensor(True), "3", None, 3j, np.complex64(3), [3], np.array([3.0]), torch.ones(1)]


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
def test_numbers(value):
    found = contract.number("a", value, above=2, at_most=3)
    assert (found, type(found)) == (3.0, float)


@pytest.mark.parametrize(
    "value", [*NO_NUMBERS, math.nan, math.inf, 10**400, torch.tensor(3.0, requires_grad=True)], ids=repr
)
def test_what_is_no_number(value):
    with pytest.raises(ArgumentError, match=r"^a: got"):
        contract.number("a", value)


@pytest.mark.parametrize(("bound", "bad"), [("above", 3), ("at_least", 4), ("below", 3), ("at_most", 2)])
def test_bounds(bound, bad):
    with pytest.raises(ArgumentError, match=r"^a: got 3\.0, needs a finite number"):
        contract.number("a", 3, **{bound: bad})


@pytest.mark.parametrize(
    "value", [3, np.int8(3), np.uint64(3), np.array(3), torch.tensor(3, dtype=torch.uint8)], ids=repr
)
def test_counts(value):
    found = contract.count("a", value, 3, 3)
    assert (found, type(found)) == (3, int)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 3.0, np.float64(3), 2, 5], ids=repr)
def test_what_is_no_count(value):
    with pytest.raises(ArgumentError, match=r"^a: got"):
        contract.count("a", value, 3, 4)


def test_promotion_holds_every_value():
    for dtype in ("uint8", "int16", "uint16", "int32", "uint32", "float16", "bfloat16"):
        kind = getattr(torch, dtype)
        ends = torch.finfo(kind) if kind.is_floating_point else torch.iinfo(kind)
        found = contract.tensor("x", torch.tensor([ends.min, ends.max]).to(kind), promote=True)
        assert found.tolist() == [ends.min, ends.max]
    with pytest.raises(ArgumentError, match="x: got int16"):
        contract.tensor("x", torch.ones(2).to(torch.int16))


def test_pairs():
    x, y = torch.ones(2, 3, 4), torch.ones(3, 4, dtype=torch.float64)
    assert [t.dtype for t in contract.together(("Y", "X"), promote=True, x=x, y=y)] == [torch.float64] * 2
    for bad in (y, x[:, :2], x[0].expand(3, 3, 4)):
        with pytest.raises(ArgumentError):
            contract.together(("Y", "X"), x=x, y=bad)


def test_a_condition_on_values_that_a_vmap_keeps_to_itself_is_not_asked():
    def checked(t):
        return contract.factor("a", t, "t", t, above=0) * 1

    assert torch.func.vmap(checked)(torch.tensor([-1.0, 1.0])).tolist() == [-1.0, 1.0]
    with pytest.raises(ArgumentError, match="a: "):
        checked(torch.tensor([-1.0, 1.0]))
