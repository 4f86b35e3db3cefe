"""Paired doses in miniature: found by headers in every layout, matched by place, counted; what is skipped is told."""

import re
import shutil
import zipfile

import numpy as np
import pytest
import torch
from dicom_writer import write_ct
from ldct_writer import (
    LAYOUTS,
    PATIENTS,
    low_of,
    rearranged,
    volumes,
    write_awkward,
    write_collection,
    write_image_series,
    write_scout,
)

from ctlib.errors import ArgumentError, DataError
from ctlib.papers.hqinet.cohort import exam_case, exam_cases
from ctlib.papers.hqinet.dicom_projections import read_projections
from ctlib.papers.hqinet.ldct import Exam, Patches, find_cohort, find_exams, read_cohort, read_dose_pair, read_runs
from ctlib.papers.hqinet.ldct_header import read_header
from ctlib.papers.hqinet.ldct_split import PUBLIC_SPLIT, describe_cohort, divide, public_split
from ctlib.papers.hqinet.patches import CasePatches

silent = pytest.mark.usefixtures("silent")


def assert_exact(pairs, patients=PATIENTS):
    assert tuple(p.patient for p in pairs) == tuple(patients)
    for p in pairs:
        for image, hu in zip((p.full, p.low), volumes(p.patient), strict=True):
            expected = np.clip((hu.astype(np.float32) + 1000) / 2000, 0, 1)
            torch.testing.assert_close(image, torch.from_numpy(expected.astype(np.float32)), rtol=0, atol=1e-7)
        assert p.truth is None


@silent
@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("above", [False, True])
def test_the_collection_is_read_back_exactly(tmp_path, table, above):
    base = write_collection(tmp_path, table=table)
    assert_exact(read_cohort(tmp_path if above else base))


@silent
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_that_people_have_is_read_alike(tmp_path, layout):
    root = rearranged(write_collection(tmp_path / "a"), tmp_path / "b", layout)
    assert_exact(read_cohort(root))
    cohort = find_cohort(root)
    assert cohort.describe().startswith(f"{root}: 6 patients, 13 series, 62 files\n6 pairs, 0 incomplete; 30 slices")
    assert {e.patient for e in cohort.exams if e.low_projections} == {PATIENTS[0]}


@silent
def test_one_patient_alone_is_read_but_not_divided(tmp_path):
    base = write_collection(tmp_path)
    assert_exact(read_cohort(base / "C121"), ["C121"])
    assert_exact(read_cohort(next((base / "C121").iterdir())), ["C121"])
    assert "no split: patients: got 1 in" in describe_cohort(base / "C121")
    with pytest.raises(ArgumentError, match=r"patients: got 1 in .*, needs at least 3"):
        exam_cases(base / "C121", 8, 4)


@silent
def test_without_descriptions_the_table_or_the_folder_names_the_dose(tmp_path):
    base = write_collection(tmp_path / "a", PATIENTS[:3], described=False)
    assert_exact(read_cohort(base), PATIENTS[:3])
    table = write_collection(tmp_path / "b", PATIENTS[:3], described=False, table=True)
    flat = rearranged(table, tmp_path / "c" / table.name, "flat UID folders")
    shutil.copy(table / "metadata.csv", tmp_path / "c")  # beside the collection, as downloaders put it
    assert_exact(read_cohort(flat), PATIENTS[:3])
    (tmp_path / "c" / "metadata.csv").write_bytes(b"\xff\xfe\x00broken")
    with pytest.raises(DataError, match=r"none has images at both doses(?s:.)*name no dose \(argument doses\)"):
        read_cohort(flat)


