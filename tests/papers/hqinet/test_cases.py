"""Bodies at two doses: grids, masks, stretches of slices, patches; measured slices keep their people apart."""

import math
from dataclasses import replace

import pytest
import torch

from ctlib.data.anatomy import real_slices
from ctlib.data.images import turn
from ctlib.data.pairs import DosePair
from ctlib.errors import ArgumentError
from ctlib.papers.hqinet.cases import Case, dose_for, inside_body, on_grid, real_case, runs_of, synthetic_case
from ctlib.papers.hqinet.cohort import counted, exam_case
from ctlib.papers.hqinet.judged import body_psnr, body_scores, compare, judged_slices, per_patient
from ctlib.papers.hqinet.noise_power import noise_of
from ctlib.papers.hqinet.patches import CasePatches, fixed_patches
from ctlib.papers.hqinet.scan import Scanner


@pytest.fixture(scope="module")
def scanner():
    return Scanner(128, 3.0, 120)


@pytest.fixture(scope="module")
def measured(scanner):
    return real_case(runs_of(real_slices(split="train"))[0], scanner, [0.25, 0.1])


@pytest.fixture(scope="module")
def made(scanner):
    return synthetic_case(3, scanner, 0.25, 10.0, num_slices=4)


def test_the_sample_has_a_stretch_in_every_part():
    for part in ("train", "val", "test"):
        runs = runs_of(real_slices(split=part))
        assert runs
        assert all(len(r) >= 3 and len({s.patient for s in r}) == 1 for r in runs)


def test_a_missing_slice_ends_a_stretch():
    one = runs_of(real_slices(split="train"))[0]
    assert [len(r) for r in runs_of([s for s in one if s is not one[1]], 1)] == [1, 1]
    assert runs_of([replace(s, run="") for s in one]) == []


def test_a_measured_slice_keeps_its_values_on_another_grid(measured):
    assert measured.full.shape == measured.low.shape == (3, 128, 128)
    assert measured.truth is None
    assert "Cancer Imaging Archive" in measured.source
    fat_or_organ = measured.full[measured.inside]
    assert -120 < float(fat_or_organ.median()) < 120
    assert 0.1 < float(measured.inside.float().mean()) < 0.8


def test_a_low_dose_is_noisier_than_the_slice_by_what_was_taken(measured, made):
    for case, tolerance in ((measured, 0.25), (made, 0.25)):
        noise = [noise_of(x, 6) for x in (case.full, case.low)]
        assert noise[1] / noise[0] == pytest.approx(2.0, rel=tolerance)


def test_a_synthetic_body_has_the_noise_that_was_asked_for(made, scanner):
    soft = made.inside & (made.truth.abs() < 100)
    blurred = scanner.image(scanner.line_integrals(made.truth))
    assert float((made.full - blurred)[soft].std()) == pytest.approx(10.0, rel=0.4)  # and some of discretization
    assert not torch.equal(made.truth, synthetic_case(4, scanner, 0.25, 10.0, 4).truth)


def test_a_grid_is_filled_with_air_and_keeps_the_middle():
    hu = torch.full((1, 40, 40), -1000.0)
    hu[:, 5:25, 8:28] = 30.0
    out = on_grid(hu, 2.0, 32, 4.0)
    rows, columns = ((out[0] > -500).any(k).nonzero() for k in (1, 0))
    assert abs(float(rows.float().mean()) - 15.5) <= 1
    assert abs(float(columns.float().mean()) - 15.5) <= 1
    assert float(out[0, 15, 15]) == pytest.approx(30.0, abs=1.0)
    with pytest.raises(ArgumentError, match="hu"):
        on_grid(torch.full((1, 40, 40), -1000.0), 2.0, 32, 4.0)


def test_the_couch_and_the_lungs_are_not_in_the_body():
    hu = torch.full((100, 100), -1000.0)
    hu[20:80, 20:80] = 40.0
    hu[35:65, 30:50] = -850.0
    hu[90:92] = 100.0
    inside = inside_body(hu, 2.0)
    assert inside[25, 50]
    assert not inside[50, 40]
    assert not inside[91].any()


