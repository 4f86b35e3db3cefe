"""The values behind the chapter's claims: every claim has one, and they mean what the claim says."""

from pathlib import Path

import numpy as np
import pytest
import yaml

import ctlib
from ctlib.papers.spectral2spectral import compare, verdicts
from ctlib.papers.spectral2spectral.chapter import ABLATIONS, METHODS
from ctlib.papers.spectral2spectral.experiment import Settings
from ctlib.papers.spectral2spectral.methods import PRINTED, TAUGHT
from ctlib.papers.spectral2spectral.study import Study

pytest.importorskip("xraylib")
pytestmark = pytest.mark.usefixtures("one_thread")

CLAIMS = Path(ctlib.__file__).parent.parent / "book" / "claims" / "03-spectral2spectral.yml"
ON_THE_PAGE = {"s2s-one-dose", "s2s-shared-sirt-50", "s2s-shared-solved", "s2s-phase", "s2s-phase-bins"}


@pytest.fixture(scope="module")
def study():
    settings = Settings(
        outer=1, rho=0.1, steps=8, lr=0.003, width=2, depth=1, printed_width=2, printed_depth=1, epochs=5,
        classical_outer=1, watch_every=1,
    )  # fmt: skip
    return Study(
        seeds={"rods": [1, 2], "mouse": [1, 2]}, n=32, views=16, counts=2e4, slices={"rods": 2, "mouse": 2},
        tuning_slices=2, drift=0.01, settings=settings, methods=METHODS, trials=1, ablations=ABLATIONS,
    )  # fmt: skip


@pytest.fixture(scope="module")
def claims(study):
    every = (verdicts.rod_claims, verdicts.mouse_claims, verdicts.drift_claims, verdicts.ablation_claims)
    return {name: (values, curves) for claims_of in every for name, values, curves in claims_of(study)}


def test_every_claim_that_can_be_tested_has_values_and_its_trainings(claims):
    listed = {c["id"]: c for c in yaml.safe_load(CLAIMS.read_text())["claims"] if "not_testable" not in c}
    assert set(claims) == set(listed) - ON_THE_PAGE
    for name, (values, curves) in claims.items():
        assert np.shape(values) == (2,)
        assert np.isfinite(values).all()
        if "settles" in listed[name]:
            assert curves
            assert all(len(steps) == len(errors) >= 2 for steps, errors in curves.values())


def test_ratios_are_over_the_method_that_is_judged(study, claims):
    judged = compare.theirs(study, "mouse")
    assert judged in (PRINTED, TAUGHT)
    error = compare.scores_of(study, "mouse", "error")
    expected = np.exp(np.log(error["TV"][:, [0, 2, 4]] / error[judged][:, [0, 2, 4]]).mean(1))
    np.testing.assert_allclose(claims["s2s-mouse-tv"][0], expected)
    assert all(curve[1][-1] == pytest.approx(1.0) for curve in claims["s2s-mouse-tv"][1].values())


def test_tables_have_a_row_for_every_method(study):
    names = ["FBP", "SIRT-50", "no prior", "no prior, no noise", *METHODS]
    assert [row[0] for row in compare.table1_rows(study)] == names
    assert [row[0] for row in compare.score_rows(study, "mouse")] == names
    assert [len(row) for row in compare.table1_rows(study)] == [7] * len(names)
    assert [row[0] for row in compare.ablation_rows(study)] == ["as printed", *ABLATIONS]
    assert list(compare.ranking(study).values()) == sorted(compare.ranking(study).values())
    assert sum(map(len, compare.smallest(study, "rods").values())) == 3
    assert compare.maps_of(study, "truth", 1).shape == (3, 32, 32)