@silent
def test_doses_may_be_named_by_hand(tmp_path):
    for k, name in enumerate(("ABD 3mm FD B30", "ABD 3mm QD B30")):
        write_image_series(tmp_path / f"s{k}", volumes("L004")[k], "L004", 4 + k, SeriesDescription=name)
    assert find_exams(tmp_path)[0].problem.startswith("no full dose images and no low dose images; 'ABD 3mm FD B30'")
    exams = find_exams(tmp_path, {"full": "*fd*", "low": "*QD*"})
    assert_exact([read_dose_pair(exams[0])], ["L004"])
    assert_exact([read_dose_pair(find_exams(tmp_path, {"full": "s0", "low": "s1"})[0])], ["L004"])  # folders
    assert_exact([read_dose_pair(find_exams(tmp_path, {"full": "1.2.4.*", "low": "1.2.5.*"})[0])], ["L004"])  # UIDs
    for wrong in ({"full": "a"}, "full", {"full": 1, "low": "b"}):
        with pytest.raises(ArgumentError, match="doses"):
            find_exams(tmp_path, wrong)


@silent
@pytest.mark.parametrize(
    ("name", "dose"),
    [("Full Dose Images", "full"), ("FULL_DOSE_IMAGES", "full"), ("low-dose images", "low"), ("Quarter Dose", "low"),
     ("Routine dose 3.0", "full"), ("Abdomen", None), ("full and low dose, full dose", None)],
)  # fmt: skip
def test_descriptions_that_name_a_dose(tmp_path, name, dose):
    write_image_series(tmp_path / "x", volumes("L004")[0], "L004", 4, SeriesDescription=name)
    exam = find_exams(tmp_path)[0]
    assert (exam.full is not None, exam.low is not None) == (dose == "full", dose == "low")


@silent
def test_projections_of_an_exam_are_found(tmp_path):
    exam = find_exams(write_collection(tmp_path, PATIENTS[:2]))[0]
    assert read_projections(exam.low_projections).line_integrals.shape == (2, 3, 5)
    assert exam.full_projections is None


@silent
def test_of_projections_two_headers_are_read_and_of_images_all(tmp_path, monkeypatch):
    from ctlib.papers.hqinet import ldct_headers

    base, read = write_collection(tmp_path, PATIENTS[:1]), []
    real = ldct_headers.read_header
    monkeypatch.setattr(ldct_headers, "read_header", lambda path: read.append(path) or real(path))
    find_cohort(base)
    assert len(read) == 2 * 5 + 2


@silent
def test_a_square_and_adjacent_slices_from_the_middle(tmp_path):
    base = write_collection(tmp_path, PATIENTS[:1])
    whole, part = read_cohort(base)[0], read_cohort(base, size=10, num_slices=3, window_hu=(-160.0, 240.0))[0]
    hu = whole.full[1:4, 3:13, 3:13] * 2000 - 1000
    torch.testing.assert_close(part.full, ((hu + 160) / 400).clamp(0, 1), rtol=0, atol=1e-5)
    with pytest.raises(ArgumentError, match="size"):
        read_cohort(base, size=17)


@silent
def test_exams_without_low_dose_are_listed_but_not_in_the_cohort(tmp_path):
    base = write_collection(tmp_path, PATIENTS[:2])
    shutil.rmtree(next((base / PATIENTS[1]).glob("*/*Low*")))
    assert [e.low is None for e in find_exams(base)] == [False, True]
    assert [p.patient for p in read_cohort(base)] == [PATIENTS[0]]
    assert "1 pairs, 1 incomplete" in find_cohort(base).describe()
    assert f"incomplete {PATIENTS[1]}: no low dose images" in find_cohort(base).describe()
    with pytest.raises(DataError, match="low dose images"):
        read_cohort(base, [PATIENTS[1]])


def rewrite(base, edit=lambda v: v, **changes):
    folder = low_of(base)
    shutil.rmtree(folder)
    description = {"SeriesDescription": "Low Dose Images", **changes}
    write_image_series(folder, edit(volumes("C095")[1]), description.pop("patient", "C095"), 9, **description)


def unreadable_pixels(path):
    """Header and length are right, so that only reading finds it out."""
    import pydicom

    data = pydicom.dcmread(path)
    data.RescaleSlope = "0"
    data.save_as(path)


