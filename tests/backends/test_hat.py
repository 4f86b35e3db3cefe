"""The weight of linear interpolation in registers, bit by bit what its formula gives."""

import numpy as np
import pytest

from ctlib.backends.cpu.simd import LANES, hat, zeros
from ctlib.backends.cpu.simd_memory import load, store
from ctlib.compiled import njit


@njit
def weights(x, out):
    for i in range(0, x.size, LANES):
        store(hat(load(zeros(x, 1), x, i, 0)), out, i, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_weight_is_one_minus_the_distance_and_zero_beyond(dtype):
    tiny, edge = np.finfo(dtype).tiny, np.nextafter(dtype(1), dtype(0))
    special = [0.0, -0.0, 1.0, -1.0, edge, -edge, tiny, -tiny, 3.0, -1e30, np.inf, -np.inf, 0.5, -0.25, 2.0, -2.0]
    x = np.concatenate([special, np.random.default_rng(0).normal(size=10 * LANES)]).astype(dtype)
    out = np.empty_like(x)
    weights(x, out)
    np.testing.assert_array_equal(out, np.maximum(1 - np.abs(x), 0))


def test_what_is_not_a_number_has_no_weight():
    for dtype in (np.float32, np.float64):
        out = np.ones(LANES, dtype)
        weights(np.full(LANES, np.nan, dtype), out)
        assert (out == 0).all()
