"""Frames per second: what is called how often."""

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.papers.tomography.throughput import frames_per_second


def test_frames_per_second_counts_samples_and_calls():
    calls = []

    def apply(x):
        calls.append(torch.is_grad_enabled())
        return x

    assert frames_per_second(apply, torch.zeros(7, 2), repeats=3) > 0
    assert calls == [False] * 4
    with pytest.raises(ArgumentError):
        frames_per_second(apply, torch.zeros(0, 2))
