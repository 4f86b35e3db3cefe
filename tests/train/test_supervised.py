"""Sampling, schedule, precision, and that training minimizes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ctlib.errors import ArgumentError
from ctlib.train import Settings, batch_indices, fit, learning_rate, stream


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 20), st.integers(0, 10**6))
def test_every_sample_occurs_once_before_any_again(num, batch, start, seed):
    """Consecutive steps read consecutive parts of one sequence of permutations."""
    steps = range(start, start + 5)
    drawn = torch.cat([batch_indices(num, batch, k, seed) for k in steps]).tolist()
    assert len(drawn) == 5 * batch
    first = start * batch
    for epoch in range(first // num, (first + len(drawn)) // num):
        part = drawn[max(0, epoch * num - first) : (epoch + 1) * num - first]
        assert len(set(part)) == len(part)
        assert set(part) <= set(range(num))


def test_other_seeds_and_epochs_other_orders():
    orders = {tuple(batch_indices(20, 20, k, s).tolist()) for k in range(3) for s in range(3)}
    assert len(orders) == 9
    assert len({stream("a", 1), stream("a", 2), stream("b", 1), stream("a", 1, 0)}) == 4
    assert all(0 <= stream("x", i) < 2**63 for i in range(100))


def test_schedules():
    constant, cosine = Settings(10, 1, 0.5), Settings(10, 1, 0.5, "cosine")
    assert {learning_rate(constant, k) for k in range(10)} == {0.5}
    assert learning_rate(cosine, 0) == 0.5
    assert learning_rate(cosine, 5) == pytest.approx(0.25)
    assert learning_rate(cosine, 10) == pytest.approx(0)


def problem(precision="float32", steps=150, dtype=torch.float32):
    torch.manual_seed(0)
    x = torch.randn(64, 4, dtype=dtype)
    w = torch.tensor([[1.0, -2.0, 0.5, 3.0]], dtype=dtype)
    net = nn.Linear(4, 1).to(dtype)
    run = fit(
        net, lambda a, b: (a - b).square().mean(), lambda i, s: (x[i], x[i] @ w.T), 64,
        Settings(steps, 16, 0.1, "cosine", precision=precision),
    )  # fmt: skip
    return net, run, w


def test_least_squares_are_found():
    net, run, w = problem(steps=400, dtype=torch.float64)
    torch.testing.assert_close(net.weight.detach(), w, rtol=0, atol=1e-3)
    assert len(run.history["loss"]) == run.step == 400
    assert run.history["loss"][-1] < 1e-5 < run.history["loss"][0]


def test_half_precision_keeps_the_weights_in_single():
    """bfloat16 has 8 bits: the fit is coarser, and weights, optimizer and loss stay float32."""
    net, run, w = problem("bf16")
    assert net.weight.dtype == torch.float32
    assert float((net.weight.detach() - w).abs().max()) < 0.05
    single = problem("float32")[1].history["loss"]
    assert run.history["loss"] != single
    assert run.history["loss"][0] == pytest.approx(single[0], rel=0.02)


def test_one_step_is_adams():
    """From zero moments Adam's first step is lr sign(gradient)."""
    net, x = nn.Linear(3, 1, bias=False), torch.rand(5, 3)
    before = net.weight.detach().clone()
    fit(net, lambda a, b: (a - b).mean(), lambda i, s: (x[i], x[i, :1]), 5, Settings(1, 5, 0.01))
    torch.testing.assert_close(before - net.weight.detach(), torch.full((1, 3), 0.01), rtol=1e-4, atol=1e-6)


def test_samples_get_streams_of_their_own():
    seen = []

    def fetch(indices, seeds):
        seen.append(tuple(seeds))
        assert len(seeds) == len(indices) == 4
        return torch.zeros(4, 1), torch.zeros(4, 1)

    fit(nn.Linear(1, 1), lambda a, b: (a - b).square().mean(), fetch, 9, Settings(3, 4, 0.1))
    assert len({s for step in seen for s in step}) == 12


@pytest.mark.parametrize(
    "wrong", [{"steps": -1}, {"batch": 0}, {"lr": 0.0}, {"lr": math.nan}, {"schedule": "linear"}, {"precision": "int8"}]
)
def test_bad_settings_are_named(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        Settings(**{"steps": 1, "batch": 1, "lr": 0.1, **wrong})
