"""The chapter on generative tomography runs on a folder in DeepLesion's layout, and goes on from its checkpoints."""

from lesion_writer import write_collection

from ctlib.book.project import Project
from ctlib.book.runner import inprocess

TINY = {
    "seeds": [0, 1], "n": 32, "angles": 16, "num_images": [4, 2, 2], "widths": [[8, 8], [8, 8]],
    "blocks": [[1, 1], [1, 1]], "bp_channels": [2, 2], "ramp_residual": [False, True], "other_channels": [1],
    "train_steps": 2, "batch": 2, "few_views": 8, "few_steps": 1, "noise_steps": [2, 1, 1], "noise_batch": 2,
    "noise_width": 4, "critic_widths": [4, 4, 4], "gan_steps": 4, "gan_batch": 2, "z_shape": [2, 4, 4], "samples": 4,
    "gan_bodies": 2, "pg_steps": 2, "other_embeds": ["learned", "none"],
}  # fmt: skip


def test_the_chapter_runs_on_a_users_data(tmp_path, capsys):
    write_collection(tmp_path, size=64, radius=24.0, center=(31.5, 31.5))
    values = {**TINY, "data": str(tmp_path), "checkpoints": str(tmp_path / "runs")}
    found = inprocess.run_cells(Project(), "06-generative-tomography", values, "ci")
    assert "claims of the synthetic bodies are not asked" in capsys.readouterr().out
    assert all(
        len(found.claims[name]["values"]) == 2 for name in ("gtr-ssim", "gtr-scaling", "gtr-channels", "gtr-sparse")
    )
    assert not [name for name in found.claims if "invented" in name]
    assert found.figures.keys() >= {"table", "calibration", "result", "table2", "scans", "samples", "refined"}
    kept = sorted(p.name for p in (tmp_path / "runs").glob("*.ckpt"))
    again = inprocess.run_cells(Project(), "06-generative-tomography", values, "ci")  # nothing is left to train
    assert sorted(p.name for p in (tmp_path / "runs").glob("*.ckpt")) == kept
    same = [name for name in found.claims if name != "gtr-fps"]
    assert {n: again.claims[n] for n in same} == {n: found.claims[n] for n in same}
