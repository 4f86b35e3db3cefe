"""Coverage from few samples: a perfect generator covers what the interval says, however few there are."""

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.papers.tomography.sample_numbers import half_width, share_inside


@pytest.mark.parametrize("num", [2, 4, 8, 32])
def test_one_more_draw_lies_inside_as_often_as_the_level_says(num):
    draws = torch.randn(num + 1, 40_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    everywhere = torch.ones(40_000, dtype=torch.bool)
    assert share_inside(draws[1:], draws[0], everywhere, 0.0) == pytest.approx(0.68, abs=0.01)


def test_many_samples_need_the_gaussian_quantile():
    assert half_width(100_000) == pytest.approx(0.99446, abs=1e-3)
    assert half_width(8) == pytest.approx(1.1379, abs=0.02)


def test_only_what_the_mask_holds_counts():
    samples = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    truth = torch.tensor([0.5, 9.0])
    assert share_inside(samples, truth, torch.tensor([True, False]), 0.0) == 1
    assert share_inside(samples, truth, torch.tensor([True, True]), 0.0) == 0.5


def test_wrong_arguments_are_named():
    for wrong in ({"num": 1}, {"num": 4, "level": 1.0}):
        with pytest.raises(ArgumentError):
            half_width(**wrong)
