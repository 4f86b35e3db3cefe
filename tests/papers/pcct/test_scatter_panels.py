"""The scatter test on panels: bodies by a stated rule, smooth scatter, losses as one form, errors of a known guess."""

import math
from dataclasses import replace

import pytest
import torch
from other_process import another_at

pytest.importorskip("xraylib")
pytest.importorskip("numba")

from ctlib.book.ledger.criteria import FAILED, REPRODUCED, UNSETTLED, Equivalence
from ctlib.geometry import Volume
from ctlib.papers.pcct import bodies, panel_compare, panels, scatter_chapter
from ctlib.papers.pcct.experiment import Setting
from ctlib.papers.pcct.panel_study import Job, PanelStudy
from ctlib.papers.pcct.panel_test import errors, image_mix, mixed
from ctlib.phantoms.materials import CORTICAL, MATERIALS
from ctlib.physics import Material, Spectrum, mass_attenuation
from ctlib.train.plan import run_plan

pytestmark = pytest.mark.usefixtures("one_thread")

SCAN = panels.PanelScan(size=16, slices=1, cols=16, rows=4, step_deg=30.0, finer=2, beam_mm=80.0)
HOW = panels.Simulation(64, (2, 4), (2, 3), 2)


def hounsfield(densities):
    """CT number at 60 keV of water and calcium (2, ...)."""
    water, calcium = (float(mass_attenuation(m, 60.0)) for m in MATERIALS)
    return 1000 * (densities[0] + densities[1] * calcium / water - 1)


def test_the_rule_keeps_the_attenuation_at_60_kev_and_ends_at_bone():
    hu = torch.tensor([-1000.0, -400.0, 0.0, 60.0, 100.0, 300.0, 900.0], dtype=torch.float64)
    found = bodies.basis_of_hu(hu)
    torch.testing.assert_close(hounsfield(found), hu, rtol=0, atol=1e-9)
    assert (found[1, :5] == 0).all()
    assert (found[1, 5:] > 0).all()
    dense = hounsfield(torch.tensor(CORTICAL, dtype=torch.float64)[:, None])
    torch.testing.assert_close(bodies.basis_of_hu(dense)[:, 0], torch.tensor(CORTICAL).double())


def test_without_bone_dense_voxels_are_water():
    hu = torch.tensor([300.0, 300.0], dtype=torch.float64)
    found = bodies.basis_of_hu(hu, torch.tensor([True, False]))
    torch.testing.assert_close(hounsfield(found), hu)
    assert found[1, 0] > 0
    assert found[1, 1] == 0


def test_a_material_of_the_basis_is_itself():
    assert bodies.basis_of_material(Material.named("water")).tolist() == pytest.approx([1.0, 0.0], abs=1e-6)
    assert bodies.basis_of_material(Material.named("adipose"))[1] == 0  # would need calcium below 0


def test_resampling_keeps_the_mass_about_the_center():
    image = torch.zeros(30, 30)
    image[10:20, 8:22] = 2.0
    found = bodies.resampled(image, 2.0, Volume((16, 16), 5.0), 0.0)
    assert float(found.sum()) * 25 == pytest.approx(float(image.sum()) * 4, rel=1e-5)
    assert float((found - found.flip(0, 1)).abs().max()) < 1e-6


def test_panels_of_cosines_are_recovered_exactly():
    """(1 + 0.3 cos pi v) (2 - cos 2 pi u), from its exact averages over cells."""

    def wave(k, num, cells):
        u = (torch.arange(num).double() + 0.5) / num
        return torch.cos(math.pi * k * u) * (torch.sinc(torch.tensor(k / (2 * num)).double()) if cells else 1)

    panel = lambda r, c, cells: (1 + 0.3 * wave(1, r, cells))[:, None] * (2 - wave(2, c, cells))  # noqa: E731
    fine = panels.smooth_panels(panel(8, 16, True), (32, 64), (3, 5))
    torch.testing.assert_close(fine, panel(32, 64, False), rtol=0, atol=1e-9)


