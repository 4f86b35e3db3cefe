"""The chapter's plan: trainings that share all but one thing, kept in files, chosen with as many trials for each."""

import math
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from other_process import another_at

from ctlib.errors import ArgumentError
from ctlib.nets.seeded import num_parameters
from ctlib.papers.hqinet import rivals, study, tables
from ctlib.papers.hqinet.cases import synthetic_case
from ctlib.papers.hqinet.filters import FILTERS, apply_filter, filter_trials, response_for
from ctlib.papers.hqinet.scan import Scanner
from ctlib.papers.hqinet.study import FULL, VARIANTS, Study
from ctlib.papers.hqinet.training import builder, middle_slices, sizes
from ctlib.papers.hqinet.wiener import apply_response, wiener_response
from ctlib.train.plan import run_plan

P = {
    "checkpoints": "", "seeds": [0, 1], "full_seeds": [5], "ablation_seeds": 1, "judged": 1, "shrink": 64,
    "blocks": [1, 1, 1, 1], "aspp_rates": [1], "patch": 32, "batch": 2, "steps": 4, "full_blocks": [1, 1, 1, 1],
    "full_patch": 32, "full_batch": 2, "full_steps": 4, "full_lr": 0.002, "alpha": 0.85, "lr_hqinet": 0.01,
    "lr_unet": 0.003, "lr_redcnn": 0.001, "lr_paper": 0.01, "tune_rates": [], "tune_steps": 4, "looks": 3,
    "precision": "float32", "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def cases():
    scanner = Scanner(32, 10.0, 40)
    return {part: [synthetic_case(k, scanner, 0.25, 12.0, 3)] for k, part in enumerate(("train", "val", "test"))}


def test_variants_differ_in_one_thing(cases):
    s = Study(P, cases)
    ours = s.training("HQINet", 0)
    assert s.training("1 slice", 0).num_slices == 1
    assert s.training("L1 alone", 0).alpha == 1.0
    assert dict(s.training("no scSE", 0).options) == {"scse": False}
    assert s.training("paper's optimizer", 0).schedule == "constant"
    full = s.training(FULL, 5)
    assert (full.lr, dict(full.options)["stem"]) == (0.002, 64)
    files = [s.training(m, 0).file for m in ("HQINet", FULL, *VARIANTS, "U-Net", "RED-CNN")]
    assert len(set(files)) == len(files)
    assert all(set(f) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") for f in files)
    assert ours.batch == s.training("U-Net", 0).batch


def test_rivals_have_as_many_weights():
    size = sizes(16, (1, 1, 1, 1), (1,))
    counts = {k: num_parameters(builder(k, 3, size)(0)) for k in ("hqinet", "unet", "redcnn")}
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_trainings_are_made_once_and_read_back(cases, tmp_path):
    kept = {**P, "checkpoints": str(tmp_path), "full_seeds": [], "seeds": [0]}
    assert run_plan(Study(kept, cases))
    assert len(list(tmp_path.glob("*.ckpt"))) == len(list(Study(kept, cases).plan())) == 3 + len(VARIANTS)
    again = Study(kept, cases)
    first = again.trained("HQINet")[0]
    fresh = Study({**kept, "checkpoints": ""}, cases).trained("HQINet")[0]
    assert first.curve == fresh.curve
    assert torch.equal(again.outputs("HQINet")["synthetic"][0], Study(P, cases).outputs("HQINet")["synthetic"][0])


def test_rates_are_chosen_with_as_many_trials_for_every_network(cases):
    s = Study({**P, "tune_rates": [0.01, 0.0001], "seeds": [0]}, cases)
    tuning = rivals.tuned(s)
    assert {m: len(tuning.of(m)) for m in ("HQINet", "U-Net", "RED-CNN", "TV")} == dict.fromkeys(
        ("HQINet", "U-Net", "RED-CNN", "TV"), 2
    )
    s.choose()
    assert s.chosen.keys() == {"HQINet", "U-Net", "RED-CNN"}
    assert s.training("no ASPP", 0).lr == s.chosen["HQINet"]
    assert all(t.settings["lr"] in (0.001, 0.00001) for t in tuning.of("RED-CNN"))


def test_tables_have_the_papers_rows_and_both_references(cases):
    s = Study({**P, "full_seeds": []}, cases)
    rows = tables.table_one(s, "HQINet", 16)
    assert [r[0] for r in rows[:4]] == ["L1, paper", "NMSE, paper", "PSNR, paper", "MI, paper"]
    assert len(rows) == 4 + 2 * 5
    gain = tables.gains(tables.changes(s, "HQINet", "truth", "PSNR"))
    assert len(gain) == 2
    assert len(tables.deviations(s, "HQINet", "PSNR")) == 2
    assert tables.changes(s, "HQINet", "truth", "PSNR").keys() == {"synthetic"}


def test_what_lies_beyond_a_reconstruction_without_noise(cases):
    s = Study({**P, "n": 32, "pixel_mm": 10.0, "views": 40, "kernel": "hann"}, cases)  # the scanner of the cases
    exact, made = tables.without_noise(s), s.tests["synthetic"]
    error = lambda x: float((x - made.truth)[made.inside].square().mean())  # noqa: E731
    assert 0 < error(exact) < error(made.full) < error(made.low)
    assert tables.gain_beyond(exact, [made.low], made) == pytest.approx(0.0)
    assert tables.gain_beyond(exact, [made.full], made) > 0
    assert math.isnan(tables.gain_beyond(exact, [made.truth], made))
    ideal = made.truth + (exact - made.truth) + 0.5 * (made.low - exact)  # half of the noise is gone
    total = 10 * math.log10(error(made.low) / error(ideal))
    assert tables.gain_beyond(exact, [ideal], made) > total  # the floor hides a part of it


def test_spreads_are_over_people_and_one_has_none():
    values = torch.tensor([1.0, 3.0, 5.0, 7.0])
    mean, deviation = tables.over_people(values, ("a", "b", "a", "a"))
    a, b = 13 / 3, 3.0
    assert mean == pytest.approx((a + b) / 2)
    assert deviation == pytest.approx((a - b) / 2**0.5)
    mean, deviation = tables.over_people(values, ("a",) * 4)
    assert mean == 4.0
    assert math.isnan(deviation)


def test_a_person_in_two_parts_is_refused(cases):
    with pytest.raises(ArgumentError, match="S0000"):
        Study(P, {**cases, "test": cases["train"]})
    with pytest.raises(ArgumentError, match="none to val"):
        Study(P, {**cases, "val": []})


def test_the_middle_slices_are_taken():
    inputs = torch.arange(5.0).view(1, 5, 1, 1)
    assert middle_slices(inputs, 3).flatten().tolist() == [1, 2, 3]
    assert middle_slices(inputs, 1).flatten().tolist() == [2]


@pytest.mark.parametrize("name", FILTERS)
def test_filters_lower_the_noise(name):
    pytest.importorskip("skimage")
    noisy = 0.5 + 0.1 * torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    strength = wiener_response(noisy, 0.5 + 0 * noisy) if name == "Wiener" else 0.15
    strength = 1.0 if name == "Gaussian" else strength
    assert float(apply_filter(name, noisy, strength).std()) < 0.7 * float(noisy.std())


def test_a_response_is_the_same_filter_on_larger_images():
    small = torch.zeros(1, 1, 8, 8)
    small[..., 4, 4] = 1
    kernel = torch.zeros(8, 8)
    kernel[0, 0], kernel[0, 1], kernel[7, 0] = 0.5, 0.3, 0.2
    response = torch.fft.rfft2(kernel)
    large = torch.zeros(1, 1, 16, 16)
    large[..., 4, 4] = 1
    wide = apply_response(large, response_for(response, 16))
    torch.testing.assert_close(wide[..., :8, :8], apply_response(small, response), atol=1e-6, rtol=0)
    assert [len(v) for v in filter_trials(4).values()] == [4, 4, 4, 1]
    assert study.HELD_OUT > 0


def test_a_trial_that_another_process_makes_is_waited_for(cases, tmp_path):
    s = Study({**P, "checkpoints": str(tmp_path), "tune_rates": [0.01]}, cases)
    trial = s.tuning(["HQINet"])[0]
    with another_at(tmp_path / trial.file) as end:
        assert s.do(trial, wait=False) is None
        with ThreadPoolExecutor(1) as pool:
            best = pool.submit(s.trial, "HQINet", {"lr": 0.01})
            time.sleep(0.3)
            assert not best.done()
            assert not (tmp_path / trial.file).exists()
            end.set()
            assert best.result(60) == s.make(trial).best