FLAWS = {  # what happens to the low dose of C095: (slices of its runs, what is said)
    "missing slice": (lambda b: (low_of(b) / "1-003.dcm").unlink(), [2, 2], "9 slices at both doses in 3 runs"),
    "fewer slices": (lambda b: rewrite(b, lambda v: v[:4]), [4], "9 slices at both doses in 2 runs"),
    "other size": (lambda b: rewrite(b, lambda v: v[:, 1:]), None, "Rows, Columns of the two doses"),
    "shifted": (lambda b: rewrite(b, positions=[2.0 * k + 0.7 for k in range(5)]), None, "lies at the same place"),
    "half the steps": (lambda b: rewrite(b, positions=[1.0 * k for k in range(5)]), [3], "8 slices"),
    "shifted in the plane": (lambda b: rewrite(b, ImagePositionPatient=["-9", "-20", "0"]), None, "same place"),
    "other pixels": (lambda b: rewrite(b, PixelSpacing=["0.9", "0.7"]), None, "PixelSpacing of the two doses"),
    "other patient": (lambda b: rewrite(b, patient="C096"), None, "incomplete C096: no full dose images"),
    "an MR": (lambda b: rewrite(b, Modality="MR"), None, "skipped 5: .*Modality: is 'MR'"),
    "damaged": (lambda b: (low_of(b) / "1-003.dcm").write_bytes(b"\0" * 300), [2, 2], "skipped 1: .*1-003.dcm: DICOM"),
    "cut off": (lambda b: truncate(low_of(b) / "1-003.dcm"), [2, 2], "skipped 1: .*PixelData: is cut off"),
    "turned about": (lambda b: [p.unlink() for p in low_of(b).iterdir()], None, "no low dose images"),
    "nameless": (lambda b: rewrite(b, patient=""), None, "skipped 5: .*PatientID: is missing"),
    "copied": (lambda b: shutil.copytree(low_of(b), low_of(b).with_name("9")), [5], "skipped 5: .*is a copy of"),
    "two reconstructions": (lambda b: second(b), None, "several series fit each other equally"),
    "coronal": (lambda b: rewrite(b, ImageOrientationPatient=["1", "0", "0", "0", "0", "-1"]), None, "5 localizers"),
    "a scout": (lambda b: write_scout(low_of(b), "C095"), [5], "1 localizers or reformats set aside, 0 files skipped"),
    "another grid": (lambda b: write_ct(low_of(b) / "z.dcm", np.zeros((40, 16), np.uint16), 9.0, PatientID="C095",
                     SeriesInstanceUID="1.2.5.1095", SOPInstanceUID="1.9"), [5], "skipped 1: .*differ from those of"),
    "place taken": (lambda b: write_ct(low_of(b) / "z.dcm", np.zeros((16, 16), np.uint16), 4.0, PatientID="C095",
                    SeriesInstanceUID="1.2.5.1095", SOPInstanceUID="1.9"), [5], "ImagePositionPatient: is that of"),
}  # fmt: skip


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


def second(base):
    """The low dose once more, as another series on the same grid."""
    write_image_series(low_of(base).with_name("7"), volumes("C095")[1], "C095", 77, SeriesDescription="Low Dose Images",
                       StudyInstanceUID="1.3.1095")  # fmt: skip


@silent
@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_costs_its_own_slices_and_is_told(tmp_path, flaw):
    damage, lengths, said = FLAWS[flaw]
    base = write_collection(tmp_path, PATIENTS[:2])
    damage(base)
    cohort = find_cohort(base)
    assert re.search(said, cohort.describe()), cohort.describe()
    assert "C121" in {p.patient for p in read_cohort(cohort)}
    exam = next(e for e in cohort.exams if e.patient == "C095")
    if lengths is None:
        assert not exam.runs
        with pytest.raises(DataError):
            read_cohort(cohort, ["C095"])
    else:
        got = read_runs(exam)
        assert sorted(len(p.low) for p in got) == sorted(lengths)
        whole = [torch.from_numpy(v.astype(np.float32) + 1000).div(2000).clamp(0, 1) for v in volumes("C095")]
        for pair, run in zip(got, sorted(exam.runs, key=len, reverse=True), strict=True):
            index = [round(p.z_mm / 2) for p in run]
            full = whole[0][index]
            low = whole[1][[2 * k for k in index] if flaw == "half the steps" else index]
            torch.testing.assert_close(pair.full, full, rtol=0, atol=1e-6)
            torch.testing.assert_close(pair.low, low, rtol=0, atol=1e-6)