def test_doses_are_those_of_the_region():
    assert [dose_for(r, (0.25, 0.1)) for r in ("abdomen", "chest", "C", "L")] == [0.25, 0.1, 0.1, 0.25]


def test_an_exam_becomes_a_case_with_air_around():
    gray = torch.full((4, 20, 20), 0.52)
    case = exam_case(DosePair("C012", gray, gray + 0.01), "C", 2.0, 32)
    assert case.full.shape == (4, 32, 32)
    assert float(case.low[0, 16, 16]) == pytest.approx(40.0, abs=1e-3)
    assert float(case.full[0, 0, 0]) == -1000.0
    assert (case.dose, case.truth) == (0.1, None)
    assert math.isnan(exam_case(DosePair("X", gray, gray), "ABDOMEN", 2.0, 32).dose)


def test_patches_are_drawn_in_the_body_and_turned_alike(measured, made):
    patches = CasePatches([measured, made], 32)
    assert len(patches) == 1 + 2
    inputs, targets = patches([0, 1, 2], [5, 6, 7])
    assert inputs.shape == (3, 3, 32, 32)
    assert targets.shape == (3, 1, 32, 32)
    again = patches([0, 1, 2], [5, 6, 7])
    assert torch.equal(inputs, again[0])
    assert not torch.equal(inputs, patches([0, 1, 2], [8, 9, 10])[0])
    for x, t in zip(inputs[:, 1], targets[:, 0], strict=True):  # the same place and way: most alike where they lie
        assert float(torch.corrcoef(torch.stack([x.flatten(), t.flatten()]))[0, 1]) > 0.5
    one = CasePatches([measured, made], 32, num_slices=1)
    assert torch.equal(one([0], [5])[1], patches([0], [5])[1])  # the same target whatever the input
    assert torch.equal(fixed_patches(patches, 2)[0], fixed_patches(patches, 2)[0])


def test_eight_ways_to_turn():
    x = torch.arange(9.0).reshape(3, 3)
    assert len({tuple(turn(x, k).flatten().tolist()) for k in range(8)}) == 8


def test_bad_patches_are_named(made):
    for argument, options in (("num_slices, margin", {"num_slices": 2}), ("num_slices, margin", {"num_slices": 5}),
                              ("size", {"size": 500})):  # fmt: skip
        with pytest.raises(ArgumentError) as caught:
            CasePatches([made], **{"size": 16, **options})
        assert caught.value.argument == argument
    with pytest.raises(ArgumentError, match="cases"):
        CasePatches([replace(made, full=made.full[:2], low=made.low[:2], inside=made.inside[:2], truth=None)], 16)


def test_slices_are_judged_inside_the_body(measured, made):
    s = judged_slices([made, replace(made, patient="S2")], 2)
    assert len(s) == 4
    assert s.patients == ("S0003",) * 2 + ("S2",) * 2
    x = torch.where(s.inside, s.low, 0.3)  # nonsense outside changes nothing
    assert body_psnr(x, s) == body_psnr(s.low, s)
    found = body_scores(s.low, s.full, s.inside)
    assert all(v.shape == (4,) and bool(torch.isfinite(v).all()) for v in found.values())
    rmse = ((s.low - s.full)[0][s.inside[0]] ** 2).mean().sqrt()
    assert float(found["PSNR"][0]) == pytest.approx(float(-20 * torch.log10(rmse)), rel=1e-4)
    assert judged_slices([measured]).targets().keys() == {"full dose"}


def test_comparisons_are_paired_by_person(made):
    s = judged_slices([made, replace(made, patient="S2")], 2)
    better = [0.5 * (s.low + s.full)]
    assert per_patient(better, s).shape == (1, 2)
    low, mean, high = compare(better, [s.low], s)
    assert low == pytest.approx(20 * math.log10(2), abs=0.01)
    assert mean == pytest.approx(high, abs=0.01)
    with pytest.raises(ArgumentError, match="outputs"):
        per_patient([s.low[:1]], s)


def test_counts_tell_people_and_doses(measured, made):
    text = counted([measured, made])
    assert text.startswith("1 patients, 1 synthetic bodies, 3 slices")
    assert isinstance(measured, Case)
