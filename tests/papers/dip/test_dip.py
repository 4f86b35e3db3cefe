"""The deep image prior's fit: its loss, its bookkeeping, its guard, its rules, its theory."""

import math

import pytest
import torch
from torch import nn

from ctlib.errors import ArgumentError, ConvergenceError
from ctlib.papers.dip.fit import Fit, Guard, MovingVariance, data_energy, fit_dip, log_step, moving_average, perturbed
from ctlib.papers.dip.network import skip_prior
from ctlib.papers.dip.operators import Downsample, Identity, Mask, bernoulli_mask
from ctlib.papers.dip.stopping import stop_at_discrepancy, stop_at_held_out, stop_at_variance
from ctlib.papers.dip.tasks import TASKS, gray_slice, impedance_targets, make_task, rescaled_targets
from ctlib.papers.dip.theory import expected_energy, expected_error, mean_frequency, tangent_kernel

TRUTH = 0.2 + 0.6 * torch.rand(16, 16, generator=torch.Generator().manual_seed(0))


def small_fit(seed=0, iters=12, A=None, x0=None, **options):
    net, z = skip_prior((16, 16), seed, 4, channels=4, scales=2)
    A = A or Identity((16, 16))
    x0 = TRUTH if x0 is None else x0
    fit = fit_dip(A, x0, net, z, iters, torch.Generator().manual_seed(seed), truth=TRUTH, **options)
    return fit, net, z


def test_the_masked_loss_has_no_gradient_outside_the_mask():
    mask = bernoulli_mask((16, 16), 0.5, torch.Generator().manual_seed(0))
    x = TRUTH.clone().requires_grad_()
    data_energy(Mask(mask), x, torch.zeros(16, 16)).backward()
    assert (x.grad[mask == 0] == 0).all()
    assert (x.grad[mask == 1] != 0).all()


def test_the_energy_is_a_mean_over_what_is_observed():
    mask = torch.zeros(16, 16)
    mask[0, :4] = 1
    assert float(data_energy(Mask(mask), TRUTH + 0.1, TRUTH * mask)) == pytest.approx(0.01, rel=1e-5)
    d = Downsample((16, 16), 4)
    assert float(data_energy(d, TRUTH + 0.1, d(TRUTH))) == pytest.approx(0.01, rel=1e-4)


def test_psnr_of_an_error_of_a_tenth_is_20_db():
    fit, a_tenth = Fit(), torch.tensor(0.01)
    log_step(fit, a_tenth, TRUTH + 0.1, TRUTH - 0.01, TRUTH, None)
    log_step(fit, 0 * a_tenth, TRUTH + 0.1, TRUTH, TRUTH, None)
    assert fit.psnr_fit == pytest.approx([20.0, 200.0], abs=1e-6)
    assert fit.psnr_truth == pytest.approx([20.0, 20.0], abs=1e-4)
    assert fit.psnr_average == [pytest.approx(40.0, abs=1e-4), math.inf]


def test_input_and_observation_are_left_as_they_were():
    x0 = TRUTH.clone()
    net, z = skip_prior((16, 16), 0, 4, channels=4, scales=2)
    before = z.clone()
    fit_dip(Identity((16, 16)), x0, net, z, 5, torch.Generator().manual_seed(0))
    assert torch.equal(z, before)
    assert torch.equal(x0, TRUTH)
    assert perturbed(z, 0.0, torch.Generator()) is z


def test_a_fit_is_determined_by_its_seeds_and_reduces_the_energy():
    (a, _, _), (b, _, _), (c, _, _) = (small_fit(s, 80) for s in (0, 0, 1))
    assert a.energy == b.energy
    assert a.energy != c.energy
    assert a.energy[-1] < 0.5 * a.energy[0]
    assert torch.equal(a.last, b.last)


def test_the_log_has_one_entry_a_step_and_the_snapshots_asked_for():
    held = Mask(1 - bernoulli_mask((16, 16), 0.9, torch.Generator().manual_seed(0)))
    fit, _, _ = small_fit(iters=7, snapshots=(0, 6), held_out=(held, held(TRUTH)))
    for name in ("energy", "psnr_fit", "psnr_truth", "psnr_average", "variance", "held_out"):
        assert len(getattr(fit, name)) == 7
    assert sorted(fit.snapshots) == [0, 6]
    assert torch.equal(fit.snapshots[6], fit.last)
    assert fit.first(3).energy == fit.energy[:3]
    assert fit.psnr_fit[0] == pytest.approx(-10 * math.log10(fit.energy[0]), abs=1e-6)


def test_the_average_follows_its_formula():
    fit, average = small_fit(iters=4, snapshots=range(4), ema=0.9)[0], None
    for step in range(4):
        average = moving_average(average, fit.snapshots[step], 0.9)
    torch.testing.assert_close(fit.average, average)
    x = [fit.snapshots[i] for i in range(4)]
    torch.testing.assert_close(average, 0.729 * x[0] + 0.081 * x[1] + 0.09 * x[2] + 0.1 * x[3])


def test_the_moving_variance_of_white_noise_is_its_variance():
    moving, generator = MovingVariance(0.02), torch.Generator().manual_seed(0)
    for _ in range(600):
        value = moving.update(0.3 * torch.randn(40, 40, generator=generator))
    assert value == pytest.approx(0.09, rel=0.1)
    still = MovingVariance()
    assert [still.update(torch.ones(3)) for _ in range(5)] == [0.0] * 5


def test_the_guard_restores_the_last_sound_weights():
    net = nn.Linear(2, 1)
    guard = Guard(net, 5.0)
    assert guard.accept(20.0)
    good = [p.detach().clone() for p in net.parameters()]
    with torch.no_grad():
        for p in net.parameters():
            p.add_(1.0)
    assert not guard.accept(14.0)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), good, strict=True))
    assert guard.restored == 1
    assert guard.accept(16.0)
    assert not guard.accept(math.nan)


