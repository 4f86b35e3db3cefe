"""The comparison of networks of images as kept jobs: contenders of equal size, results, intervals, a whole plan."""

import numpy as np
import pytest
import torch

from ctlib.data.images import turn
from ctlib.papers.tomography import image_verdicts as verdicts
from ctlib.papers.tomography.contenders import APART, BEHIND, END, JOINT, METHODS, Size
from ctlib.papers.tomography.image_scores import noise_and_blur, scores
from ctlib.papers.tomography.image_study import COMPARED, Study
from ctlib.papers.tomography.worlds import inside_skin, nearest
from ctlib.train.plan import run_plan

pytestmark = pytest.mark.usefixtures("one_thread")


def study(folder, **changes):
    options = dict(
        n=32, views=16, few_views=8, arc_deg=90.0, signals=[5.0, 6.0], eps_sd=3.0, bits=10, folder="",
        limits={"synthetic": (6, 2, 3)}, sizes=[Size(2, 4, 2), Size(4, 8, 2)], depths=(1, 2), blocks=(1, 1),
        positions="fixed", main=1, small=0, weights=(1.0, 0.2), batch=2, steps=4, short_steps=2, rates=[0.003, 0.01],
        tune_steps=2, seeds={"main": [1, 2], "joint": [1], "drawings": [1], "scans": [1], "sizes": [1]},
        precision="float32", checkpoints=str(folder) if folder else None,
    )  # fmt: skip
    return Study(**options | changes)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    made = study(tmp_path_factory.mktemp("kept"))
    assert run_plan(made, say=lambda told: None)
    return made


def test_all_contenders_have_as_many_weights_and_make_images(done):
    job = done.jobs("main")[0]
    makers = done.contenders(job)
    sizes = {m: makers.weights(m) for m in METHODS}
    assert max(sizes.values()) < 1.25 * min(sizes.values())
    features = done.bench("synthetic").features("test")[5.0]
    for m in METHODS:
        before = makers.before(m, done.mean_net(job) if m == APART else None)
        assert makers.make(m, 0)(before(features)).shape == (3, 1, 32, 32)


def test_networks_around_fbp_start_as_those_behind_it(done):
    """The first network starts at the table, so that both see FBP of the table's mean."""
    makers = done.contenders(done.jobs("main")[0])
    features = done.bench("synthetic").features("test")[5.0]
    joint = makers.make(JOINT, 0)
    assert torch.allclose(joint.images(features), makers.before(BEHIND)(features), atol=1e-5)


def test_a_plan_is_kept_and_gives_every_claim_values(done):
    again = study(done.checkpoints)
    again.trained = None  # nothing is trained any more
    claims = [*verdicts.main_claims(again), *verdicts.size_claims(again), *verdicts.other_claims(again)]
    for name, values, behind in claims:
        assert np.isfinite(np.asarray(values)).all(), name
        assert all(len(at) == len(curve) > 0 for at, curve in behind.values())
    assert {"gtr-ssim", "gtr-joint", "gtr-noise-share", "gtr-channels", "gtr-scaling", "gtr-sparse"} <= {
        c[0] for c in claims
    }
    columns, rows = verdicts.table2(again, {})
    assert all(len(row) == len(columns) for row in rows)
    assert [row[0] for row in rows] == ["FBP without noise", "FBP", *COMPARED, JOINT]


def test_every_method_has_the_same_search_and_the_best_of_it(done):
    assert {m: len(done.search.of(m)) for m in METHODS} == dict.fromkeys(METHODS, 2)
    assert all(j.lr == done.rate(j.method) for block in done.seeds for j in done.jobs(block))
    assert study("", seeds=done.seeds | {"joint": []}).searched == COMPARED


def test_the_curve_of_the_first_network_is_behind_the_claims_on_it(done):
    by = {name: curves for name, _, curves in verdicts.main_claims(done)}
    for claim in ("gtr-ssim-mean", "gtr-noise-first", "gtr-noise-share", "gtr-joint"):
        at, values = by[claim]["μ, 1"]
        assert at[-1] == 2  # half of the steps
        assert all(0 < v < 1 for v in values)


def test_a_sentence_follows_the_share_of_the_first_network(done, monkeypatch):
    for part, picked in ((0.7, 0), (0.2, 1)):
        at = {BEHIND: 0.0, APART: part, END: 1.0, JOINT: 0.0}
        monkeypatch.setattr(verdicts, "rows", lambda study, at=at: at)
        monkeypatch.setattr(verdicts, "means", lambda study, value: np.array([[value]]))
        cases = verdicts.first_told(done)
        assert [bool(c[0]) for c in cases[:2]].index(True) == picked


def test_tables_have_their_sentences(done):
    assert verdicts.others_told(verdicts.other_rows(done)).count(";") == 2  # two scans and the drawings
    assert verdicts.others_told([["a, x", 0.5, 0.1], ["a, y", 0.2, 0.6]]).endswith("a, y.")
    assert verdicts.blur_told(done).count("Least noise") == len(done.signals)
    gains = [verdicts.means(done, r).mean() for r in verdicts.by_size(done, END)]
    assert f"end to end {100 * (gains[-1] - gains[0]):+.2f}" in verdicts.sizes_told(done)


def test_an_interval_holds_the_mean_and_counts_people(done):
    by = verdicts.rows(done)
    mean, low, high = verdicts.interval(done, "synthetic", by[END], by[BEHIND], 5.0)
    off = verdicts.of_bodies(by[END], 5.0, "SSIM") - verdicts.of_bodies(by[BEHIND], 5.0, "SSIM")
    assert low <= mean <= high
    assert mean == pytest.approx(off.mean())


def test_noise_and_blur_are_told_apart():
    truth, source = torch.rand(2, 8, 8), torch.Generator().manual_seed(0)
    scans = truth + 0.05 + 0.1 * torch.randn(400, 2, 8, 8, generator=source)
    found = noise_and_blur(scans, truth, torch.ones(2, 8, 8, dtype=torch.bool))
    assert found["noise"] == pytest.approx(0.1, rel=0.03)
    assert found["blur"] == pytest.approx(0.05, rel=0.05)


def test_scores_are_those_inside_the_body():
    truth, region = torch.rand(2, 16, 16), torch.zeros(2, 16, 16, dtype=torch.bool)
    region[:, 4:12, 4:12] = True
    spoiled = torch.where(region, truth, truth + 1)
    assert scores(spoiled, truth, region)["RMSE"].abs().max() == 0


def test_the_nearest_image_is_found_in_any_turn():
    images = torch.rand(3, 6, 6)
    index, far = nearest(torch.stack([turn(images[1], 5), images[0]]), images)  # as many of both or not
    assert index.tolist() == [1, 0]
    assert far.abs().max() < 1e-6
    assert len({turn(images[0], k).numpy().tobytes() for k in range(8)}) == 8


def test_what_a_body_encloses_is_inside_its_skin():
    image = torch.zeros(1, 20, 20)
    image[0, 3:17, 3:17] = 0.02
    image[0, 8:11, 8:11] = 0.0  # gas
    image[0, 0, :4] = 0.02  # a couch
    region = inside_skin(image)
    assert bool(region[0, 9, 9])
    assert not bool(region[0, 0, 1])
    assert int(region.sum()) == 14 * 14 - 4  # the opening rounds corners
