"""The chapter on HQINet runs on a folder as people have it, with gaps and few patients, and says what it found."""

import pytest
from ldct_writer import write_awkward

from ctlib.book.project import Project
from ctlib.book.runner import inprocess

TINY = {
    "n": 32, "pixel_mm": 12.0, "views": 24, "num_synthetic": 4, "slices": 3, "exam_slices": 4, "seeds": [0, 1],
    "shrink": 64, "blocks": [1, 1, 1, 1], "aspp_rates": [1], "patch": 32, "full_patch": 32, "batch": 2, "steps": 6,
    "looks": 6,
}  # fmt: skip


@pytest.mark.long
def test_the_chapter_runs_on_a_users_data(tmp_path, capsys):
    write_awkward(tmp_path / "downloads")
    values = {**TINY, "data": str(tmp_path / "downloads"), "checkpoints": str(tmp_path)}
    found = inprocess.run_cells(Project(), "04-hqinet", values, "laptop")
    said = capsys.readouterr().out
    assert "5 pairs, 0 incomplete; 42 slices at both doses in 7 runs; 1 localizers" in said
    assert "1-009.dcm: DICOM: cannot be read" in said
    assert "train: 3 patients, 2 synthetic bodies" in said
    assert "val: 1 patients, 1 synthetic bodies" in said
    assert "test: 1 patients, 1 synthetic bodies" in said
    assert len(found.claims["hqi-psnr-gain"]["values"]) == 2 * 2  # two seeds, exams and synthetic bodies
    assert found.figures.keys() >= {"result", "curves"}
    assert len(list(tmp_path.glob("*.ckpt"))) == 3  # HQINet of two seeds, the paper's optimizer of one
    again = inprocess.run_cells(Project(), "04-hqinet", values, "laptop")  # goes on: nothing is left to train
    assert again.claims == found.claims
