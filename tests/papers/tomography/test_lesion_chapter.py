"""The chapter on generative tomography runs on a folder in DeepLesion's layout, and goes on from its checkpoints."""

from lesion_writer import write_collection
from tiny import TINY

from ctlib.book.project import Project
from ctlib.book.runner import inprocess


def test_the_chapter_runs_on_a_users_data(tmp_path):
    write_collection(tmp_path, size=64, radius=24.0, center=(31.5, 31.5))
    own = {"worlds": ["real"], "data": str(tmp_path), "checkpoints": str(tmp_path / "runs")}
    values = TINY["06-generative-tomography"] | own
    found = inprocess.run_cells(Project(), "06-generative-tomography", values, "ci")
    assert found.claims.keys() >= {"gtr-ssim", "gtr-scaling", "gtr-channels", "gtr-sparse"}
    assert "gtr-drawings" not in found.claims
    assert found.figures.keys() >= {"table", "bodies", "result", "courses"}
    kept = sorted(p.name for p in (tmp_path / "runs").glob("*.result"))
    again = inprocess.run_cells(Project(), "06-generative-tomography", values, "ci")  # nothing is left to train
    assert sorted(p.name for p in (tmp_path / "runs").glob("*.result")) == kept
    same = [name for name in found.claims if name != "gtr-fps"]
    assert {n: again.claims[n] for n in same} == {n: found.claims[n] for n in same}