def test_smooth_cells_are_averages_of_the_series_and_keep_them():
    g = torch.Generator().manual_seed(0)
    raw = torch.randn(5, 8, 16, generator=g, dtype=torch.float64)
    kept = panels.smooth_cells(raw, (3, 5))
    torch.testing.assert_close(panels.smooth_cells(kept, (3, 5)), kept, rtol=0, atol=1e-12)
    fine = panels.smooth_panels(raw, (8 * 40, 16 * 40), (3, 5))
    averages = fine.unflatten(2, (16, 40)).unflatten(1, (8, 40)).mean((2, 4))
    torch.testing.assert_close(averages, kept, rtol=0, atol=2e-3)
    torch.testing.assert_close(
        panels.smooth_panels(kept, (32, 64), (3, 5)), panels.smooth_panels(raw, (32, 64), (3, 5))
    )


def test_the_circle_keeps_low_harmonics_and_is_interpolated_exactly():
    wave = lambda n: 1 + torch.cos(2 * math.pi * 2 * torch.arange(n).double() / n)  # noqa: E731
    high = torch.cos(2 * math.pi * 5 * torch.arange(12).double() / 12)
    torch.testing.assert_close(panels.smooth_circle(wave(12) + high, 3, 4), wave(48))


@pytest.fixture(scope="module")
def made():
    """(setting, folder-free study) of two synthetic bodies to train on, one to choose with, one to test on."""
    some = {k: bodies.synthetic_bodies(SCAN.field, s) for k, s in {"train": [0, 1], "val": [2], "test": [3, 4]}.items()}
    setting = Setting.of_paper(photons=1e6)
    seeds = {"Direct": [0, 1], "Cross": [0, 1], "Cross whitened": [0]}
    return PanelStudy(setting, SCAN, HOW, some, 0.1, (4, 4), ((2, 2), (1, 2)), 2, 1e-3, seeds, (50, 2), 1)


def test_simulated_single_scatter_is_the_integral_within_its_errors(monkeypatch):
    """And an integral that is twice too large is seen."""
    field, soft = Volume((32, 32), 12.5), Spectrum(torch.tensor([69.0, 70.0, 71.0]), torch.ones(2))
    response = Setting.of_paper().model().counts_per_photon
    right, factor, kept = scatter_chapter.single_scatter, 1.0, {}

    def integral(*args, process, **options):
        if process not in kept:
            kept[process] = right(*args, process=process, **options)
        return factor * kept[process]

    monkeypatch.setattr(scatter_chapter, "single_scatter", integral)
    z, relative = scatter_chapter.single_against_quadrature(field, soft, response, 20000, 0)
    assert z.shape == (4, 1, 1, 16)
    assert 0.5 < float(z.square().mean().sqrt()) < 1.4
    assert 0 < float(relative) < 0.3
    assert sorted(kept) == ["compton", "rayleigh"]
    factor = 2.0
    wrong, half = scatter_chapter.single_against_quadrature(field, soft, response, 20000, 0)
    assert float(wrong.square().mean().sqrt()) > 3
    assert float(half) == pytest.approx(float(relative) / 2, rel=1e-5)


def test_scatter_is_scaled_to_its_mean_and_smooth(made):
    primary, scatter = made.stack("train")
    assert primary.shape == scatter.shape == (2, 4, SCAN.num_trained, 4, 16)
    assert float((scatter / primary).mean((1, 2, 3, 4)).mean()) == pytest.approx(0.1, rel=1e-5)
    assert (scatter >= 0).all()


def test_the_scale_is_that_of_the_training_bodies_whoever_is_asked_for_first(made):
    asked = replace(made, cache={})
    scaled = asked.stack("val")[1]
    assert asked.scale() == made.scale()
    assert torch.equal(scaled, made.stack("val")[1])


def test_the_true_scatter_leaves_no_error_and_a_wrong_ratio_its_size(made):
    primary, scatter = made.test_signals(made.bodies["test"][0])
    right = errors(made.tested_on, primary, scatter, scatter, made.cm)
    assert (right["rows"][[2]] < 1e-6).all()
    assert (right["rows"] < 0.05).all()
    off = errors(made.tested_on, primary, scatter, scatter + 0.03 * primary, made.cm)
    assert float(off["rows"][2]) == pytest.approx(3.0, rel=1e-3)
    assert float(off["center"]) == pytest.approx(3.0, rel=1e-3)
    assert (off["rows"] > 3 * right["rows"]).all()


