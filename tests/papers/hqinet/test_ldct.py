"""LDCT-and-Projection-data in miniature: found, paired, windowed; and refused by file and field where it is broken."""

import shutil

import numpy as np
import pytest
import torch
from ldct_writer import PATIENTS, volumes, write_collection, write_image_series

from ctlib.errors import ArgumentError, DataError
from ctlib.papers.hqinet.dicom_projections import read_projections
from ctlib.papers.hqinet.ldct import Exam, find_exams, read_cohort, read_dose_pair
from ctlib.papers.hqinet.ldct_split import PUBLIC_SPLIT, public_split

pytestmark = pytest.mark.usefixtures("silent")


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("above", [False, True])
def test_the_collection_is_read_back_exactly(tmp_path, table, above):
    base = write_collection(tmp_path, table=table)
    pairs = read_cohort(tmp_path if above else base)
    assert tuple(p.patient for p in pairs) == PATIENTS
    for p in pairs:
        for image, hu in zip((p.full, p.low), volumes(p.patient), strict=True):
            expected = np.clip((hu.astype(np.float32) + 1000) / 2000, 0, 1)
            torch.testing.assert_close(image, torch.from_numpy(expected.astype(np.float32)), rtol=0, atol=1e-7)
        assert p.truth is None


def test_projections_of_an_exam_are_found(tmp_path):
    exam = find_exams(write_collection(tmp_path, PATIENTS[:2]))[0]
    assert read_projections(exam.low_projections).line_integrals.shape == (2, 3, 5)
    assert exam.full_projections is None


def test_names_may_be_written_in_any_case(tmp_path):
    base = write_collection(tmp_path, PATIENTS[:1])
    folder = next(base.glob("*/*/*Low Dose Images*"))
    folder.rename(folder.with_name("1.000000-LOW DOSE IMAGES-1"))
    assert len(read_cohort(base)) == 1


def test_a_square_and_adjacent_slices_from_the_middle(tmp_path):
    base = write_collection(tmp_path, PATIENTS[:1])
    whole, part = read_cohort(base)[0], read_cohort(base, size=10, num_slices=3, window_hu=(-160.0, 240.0))[0]
    hu = whole.full[1:4, 3:13, 3:13] * 2000 - 1000
    torch.testing.assert_close(part.full, ((hu + 160) / 400).clamp(0, 1), rtol=0, atol=1e-5)
    with pytest.raises(ArgumentError, match="size, num_slices"):
        read_cohort(base, size=17)


def test_exams_without_low_dose_are_listed_but_not_in_the_cohort(tmp_path):
    base = write_collection(tmp_path, PATIENTS[:2])
    shutil.rmtree(next((base / PATIENTS[1]).glob("*/*Low*")))
    assert [e.low is None for e in find_exams(base)] == [False, True]
    assert [p.patient for p in read_cohort(base)] == [PATIENTS[0]]
    with pytest.raises(DataError, match="low dose images"):
        read_cohort(base, [PATIENTS[1]])


def low_of(base):
    return next((base / "C095").glob("*/*Low Dose Images*"))


def rewrite(base, edit=lambda v: v, **changes):
    folder = low_of(base)
    shutil.rmtree(folder)
    write_image_series(folder, edit(volumes("C095")[1]), changes.pop("patient", "C095"), 9, **changes)


FLAWS = {
    "missing slice": (lambda b: (low_of(b) / "1-003.dcm").unlink(), "ImagePositionPatient"),
    "fewer slices": (lambda b: rewrite(b, lambda v: v[:4]), "slices"),
    "other size": (lambda b: rewrite(b, lambda v: v[:, 1:]), "slices"),
    "shifted": (lambda b: rewrite(b, positions=[2.0 * k + 0.7 for k in range(5)]), "ImagePositionPatient"),
    "other spacing": (lambda b: rewrite(b, positions=[2.5 * k for k in range(5)]), "spacing"),
    "other patient": (lambda b: rewrite(b, patient="C096"), "PatientID"),
    "an MR": (lambda b: rewrite(b, Modality="MR"), "Modality"),
    "damaged": (lambda b: (low_of(b) / "1-003.dcm").write_bytes(b"\0" * 300), "DICOM"),
    "empty": (lambda b: [p.unlink() for p in low_of(b).iterdir()], "folder"),
    "slope": (lambda b: rewrite(b, RescaleSlope="nan"), "RescaleSlope"),
    "two series": (lambda b: shutil.copytree(low_of(b), low_of(b).with_name("9.0-Low Dose Images-9")), "series"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_broken_pair_is_named(tmp_path, flaw):
    damage, field = FLAWS[flaw]
    base = write_collection(tmp_path, PATIENTS[:2])
    damage(base)
    with pytest.raises(DataError) as caught:
        read_cohort(base)
    assert caught.value.field == field
    assert "C095" in str(caught.value)


def test_folders_and_tables_that_are_not_the_collection(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        find_exams(tmp_path / "none")
    with pytest.raises(DataError, match="holds no exam"):
        find_exams(tmp_path)
    with pytest.raises(DataError, match="X999 not found"):
        read_cohort(write_collection(tmp_path, PATIENTS[:1]), ["X999"])
    table = tmp_path / "LDCT-and-Projection-data" / "metadata.csv"
    table.write_text("Subject ID,Series Description,File Location\nC095,Low Dose Images,../../etc\n")
    with pytest.raises(DataError, match="leads out"):
        find_exams(tmp_path)
    table.write_text("Subject ID,Series Description\nC095,Low Dose Images\n")
    with pytest.raises(DataError, match="File Location"):
        find_exams(tmp_path)


def test_an_exam_without_folders_says_which(tmp_path):
    with pytest.raises(DataError, match="full dose images"):
        read_dose_pair(Exam("C001"))


def test_the_public_split_is_by_patient_and_balanced():
    names = {part: text.split() for part, text in PUBLIC_SPLIT.items()}
    assert {part: len(n) for part, n in names.items()} == {"train": 105, "val": 30, "test": 15}
    everyone = [i for n in names.values() for i in n]
    assert len(set(everyone)) == 150
    for part in names.values():
        assert {kind: sum(i[0] == kind for i in part) for kind in "CLN"} == dict.fromkeys("CLN", len(part) // 3)
    assert public_split(PATIENTS) == {"train": ("C095", "L081", "N190"), "val": ("C202",), "test": ("C121", "L241")}
    with pytest.raises(ArgumentError, match="val"):
        public_split(["C095", "C121"])
