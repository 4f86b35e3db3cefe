"""Threshold calibration: exact derivatives, recovery of a known drift in both spaces, refusal of nonsense."""

import pytest
import torch

from ctlib.decompose import decompose_mle
from ctlib.errors import ArgumentError
from ctlib.geometry import ParallelBeam, Volume
from ctlib.papers.pcct.calibration import (
    OPTIMIZERS,
    calibrate,
    corrected,
    image_residual,
    thickness_residual,
    threshold_jacobian,
)
from ctlib.phantoms.materials import ellipse_phantom
from ctlib.projector import Projector
from ctlib.recon import fbp

pytestmark = pytest.mark.usefixtures("one_thread")

BOX = ((-5, 40), (-5, 20))
DRIFT = torch.tensor([0.5, 0.5, 0.5, 0.5, 0.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def drifted(build):
    """Model, counts of a small grid, its path lengths, and thresholds that are 0.5 keV too high."""
    model = build(thresholds=(15, 33, 45, 59, 125))
    axes = torch.arange(0, 31, 6.0, dtype=torch.float64), torch.arange(0, 3.2, 0.6, dtype=torch.float64)
    paths = torch.cartesian_prod(*axes)
    return model, model(paths), paths, model.thresholds_kev.double() + DRIFT


def test_a_correction_moves_all_thresholds_but_the_top():
    t = torch.tensor([15.0, 33.0, 125.0])
    assert corrected(t, torch.tensor([0.5, -1.0])).tolist() == [14.5, 34.0, 125.0]
    assert corrected(t, torch.zeros(7, 2)).shape == (7, 3)


def test_lbfgs_recovers_the_drift_from_thicknesses(drifted):
    model, counts, paths, believed = drifted
    residual = thickness_residual(model, counts, paths, believed, BOX)
    found = calibrate(residual, torch.zeros(4, dtype=torch.float64))
    assert (found.shift_kev - 0.5).abs().max() < 1e-4
    assert len(found.losses) == len(found.path_kev)
    assert min(found.losses) < 1e-8 * found.losses[0]


def test_the_jacobian_is_that_of_central_differences(drifted):
    model, counts, _, believed = drifted
    jacobian, h = threshold_jacobian(model, counts, believed, BOX), 1e-3
    for i in range(4):
        step = h * torch.eye(5, dtype=torch.float64)[i]
        up, down = (decompose_mle(model, counts, BOX, thresholds_kev=believed + s) for s in (step, -step))
        numeric = (up - down) / (2 * h)
        assert (jacobian[..., i] - numeric).abs().max() < 1e-5 * numeric.abs().max()


def test_adam_reduces_either_norm(drifted):
    model, counts, paths, believed = drifted
    residual = thickness_residual(model, counts, paths, believed, BOX)
    for name in ("adam_l1", "adam_l2"):
        found = calibrate(residual, torch.zeros(4, dtype=torch.float64), name, num_iters=40)
        assert len(found.losses) == 40
        assert min(found.losses) < 0.5 * found.losses[0]
        best = min(range(40), key=found.losses.__getitem__)
        assert torch.equal(found.shift_kev, found.path_kev[best])


def test_images_recover_the_drift_of_two_pixels_and_leave_the_others(drifted):
    model, _, _, believed = drifted
    field = Volume((48, 48), 8.0)
    A, columns = Projector(ParallelBeam(field, 36, 48, 8.0)), [14, 17]
    counts = model(ellipse_phantom(384.0).paths(A.geometry))
    paths = decompose_mle(model, counts, BOX)

    def reconstruct(p):
        return 10 * fbp(A, p.movedim(-1, 0))

    reference = reconstruct(paths)
    shift = torch.stack([torch.zeros(4), torch.tensor([0.0, 0.2, -0.1, 0.0])]).double()
    residual = image_residual(model, reconstruct, paths, counts[:, columns], columns, reference, believed, BOX)
    before = residual(shift).square().mean().sqrt()
    found = calibrate(residual, shift, num_iters=40)
    assert residual(found.shift_kev).square().mean().sqrt() < 0.02 * before
    exact = residual(torch.full((2, 4), 0.5, dtype=torch.float64))
    assert exact.abs().max() < 1e-9, "the true shift leaves nothing of the ring"


def test_an_unknown_optimizer_is_named():
    with pytest.raises(ArgumentError, match="optimizer"):
        calibrate(lambda s: s, torch.zeros(4), "sgd")
    assert OPTIMIZERS == ("lbfgs", "adam_l1", "adam_l2")
