"""The case with an exact posterior: its formulas, what is judged, and that a loss can reach it."""

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.papers.tomography.exact_case import exact_case, judged_exactly, trained_generator

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def case():
    return exact_case(1.0, n=6, views=4)


def test_the_posterior_is_that_of_joint_gaussian_draws(case):
    x, y = case.drawn(200_000, torch.Generator().manual_seed(0))
    off = x - y @ case.gain.T
    assert (off.T @ off / len(off) - case.cov).abs().max() < 0.02
    assert (off.T @ y / len(off)).abs().max() < 0.1  # what is left does not depend on the data


def test_the_exact_generator_is_judged_right(case):
    root = torch.linalg.cholesky(case.cov + 1e-12 * torch.eye(len(case.cov)))
    found = judged_exactly(case, (case.gain, root))
    assert found["rays"] == pytest.approx(1, abs=1e-6)
    assert found["pixels"] == pytest.approx(1, abs=1e-6)
    assert found["within 68 %"] == pytest.approx(0.68, abs=1e-6)
    assert found["covariance"] < 1e-6
    assert found["mean"] == pytest.approx(1, abs=1e-6)


def test_a_wider_generator_covers_more_and_a_wrong_mean_less(case):
    root = torch.linalg.cholesky(case.cov + 1e-12 * torch.eye(len(case.cov)))
    assert judged_exactly(case, (case.gain, 2 * root))["within 68 %"] > 0.9
    assert judged_exactly(case, (0 * case.gain, root))["within 68 %"] < 0.6


def test_the_energy_score_comes_nearer_the_posterior_than_equation_1(case):
    found = {m: judged_exactly(case, trained_generator(case, m, steps=300)) for m in ("equation 1", "energy score")}
    assert found["equation 1"]["rays"] < 0.3
    assert 0.8 < found["energy score"]["rays"] < 1.2
    assert found["energy score"]["covariance"] < 0.5 * found["equation 1"]["covariance"]


def test_no_loss_spoils_the_mean_and_looks_end_with_the_result(case):
    seen = {}
    look = lambda step, made: seen.update({step: judged_exactly(case, made)})  # noqa: E731
    trained = trained_generator(case, "KL", steps=12, look=look)
    assert list(seen) == [*range(0, 12, 2), 12]
    assert all(found["mean"] == pytest.approx(1) for found in seen.values())
    assert seen[12] == judged_exactly(case, trained)


def test_wrong_arguments_are_named(case):
    for call in (lambda: exact_case(0.0), lambda: trained_generator(case, "KL of nine")):
        with pytest.raises(ArgumentError):
            call()
