"""The chapter's fits: one list, each fit once, in files of their own, the same with and without them."""

import pytest
import torch

from ctlib.papers.dip import compare, plan
from ctlib.papers.dip.bodies import synthetic_body
from ctlib.papers.dip.experiment import Setup
from ctlib.papers.dip.plan import Study
from ctlib.train.plan import run_plan

BODIES = {"real": synthetic_body(16, 0), "val": synthetic_body(16, 1), "synthetic": synthetic_body(16, 2)}


def study(folder=None, **changes):
    named = {role: plan.Body(role, b.gray, b.region, b.hu, b.pixel_mm, b.source) for role, b in BODIES.items()}
    steps = {"denoise": 6, "noisy": 4, "sr": 4, "inpaint": 5, "restore": 8, "ct": 3}
    values = {
        "bodies": named, "seeds": {"real": [0, 1], "synthetic": [0], "val": [1000], "large": [0]},
        "setup": Setup(2, 2, 1, 2), "steps": steps, "halved": 1, "sigma_high": 0.3, "degrade": {"factor": 2},
        "sweeps": {"lr": [0.001, 0.01], "reg_noise": [0.01, 0.03], "scales": [1, 2]}, "restore_reg": [0.03, 0.1],
        "swept": {"real": ["lr", "reg_noise", "scales"], "synthetic": ["lr"]},
        "advice": {"denoise": {"lr": 0.001, "scales": 1}}, "original": {"inpaint": {"skip": 3}}, "scan": (6, 1e4),
        "changes": {"inpaint": {"up": "nearest"}, "restore": {"lr": 0.001}}, "checkpoints": folder,
    }  # fmt: skip
    return Study(**{**values, **changes})


def test_the_plan_names_every_fit_once_and_begins_with_the_tasks():
    jobs = study().plan()
    assert len({j.file for j in jobs}) == len(jobs)
    assert [(j.block, j.kind) for j in jobs[:6]] == [("real", k) for k in (*plan.KINDS, "ct")]
    blocks = list(dict.fromkeys(j.block for j in jobs))
    assert blocks == [
        "real", "val", "synthetic", "real, lr", "real, advice", "synthetic, lr", "synthetic, advice",
        "real, reg_noise", "real, scales", "deviations",
    ]  # fmt: skip
    by = {(j.block, j.kind): j for j in jobs}
    assert by["real", "inpaint"].setup.up == "nearest"
    assert by["real", "restore"].setup.lr == 0.001
    assert by["real, lr", "restore"].setup.lr == 0.01
    assert by["real, reg_noise", "restore"].setup.reg_noise == 0.1
    assert by["deviations", "inpaint"].setup.skip == 3
    assert {j.seed for j in jobs if j.body == "val"} == {1000}


def test_a_study_plans_only_what_it_has_steps_for_and_what_it_sweeps():
    """Parts that are left out take nothing else with them: a record of the others needs no other fit."""
    kinds = {k: v for k, v in study().steps.items() if k != "ct"}
    few = study(steps=kinds, swept={"real": ["lr"], "synthetic": []}, original={}).plan()
    assert list(dict.fromkeys(j.block for j in few)) == ["real", "val", "synthetic", "real, lr", "real, advice"]
    assert {j.kind for j in few} == set(kinds)
    assert {j.file for j in few} < {j.file for j in study().plan()}


def test_original_settings_are_scored_beside_ours_after_as_many_steps():
    s = study()
    ((name, ours, theirs, gain),) = compare.original_rows(s)
    assert name.startswith("inpaint")
    assert gain == theirs - ours != 0
    assert len(s.fit(s.original_job("inpaint")).energy) == 2  # half of five
    assert theirs == compare.score_of(s, "real", "inpaint", 0, s.fit(s.original_job("inpaint")).average)


def test_a_sweep_changes_one_setting_and_goes_on_from_the_main_fit():
    s = study()
    main = s.fits("real", "denoise")[0]
    swept = s.sweep("real", "lr", "denoise")
    assert swept[0.01].energy == main.energy[:3]
    assert swept[0.001].energy[0] == main.energy[0]  # same weights, same data
    assert swept[0.001].energy[2] != main.energy[2]
    assert [len(f.energy) for f in swept.values()] == [3, 3]
    assert all(f.average is not None for f in swept.values())
    shallow = s.sweep("real", "scales", "sr")
    assert [len(f.energy) for f in shallow.values()] == [2, 2]


def test_stopping_points_halve_and_their_images_are_kept():
    s = study(steps={**study().steps, "denoise": 100})
    assert s.stops("denoise") == [0, 1, 2, 5, 11, 24, 49, 99]
    fit = s.fits("real", "denoise")[0]
    assert set(s.stops("denoise")) <= fit.averages.keys()
    assert s.sweep_steps("denoise") - 1 in fit.averages


def test_what_is_tuned_on_has_other_noise_and_a_noisy_task_keeps_pixels_back():
    s = study()
    (a, left), (b, _) = (s.task(role, "noisy", s.seeds[role][0]) for role in ("real", "val"))
    assert 0 < left[0].num_observed < 40
    assert not torch.equal(a.x0 - a.A(a.truth), b.x0 - b.A(b.truth))
    assert torch.equal(s.seen("real", "noisy", 0).x0, a.x0 + left[1])


def test_a_plan_is_made_in_pieces_and_its_files_are_what_the_study_computes(tmp_path):
    assert not run_plan(study(tmp_path), ["real"], limit_s=1e-9)
    assert run_plan(study(tmp_path), ["real", "real, lr"])
    assert len(list(tmp_path.iterdir())) == 12 + 4
    read, fresh = study(tmp_path), study()
    for kind in ("denoise", "ct"):
        assert [f.energy for f in read.fits("real", kind)] == [f.energy for f in fresh.fits("real", kind)]
    assert study(tmp_path).do(study().plan()[0]) == f"{read.fits('real', 'denoise')[0].psnr_average[-1]:.2f} dB"


def test_the_work_of_a_step_is_that_of_its_convolutions():
    """Counted by hand for one scale: 2 -> 3 channels, no skip, 4 x 4 pixels."""
    job = plan.Job("", "real", "denoise", 0, 1, Setup(channels=3, inputs=2, skip=0, scales=1))
    products = 4 * 9 * 3 * (2 + 3) + 16 * (9 * 3 * 3 + 3 * 3)
    assert plan.megaflops(job, 16) == pytest.approx(6 * products / 1e6)
    hours = plan.hours(study(), study().plan(), gigaflops=1.0)
    assert hours["real"][0] == 12
    assert hours["real"][1] > 0
