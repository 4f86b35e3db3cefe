"""Few energies that stand for all: what they give, where they do, and what happens elsewhere."""

import pytest
import torch
from deep_silicon import BOX

from ctlib.decompose import decompose_mle, few
from ctlib.decompose.fixed import fixed_for
from ctlib.physics.moments import moment_tables, moments

SETUPS = {
    "water, calcium": (("water", "calcium"), BOX),
    "with a K-edge": (("water", "calcium", "gadolinium"), (*BOX, (-1, 2))),
}


@pytest.fixture(params=SETUPS.values(), ids=SETUPS)
def fixed(request, build):
    materials, box = request.param
    return fixed_for(build(materials), torch.zeros(1, 4, dtype=torch.float64), box, False)


def pulled(model, counts, box, **options):
    """Path lengths and the gradient of their sum."""
    y = counts.clone().requires_grad_()
    found = decompose_mle(model, y, box, **options)
    return found.detach(), torch.autograd.grad(found.sum(), y)[0]


def test_they_give_counts_and_derivatives_of_all(fixed):
    fine = fixed.start.fine
    paths = torch.rand(2000, len(fine.low), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    paths = fine.low + (fine.high - fine.low) * paths
    f = fixed.attenuation
    both = (moments(paths, f, moment_tables(f, s)) for s in (fixed.spectra, fine.spectra))
    for right, found, error in zip(*both, few.ERRORS, strict=True):
        assert ((found - right).abs() <= error * right.abs()).all()
    assert (fine.spectra > 0).sum() < 0.6 * (fixed.spectra > 0).sum()
    assert (fine.spectra >= 0).all()


def test_beyond_their_region_all_energies_count(build):
    """Path lengths that are brighter than any body: found by other loops, and their gradient by all energies."""
    model, box = build(photons=1e4), ((-5, 35), (-9, 10))
    fine = fixed_for(model, torch.zeros(1, 4), box, False).start.fine
    ends = torch.tensor([[8.0, 0.5], [2.0, -0.3], [20.0, -0.85], [30.0, -0.9]], dtype=torch.float64)
    assert (ends[:, 1] < fine.low[1]).tolist() == [False, False, True, True]
    paths = ends.repeat(20, 1)  # neighbors of both kinds in every block
    found, grad = pulled(model, model(paths).float(), box)
    right, expected = pulled(model, model(paths), box)
    torch.testing.assert_close(right, paths, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.double(), right, rtol=1e-5, atol=2e-5)
    assert ((grad - expected).norm(dim=1) / expected.norm(dim=1)).max() < 2e-5


def test_those_of_other_thresholds_are_not_used(model, draw):
    """Thresholds of a call are not the model's own, which the start was fitted to."""
    paths, _ = draw(model, 60)
    moved = model.thresholds_kev + torch.tensor([0.0, 3.0, -2.0, 4.0, 0.0], dtype=torch.float64)
    found, grad = pulled(model, model(paths, moved).float(), BOX, thresholds_kev=moved.float())
    right, expected = pulled(model, model(paths, moved), BOX, thresholds_kev=moved)
    torch.testing.assert_close(found.double(), right, rtol=0, atol=5e-5)
    assert ((grad - expected).norm(dim=1) / expected.norm(dim=1)).max() < 2e-5


@pytest.mark.parametrize("trouble", ["errors", "no SciPy"])
def test_without_those_that_are_right_all_energies_count(model, draw, monkeypatch, trouble):
    _, counts = draw(model, 40)
    right, expected = pulled(model, counts.float(), BOX)
    if trouble == "errors":
        monkeypatch.setattr(few, "ERRORS", (1e-16, 1e-16, 1e-16))
    else:
        monkeypatch.setattr(few.importlib.util, "find_spec", lambda name: None)
    model._kept.clear()
    assert fixed_for(model, counts.float(), BOX, False).start.fine is None
    found, grad = pulled(model, counts.float(), BOX)
    model._kept.clear()
    torch.testing.assert_close(found, right, rtol=0, atol=2e-5)
    assert ((grad - expected).norm(dim=1) / expected.norm(dim=1)).max() < 2e-5
