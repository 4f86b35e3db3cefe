"""The extension to projections: scans of bodies, and what filtered back-projection makes of them."""

import numpy as np
import pytest
import torch

from ctlib.linop import FunctionOperator
from ctlib.papers.dip import scan
from ctlib.papers.dip.bodies import synthetic_body
from ctlib.papers.dip.experiment import psnr_db

BODY = synthetic_body(32)


def test_a_scan_with_many_photons_is_the_line_integral():
    A = FunctionOperator(lambda x: x + 1, lambda y: y, (30, 40), (30, 40))  # p = 1 behind an empty image
    readings = scan.noisy_scan(A, torch.zeros(30, 40), 1e4, seed=3)
    assert readings.mean() == pytest.approx(1, abs=3e-3)
    assert readings.std() == pytest.approx(float(np.exp(0.5)) / 1e2, rel=0.1)  # Var = e^p / photons
    assert torch.equal(readings, scan.noisy_scan(A, torch.zeros(30, 40), 1e4, seed=3))


def test_readings_have_the_noise_that_is_read_off_them():
    task = scan.scan_task(BODY, 60, 1e5, 0)
    residual = (task.x0 - task.A(task.truth)).square().mean().sqrt()
    assert scan.reading_noise(task, 1e5) == pytest.approx(float(residual), rel=0.1)


def test_a_body_is_reconstructed_in_its_own_gray_values():
    task = scan.scan_task(BODY, 90, 1e7, 0)
    plain, smooth = (scan.scan_by_fbp(BODY, 90, task.x0, "hann", blur) for blur in (0.0, 2.0))
    assert psnr_db(plain, task.truth, BODY.region) > 28
    assert psnr_db(smooth, task.truth, BODY.region) < psnr_db(plain, task.truth, BODY.region)
    assert psnr_db(scan.scan_by_tv(task, 0.01, 60), task.truth, BODY.region) > 28


def test_a_blur_keeps_constants_and_has_its_width():
    assert scan.blurred(torch.full((9, 12), 0.7), 1.5) == pytest.approx(torch.full((9, 12), 0.7), abs=1e-6)
    x = torch.zeros(41, 41, dtype=torch.float64)
    x[20, 20] = 1
    spread = scan.blurred(x, 2.0)
    at = torch.arange(41, dtype=torch.float64) - 20
    assert float((spread.sum(0) * at**2).sum()) ** 0.5 == pytest.approx(2.0, rel=0.02)
    assert torch.equal(scan.blurred(x, 0.0), x)