def test_losses_weight_images_as_they_say(made):
    model, paths = made.model, torch.tensor([[10.0, 1.0], [20.0, 2.0]])
    assert torch.equal(image_mix("printed", model, paths), torch.eye(2).double())
    water, calcium = (float(mass_attenuation(m, 60.0)) for m in MATERIALS)
    assert image_mix("with 60 keV", model, paths)[2].tolist() == pytest.approx([1.0, calcium / water])
    c = image_mix("whitened", model, paths)
    assert float((c.mT @ c).trace()) == pytest.approx(2.0)
    assert float((c.mT @ c)[0, 1]) > 0.1, "water and calcium are told together"
    images = torch.randn(1, 2, 3, 4)
    torch.testing.assert_close(mixed(images, c)[0, 1], (c[1, 0] * images[0, 0] + c[1, 1] * images[0, 1]).float())


def test_a_study_trains_scores_and_compares(made):
    history = made.training("Cross", 0)[1]
    assert history["validation_step"] == [2, 4]
    assert made.scores("Direct", 1)["rows"].shape == (2, 6)
    assert panel_compare.table2(made, "Direct").shape == (2, 2, 6)
    apart = panel_compare.paired(made, "Cross", "Direct")
    assert len(apart) == 6
    assert len(apart["water image [mg/mL]"]) == 2
    losses = made.losses("kernel")
    assert set(losses) == {"scatter", "printed", "whitened", "with 60 keV"}
    assert 0 < panel_compare.missed_share(made) < 2
    assert 0 < panel_compare.simulation_error(made) < 2
    assert 0 <= panel_compare.limited_share(made, 1e-3) < panel_compare.limited_share(made, 1e-5) <= 1
    steps, values = panel_compare.curves(made, "Cross")["Cross, seed 1"]
    assert steps == [2, 4]
    assert min(values) == 1.0
    names = [claim for claim, _, _ in (*panel_compare.quotients(made), *panel_compare.others(made))]
    assert "pcct-equivalent" in names
    assert "pcct-t2-water-cross" in names


def test_intervals_say_what_the_two_tests_of_the_ledger_say():
    rule, g = Equivalence(margin=0.1), torch.Generator().manual_seed(0)
    for center in (0.0, 0.05, 0.09, 0.11, 0.2, -0.2):
        rows = {k: (center + 0.05 * torch.randn(6, generator=g)).tolist() for k in "abc"}
        shown = panel_compare.intervals(rows, 0.1)
        assert [w == "same" for *_, w in shown] == [rule.p_value(d) < 0.05 for d in rows.values()]
        words = {w for *_, w in shown}
        expected = REPRODUCED if words == {"same"} else FAILED if "apart" in words else UNSETTLED
        assert rule.verdict(rows) == expected
    assert panel_compare.intervals({"one": [0.0]}, 0.1)[0][-1] == "open"


def test_figures_of_a_study_hold_what_was_scored(made):
    methods = ["uncorrected", "Direct"]
    images, titles = panel_compare.case_panels(made, methods)
    assert len(images) == len(titles) == 2 * 3 * 2
    rows = made.scores("Direct", made.seeds["Direct"][0])["rows"]
    assert titles[1] == f"Direct: {float(rows[0, 3]):.3g}"
    of_images = torch.from_numpy(panel_compare.per_body(made, "Direct")[2:].T)
    torch.testing.assert_close(of_images, rows[:, 3:])
    maps = panel_compare.projected(made, methods)
    assert len(maps) == 2 * 3
    assert float(maps[1].abs().max()) > 0.01
    counted = [int(part.rsplit(" ", 1)[1]) for part in panel_compare.least(made, [0, 1]).split(", ")]
    assert sum(counted) == 6
    assert panel_compare.coarse_grid(made)[0] <= made.scan.rows


def test_a_plan_is_kept_and_found_again(made, tmp_path):
    short = {"Direct": [0], "Cross": [0]}
    study = replace(made, checkpoints=tmp_path, seeds=short, epochs=1, cache={})
    assert run_plan(study)
    files = sorted(p.name for p in tmp_path.iterdir())
    again = replace(study, cache={})
    assert run_plan(again)
    assert sorted(p.name for p in tmp_path.iterdir()) == files
    assert len(files) == 5 + 2 + 2 * 4
    with another_at(tmp_path / "train-Cross-seed-0.job"):
        assert again.do(Job("score", "Cross"), wait=False) is None  # its training is another's
    assert again.do(Job("score", "Cross"), wait=False) == ""
    assert torch.equal(again.scores("Cross")["rows"], study.scores("Cross")["rows"])