def test_an_energy_that_is_not_finite_is_an_error():
    with pytest.raises(ConvergenceError, match="step 0"):
        small_fit(x0=torch.full((16, 16), math.nan))


def test_stopping_rules_on_known_trajectories():
    energy = [1.0, 0.5, 0.2, 0.09, 0.05]
    assert stop_at_discrepancy(energy, 0.3) == 3
    assert stop_at_discrepancy(energy, 0.01) == 4
    bowl = [(t - 60) ** 2 for t in range(400)]
    assert stop_at_variance(bowl) == 60
    assert stop_at_held_out(bowl) == 60
    late = [*bowl[:200], *[-1.0] * 100]
    assert stop_at_variance(late) == 60
    with pytest.raises(ArgumentError, match="burn_in"):
        stop_at_variance([1.0] * 5)
    with pytest.raises(ArgumentError, match="held_out"):
        stop_at_held_out([])


def test_patience_is_counted_from_the_minimum_and_a_window_is_as_wide_as_it_says():
    late = [(t - 150) ** 2 for t in range(400)]
    assert stop_at_variance(late, patience=50, burn_in=20) == 150
    assert stop_at_held_out(late, patience=50) == 150
    assert stop_at_variance([*late[:190], -1.0, *late], patience=50) == 190
    dip = [5.0, 5, 0, 6, 5, 3, 3, 3, 9, 9, 9]
    assert [stop_at_held_out(dip, window=w) for w in (1, 3)] == [2, 6]


def test_tasks_observe_what_their_operator_says():
    for name in TASKS:
        task = make_task(name, TRUTH, 0)
        residual = task.A(TRUTH) - task.x0
        assert residual.std() == pytest.approx(0.1, rel=0.2) if name == "denoise" else residual.abs().max() == 0
        assert torch.equal(make_task(name, TRUTH, 0).x0, task.x0)
    assert not torch.equal(make_task("restore", TRUTH, 1).x0, make_task("restore", TRUTH, 0).x0)
    with pytest.raises(ArgumentError, match="name"):
        make_task("sharpen", TRUTH, 0)


def test_impedance_targets_have_equal_mean_and_variance_and_rescaled_ones_the_unit_range():
    targets = impedance_targets(TRUTH, 0)
    assert list(targets) == ["clean", "noise 0.1", "noise 0.3", "shuffled"]
    for t in targets.values():
        assert float(t.mean()) == pytest.approx(float(TRUTH.mean()), abs=1e-6)
        assert float(t.std()) == pytest.approx(float(TRUTH.std()), rel=1e-5)
    torch.testing.assert_close(targets["shuffled"].flatten().sort().values, TRUTH.flatten().sort().values)
    for t in rescaled_targets(TRUTH, 0).values():
        assert (float(t.min()), float(t.max())) == pytest.approx((0.0, 1.0))


def test_gray_slices_leave_room_for_noise():
    g = gray_slice(torch.tensor([[-1.0, 0.0, 0.5, 1.0, 9.0]]), 0.0, 1.0)
    torch.testing.assert_close(g, torch.tensor([[0.1, 0.1, 0.5, 0.9, 0.9]]))
    with pytest.raises(ArgumentError, match="low"):
        gray_slice(TRUTH, 1.0, 1.0)


def test_the_tangent_kernel_of_a_linear_net_is_known():
    """f = W z: df_i/dW_kl = delta_ik z_l, so K = |z|^2 I."""
    net, z = nn.Linear(3, 4, bias=False), torch.tensor([[1.0, 2.0, 2.0]])
    torch.testing.assert_close(tangent_kernel(net, z), 9.0 * torch.eye(4, dtype=torch.float64))


def test_the_linearized_flow_has_its_closed_form():
    """A two-layer toy, f = J theta, by small Euler steps, against the formula for the error without noise."""
    g = torch.Generator().manual_seed(0)
    J, target = (
        torch.randn(5, 7, generator=g, dtype=torch.float64) / 3,
        torch.randn(5, generator=g, dtype=torch.float64),
    )
    kappa, U = torch.linalg.eigh(J @ J.T)
    theta, dt = torch.zeros(7, dtype=torch.float64), 1e-3
    for _ in range(3000):
        theta = theta - dt * J.T @ (J @ theta - target)
    error = (J @ theta - target).square().sum()
    t = torch.tensor([3.0], dtype=torch.float64)
    assert float(expected_error(kappa, -target @ U, 0.0, t) / error) == pytest.approx(1.0, abs=0.01)
    assert float(expected_energy(kappa, -target @ U, 0.0, t) / error) == pytest.approx(1.0, abs=0.01)


def test_expected_error_has_a_minimum_that_moves_with_noise_and_energy_none():
    kappa, initial = torch.logspace(0, -4, 64, dtype=torch.float64), torch.logspace(0, -3, 64, dtype=torch.float64)
    t = torch.logspace(-1, 5, 400, dtype=torch.float64)
    places = [int(expected_error(kappa, initial, s, t).argmin()) for s in (0.01, 0.03, 0.1)]
    assert 0 < places[2] < places[1] < places[0] < 399
    assert (expected_energy(kappa, initial, 0.1, t).diff() <= 0).all()


def test_mean_frequency_of_a_wave_is_its_frequency():
    x = torch.cos(2 * math.pi * 3 * torch.arange(24, dtype=torch.float64) / 24).expand(24, 24)
    assert float(mean_frequency(x)) == pytest.approx(3 / 24, abs=1e-9)


def test_an_unrun_fit_is_empty():
    assert Fit().energy == []
    assert Fit().restored == 0
