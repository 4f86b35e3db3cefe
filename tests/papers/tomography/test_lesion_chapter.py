"""The chapter on generative tomography runs on a folder in DeepLesion's layout, and goes on from its checkpoints."""

import pytest
from lesion_writer import write_collection
from tiny import TINY

from ctlib.book import parameters
from ctlib.book.project import Project
from ctlib.book.runner import inprocess
from ctlib.papers.tomography import chapter
from ctlib.papers.tomography.image_verdicts import main_claims

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("one_thread")]
SLUG = "06-generative-tomography"


def test_the_chapter_runs_on_a_users_data(tmp_path):
    write_collection(tmp_path, size=64, radius=24.0, center=(31.5, 31.5))
    own = {"worlds": ["real"], "data": str(tmp_path), "checkpoints": str(tmp_path / "runs")}
    values = TINY[SLUG] | own
    found = inprocess.run_cells(Project(), SLUG, values, "ci")
    assert found.claims.keys() >= {"gtr-ssim", "gtr-scaling", "gtr-channels", "gtr-sparse"}
    assert "gtr-drawings" not in found.claims
    assert found.figures.keys() >= {"table", "bodies", "result", "courses"}
    again = chapter.images_of(parameters.declared(Project(), SLUG) | values)
    again.trained = None  # nothing is left to train
    for name, made, _ in main_claims(again):
        assert list(found.claims[name]["values"]) == pytest.approx(list(made)), name
