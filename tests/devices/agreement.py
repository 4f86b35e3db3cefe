"""Same values, on the right device."""

import pytest
import torch
from torch import Tensor

ROUNDING = 1e-5  # relative to the largest value: the engines of CPU and device add in different orders


def equal(found, expected, where=None):
    """Tensors, and what holds them: the same values, and every tensor of `found` on the device `where`, if given."""
    if isinstance(expected, Tensor):
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        assert where is None or str(found.device) == where
        assert torch.equal(found.cpu().isfinite(), expected.isfinite())
        off = (found.cpu().double() - expected.double()).nan_to_num(0, 0, 0).abs()
        assert float(off.max()) <= ROUNDING * float(expected.double().nan_to_num(0, 0, 0).abs().max())
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            equal(found[key], expected[key], where)
    elif isinstance(expected, (tuple, list)):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            equal(*pair, where)
    else:
        assert found == pytest.approx(expected, rel=ROUNDING)
