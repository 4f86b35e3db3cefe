"""Photons read off a row of errors."""

import numpy as np
import pytest

from ctlib.errors import ArgumentError
from ctlib.papers.spectral2spectral.dose import COUNTS, fbp_errors, fit_dose

AT = np.geomspace(1e3, 1e6, 13)
CURVES = np.stack([3.0 / AT**0.5, 9.0 / AT**0.5, 0.1 / AT**0.5], 1)


def test_a_row_of_the_curves_themselves_gives_its_photons_back():
    fit = fit_dose(AT, CURVES, [3.0 / 2e4**0.5, 9.0 / 2e4**0.5, 0.1 / 2e4**0.5])
    assert fit.joint == pytest.approx(2e4, rel=0.02)
    np.testing.assert_allclose(fit.each, 2e4, rtol=0.01)
    np.testing.assert_allclose(fit.left, 1.0, rtol=0.01)


def test_materials_that_disagree_meet_in_the_middle_and_what_is_left_is_told():
    target = [3.0 / 1e4**0.5, 9.0 / 4e4**0.5, 0.1 / 2e4**0.5]
    fit = fit_dose(AT, CURVES, target)
    np.testing.assert_allclose(fit.each, [1e4, 4e4, 2e4], rtol=0.01)
    assert fit.joint == pytest.approx(2e4, rel=0.03)
    np.testing.assert_allclose(fit.left, [0.5**0.5, 2**0.5, 1.0], rtol=0.03)


def test_a_row_outside_the_curves_has_no_photons():
    fit = fit_dose(AT, CURVES, [1e-6, 9.0 / 4e4**0.5, 1e3])
    assert np.isnan(fit.each[[0, 2]]).all()
    with pytest.raises(ArgumentError, match="rising"):
        fit_dose(AT[::-1], CURVES, [1, 1, 1])
    with pytest.raises(ArgumentError, match="positive"):
        fit_dose(AT, CURVES, [1, -1, 1])


def test_errors_of_fbp_fall_with_photons():
    pytest.importorskip("xraylib")
    errors = fbp_errors(32, 24, 1, (1e3, 1e6), 1)
    assert errors.shape == (2, 3)
    assert (errors[0] > errors[1]).all()
    assert len(COUNTS) == 7