def test_pixels_that_cannot_be_read_end_a_run_with_a_warning(tmp_path):
    base = write_collection(tmp_path, PATIENTS[:2])
    unreadable_pixels(low_of(base) / "1-002.dcm")  # file names run backwards: the fourth slice
    with pytest.warns(UserWarning, match=r"slice skipped: .*1-002.dcm: RescaleSlope"):
        pairs = read_cohort(base, ["C095"])
    assert [len(p.low) for p in pairs] == [3, 1]
    for path in low_of(base).iterdir():
        unreadable_pixels(path)
    with pytest.warns(UserWarning, match="exam skipped: C095"):
        assert [p.patient for p in read_cohort(base)] == ["C121"]


@silent
def test_reconstructions_with_kernels_of_their_own_are_paired_by_kernel(tmp_path):
    for k, (dose, kernel) in enumerate((d, c) for c in ("B30f", "D45f") for d in ("Full", "Low")):
        volume = volumes("L004", seed=k // 2)[k % 2]
        told = {"SeriesDescription": f"{dose} dose", "StudyInstanceUID": "1.9", "ConvolutionKernel": kernel}
        write_image_series(tmp_path / f"{k}", volume, "L004", 4 + k, **told)
    exams = find_exams(tmp_path)
    assert [(e.full.kernel, e.low.kernel) for e in exams] == [("B30f", "B30f"), ("D45f", "D45f")]
    assert (
        sum(len(p.low) for p in read_cohort(tmp_path, num_slices=4, least=2)) == 4
    )  # a patient's share, not an exam's


@silent
def test_no_sample_reaches_across_a_gap(tmp_path):
    """Full-dose slices carry their height as gray value: neighbors differ by one step of it."""
    volume = np.stack([np.full((8, 8), 10.0 * k) for k in range(12)])
    for series, name in ((4, "Full Dose"), (5, "Low Dose")):
        write_image_series(tmp_path / name, volume, "L004", series, SeriesDescription=name)
    (tmp_path / "Low Dose" / "1-007.dcm").unlink()
    (tmp_path / "Full Dose" / "1-002.dcm").unlink()
    cases = [exam_case(pair, "L", 1.0, 8) for pair in read_cohort(tmp_path, least=3)]
    samples = CasePatches(cases, 8, turned=False, window_hu=(0.0, 120.0))
    assert len(samples) == 3 + 2
    inputs, targets = samples(range(5), range(5))
    levels = 12 * inputs[:, :, 0, 0]
    assert torch.allclose(levels.diff(dim=1), torch.ones(5, 2), atol=1e-3)
    assert torch.allclose(levels[:, 1], 12 * targets[:, 0, 0, 0], atol=1e-3)


@silent
def test_every_second_slice_makes_no_neighbors(tmp_path):
    full, low = volumes("L004")
    write_image_series(tmp_path / "f", full, "L004", 4, SeriesDescription="Full Dose")
    write_image_series(tmp_path / "l", low[::2], "L004", 5, [0.0, 4.0, 8.0], SeriesDescription="Low Dose")
    assert [len(run) for run in find_exams(tmp_path)[0].runs] == [1, 1, 1]


@silent
def test_five_patients_of_one_region_with_gaps_make_three_parts(tmp_path):
    base = write_awkward(tmp_path)
    text = describe_cohort(tmp_path)
    assert "5 pairs, 0 incomplete; 42 slices at both doses in 7 runs; 1 localizers" in text
    assert "split (drawn by patient and region, seed 0): train 3, val 1, test 1" in text
    cohort, _ = exam_cases(base, 16, 4)
    assert {part: len({p.patient for p in pairs}) for part, pairs in cohort.items()} == {
        "train": 3,
        "val": 1,
        "test": 1,
    }
    assert all(len(p.low) >= 3 for pairs in cohort.values() for p in pairs)
    assert min(len(CasePatches(cases, 8)) for cases in cohort.values()) >= 2
    assert divide(find_cohort(base), seed=1)[0] != divide(find_cohort(base), seed=0)[0]


@silent
def test_parts_are_stratified_by_region(tmp_path):
    patients = [f"{kind}{k:03d}" for kind in "CLN" for k in range(1, 8)]
    base = write_collection(tmp_path, patients, num_slices=3, size=8)
    parts, how = divide(find_cohort(base))
    assert "drawn" in how
    for part, each in (("train", 5), ("val", 1), ("test", 1)):
        assert {kind: sum(i[0] == kind for i in parts[part]) for kind in "CLN"} == dict.fromkeys("CLN", each)


@silent
def test_folders_that_are_not_a_cohort(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        find_exams(tmp_path / "none")
    with pytest.raises(DataError, match="holds no exam"):
        find_exams(tmp_path)
    (tmp_path / "a.dcm").write_bytes(b"0")
    with pytest.raises(DataError, match=r"holds no exam.*skipped: .*a\.dcm: DICOM"):
        find_exams(tmp_path)
    with pytest.raises(DataError, match="is a file"):
        find_exams(tmp_path / "a.dcm")
    with zipfile.ZipFile(tmp_path / "x.zip", "w"):
        pass
    with pytest.raises(DataError, match="unzip"):
        find_exams(tmp_path)
    with pytest.raises(DataError, match="X999 not found"):
        read_cohort(write_collection(tmp_path, PATIENTS[:1]), ["X999"])


@silent
def test_links_are_followed_once(tmp_path):
    base = write_collection(tmp_path / "a", PATIENTS[:2])
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "exams").symlink_to(base)
    (base / "loop").symlink_to(base)
    assert_exact(read_cohort(tmp_path / "b"), PATIENTS[:2])
    assert not find_cohort(tmp_path / "b").found.skipped


def test_an_exam_without_folders_says_which():
    with pytest.raises(DataError, match="no slices"):
        read_dose_pair(Exam("C001", "C"))


@silent
def test_patches_are_read_when_they_are_asked_for(tmp_path, monkeypatch):
    from ctlib.papers.hqinet import ldct

    base = write_collection(tmp_path, PATIENTS[:2])
    whole, opened = {p.patient: p for p in read_cohort(base)}, []
    patches = Patches(find_cohort(base).pairs, 6)
    real = ldct.read_ct_slice
    monkeypatch.setattr(ldct, "read_ct_slice", lambda path: opened.append(path) or real(path))
    assert len(patches) == 2 * 3
    inputs, full = patches(torch.tensor([0, 5]), [3, 4])
    assert (inputs.shape, full.shape, len(opened)) == ((2, 3, 6, 6), (2, 1, 6, 6), 8)
    again = patches(torch.tensor([0, 5]), [3, 5])
    assert torch.equal(inputs[0], again[0][0])
    assert not torch.equal(inputs[1], again[0][1])  # another seed, another place
    pair = whole[PATIENTS[0]]
    places = [
        (i, j) for i in range(11) for j in range(11) if torch.equal(pair.full[1, i : i + 6, j : j + 6], full[0, 0])
    ]
    i, j = places[0]
    assert torch.equal(inputs[0], pair.low[0:3, i : i + 6, j : j + 6])
    for bad in ({"size": 17}, {"num_slices": 2, "size": 6}, {"num_slices": 7, "size": 6}):
        with pytest.raises(ArgumentError):
            Patches(find_cohort(base).pairs, **bad)


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


@pytest.mark.parametrize(("tilt_deg", "slices"), [(0, True), (30, True), (-30, True), (70, False), (90, False)])
def test_a_tilted_gantry_makes_slices_and_a_reformat_does_not(tmp_path, tilt_deg, slices):
    c, s = np.cos(np.radians(tilt_deg)), np.sin(np.radians(tilt_deg))
    axes = [f"{v:.6f}" for v in (1, 0, 0, 0, c, s)]
    path = write_ct(tmp_path / "a.dcm", np.zeros((4, 4), np.uint16), ImageOrientationPatient=axes)
    assert (read_header(path) is not None) == slices
