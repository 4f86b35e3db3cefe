"""The chapter's jobs: kept, found again, in order."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.papers.spectral2spectral.experiment import Settings
from ctlib.papers.spectral2spectral.methods import BINS, PRINTED, SPAN, TAUGHT, TRIALS, run_method, trials_of
from ctlib.papers.spectral2spectral.study import VALIDATION, Study
from ctlib.train.plan import run_plan

pytest.importorskip("xraylib")
pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = Settings(
    outer=2,
    rho=0.1,
    steps=2,
    lr=0.003,
    width=4,
    printed_width=4,
    printed_depth=2,
    epochs=5,
    classical_outer=2,
    watch_every=2,
)


def study(folder=None, **changes):
    given = dict(
        seeds={"rods": [1], "mouse": [1]}, n=24, views=12, counts=2e4, slices={"rods": 2, "mouse": 3}, tuning_slices=2,
        drift=0.01, settings=SETTINGS, methods=["TV", TAUGHT, PRINTED], trials=2, doses=[1e4], sizes=[16],
        phase_methods=["TV", SPAN], phase_trials=1, phase_seeds=[1], ablations={"without RG": {"lam_r": 0.0}},
        checkpoints=folder,
    )  # fmt: skip
    return Study(**{**given, **changes})


def test_as_many_settings_for_every_method_and_none_for_the_printed_one():
    found = trials_of(list(TRIALS), 3)
    assert {m: len(t) for m, t in found.items()} == {m: 1 if m == PRINTED else 3 for m in TRIALS}
    assert found[PRINTED] == [{}]
    assert all(len({repr(o) for o in tried}) == len(tried) for tried in found.values())
    with pytest.raises(ArgumentError, match="num"):
        trials_of(["TV"], 5)


@pytest.mark.parametrize("method", TRIALS)
def test_every_method_runs_and_trained_ones_have_a_course(method):
    s = study()
    scene = s.scene(s.site("mouse", VALIDATION))
    run, course = run_method(method, scene, SETTINGS, TRIALS[method][0])
    assert run.x.shape == run.z.shape == scene.x0.shape
    assert bool(run.x.isfinite().all())
    assert bool(course) == (method in ("Noise2Sim", "Noise2Noise", TAUGHT, BINS, PRINTED))


@pytest.mark.parametrize("method", ["Noise2Sim", "Noise2Noise", TAUGHT, BINS])
def test_a_trial_is_the_same_whatever_was_tried_before_it_on_the_scene(method):
    s = study()
    scene = s.scene(s.site("mouse", VALIDATION))
    first, second = TRIALS[method][:2]
    run_method(method, scene, SETTINGS, first)
    after = run_method(method, scene, SETTINGS, second)[0]
    alone = run_method(method, study().scene(s.site("mouse", VALIDATION)), SETTINGS, second)[0]
    assert torch.equal(after.x, alone.x)


def test_a_plan_is_done_once_and_read_afterwards(tmp_path):
    assert run_plan(study(tmp_path))
    jobs = list(study(tmp_path).plan())
    assert [j.block for j in jobs] == (
        ["tuning, rods"] * 5 + ["rods"] * 3 + ["tuning, mouse"] * 5 + ["mouse"] * 3 + ["phase, 16 pixels"] * 4
        + ["ablations"] * 2
    )  # fmt: skip
    again = study(tmp_path)
    again.scene = None  # nothing is simulated again
    assert run_plan(again)
    assert re.fullmatch(r"error 0\.\d{4} 0\.\d{4}", again.do(jobs[0]))
    found = again.found("TV", "mouse", 1)
    assert set(found["scores"]) == {"error", "ssim", "noise", "edges"}
    assert found["pictures"]["coronal"].shape == (5, 3, 24)
    assert again.tuned("mouse").best("TV").settings["image"] in ("x", "z")


def test_a_plan_stops_at_its_limit(tmp_path):
    assert not run_plan(study(tmp_path), limit_s=1e-9)


def test_other_settings_are_other_results(tmp_path):
    a, b = study(tmp_path), study(tmp_path, settings=replace(SETTINGS, rho=0.2))
    job = a.tuning_jobs("rods")[0]
    assert a.kept.path(job.name, {"x": 1}) == b.kept.path(job.name, {"x": 1})
    first, second = a.result(job), b.result(job)
    assert first["scores"]["x"]["error"] != second["scores"]["x"]["error"]
    assert len(list(tmp_path.glob("rods-seed100-*"))) == 2


def test_baselines_know_floor_and_truth():
    base = study().baselines("mouse", 1)
    assert base["truth"]["scores"]["error"] == [0.0] * 5
    assert np.mean(base["noiseless"]["scores"]["error"]) < np.mean(base["first"]["scores"]["error"])
