"""The chapter on HQINet runs on a folder as people have it, with gaps and few patients, and says what it found."""

from ldct_writer import write_awkward

from ctlib.book.project import Project
from ctlib.book.runner import inprocess

TINY = {"n": 32, "slices": 4, "steps": 2, "batch": 2, "seeds": [0, 1], "stem": 4, "mids": [2, 2], "blocks": [1, 1]}


def test_the_chapter_runs_on_a_users_data(tmp_path, capsys):
    write_awkward(tmp_path / "downloads")
    values = {
        **TINY,
        "aspp": 4,
        "low": 2,
        "decoder": 4,
        "data": str(tmp_path / "downloads"),
        "checkpoints": str(tmp_path),
    }
    found = inprocess.run_cells(Project(), "04-hqinet", values, "ci")
    said = capsys.readouterr().out
    assert "5 pairs, 0 incomplete; 42 slices at both doses in 7 runs; 1 localizers" in said
    assert "1-009.dcm: DICOM: cannot be read" in said
    assert "train: 3 patients, 6 slices; val: 1 patients, 2 slices; test: 1 patients, 2 slices" in said
    assert len(found.claims["hqi-psnr-gain"]["values"]) == 2
    assert not [name for name in found.claims if "truth" in name or name == "hqi-slices"]
    assert found.figures.keys() >= {"result", "curves", "intervals", "methods"}
    assert len(list(tmp_path.glob("*.ckpt"))) == 2 * 10  # ten trainings of two seeds, each of which can go on
    again = inprocess.run_cells(Project(), "04-hqinet", values, "ci")  # goes on from them: nothing is left to train
    assert again.claims == found.claims
