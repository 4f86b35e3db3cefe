"""Generators as kept jobs: starts, losses, numbers of samples, refinement, invented inserts."""

import math

import numpy as np
import pytest
import torch

from ctlib.papers.tomography import generator_verdicts as verdicts
from ctlib.papers.tomography.adversarial import GanSettings
from ctlib.papers.tomography.contenders import Size
from ctlib.papers.tomography.generator_study import CHANGES, ENERGY, FOUR, PLAIN, TWO, GeneratorStudy
from ctlib.papers.tomography.samples import step_of_turn
from ctlib.train.plan import run_plan

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = GanSettings(6, 2, 4e-4, lam=1.0, z_shape=(2, 4, 4), betas=(0.5, 0.99))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    made = GeneratorStudy(
        n=32, views=16, signals=[3.0, 5.0], eps_sd=3.0, bits=10, step=1.0, folder="",
        limits={"synthetic": (8, 4, 3)}, size=Size(4, 4, 2), depths=(1, 3), blocks=(1, 1), positions="fixed",
        noise_width=4, noise_steps=[2, 2, 1], noise_batch=2, noise_lr=0.01, image_steps=3, image_batch=2,
        image_lr=0.01, weights=(1.0, 0.2), settings=SETTINGS, critic_widths=(4, 4), seeds={"synthetic": [1]},
        losses={"synthetic": list(CHANGES)}, checkpoints=str(tmp_path_factory.mktemp("kept")),
    )  # fmt: skip
    assert run_plan(made, say=lambda told: None)
    return made


def test_starts_differ_in_the_block_of_z_alone(done):
    fitted, plain = (done.start("synthetic", 1, f) for f in (True, False))
    other = {name for name in fitted if not torch.equal(fitted[name], plain[name])}
    assert other
    assert all(".up.2.first." in name for name in other)


def test_a_start_makes_the_trained_networks_images_where_z_is_let_out(done):
    weights, net = done.start("synthetic", 1, False), done.end_to_end("synthetic", 1)
    same = [k for k, v in net.state_dict().items() if k in weights and torch.equal(v, weights[k])]
    assert len(same) > 0.8 * len(net.state_dict())


def test_every_loss_trains_another_generator(done):
    weights = [torch.cat([t.flatten() for t in done.result(done.job("synthetic", m, 1))["sampler"].values()])
               for m in CHANGES]  # fmt: skip
    assert all(not torch.equal(a, b) for k, a in enumerate(weights) for b in weights[:k])
    assert done.settings_of(done.job("synthetic", FOUR, 1)).samples == 4
    assert done.settings_of(done.job("synthetic", ENERGY, 1)).kind == "energy"


def test_samples_are_numbers_of_their_seed(done):
    features = done.scans("synthetic").features["test"][3.0][:2]
    job = done.job("synthetic", TWO, 1)
    x = done.sampled(job, features, 3)
    assert x.shape == (3, 2, 32, 32)
    assert torch.equal(x, done.sampled(job, features, 3))
    assert not torch.equal(x[0], x[1])


def test_every_claim_has_values(done):
    judged = verdicts.Judged(done, 4, 2, 2, 0.2)
    claims = [*verdicts.spread_claims(judged, "synthetic"), *verdicts.gradient_claims(judged, "synthetic"),
              *verdicts.critic_claims(judged, "synthetic")]  # fmt: skip
    counts = {s: verdicts.insert_counts(judged, s) for s in (3.0, 5.0)}
    claims += verdicts.insert_claims(counts, judged)
    for name, values, behind in claims:
        assert np.isfinite(np.asarray(values)).all(), name
        assert all(len(at) == len(curve) > 0 for at, curve in behind.values())
        assert all(np.isfinite(curve).all() for _, curve in behind.values()), name
    assert {"gtr-collapse", "gtr-spread-created", "gtr-proper-score", "gtr-stride-bound"} <= {c[0] for c in claims}
    rows = judged.rows("synthetic")
    assert [row[0] for row in rows] == [f"s = {s:g}, {loss}" for s in (3.0, 5.0) for loss in CHANGES]
    assert all(len(row) == 1 + 4 for row in rows)
    assert PLAIN in CHANGES


def test_generators_in_training_are_looked_at_on_validation_bodies(done):
    job = done.job("synthetic", TWO, 1)
    seen = done.result(job)["history"]
    assert seen["look"] == list(range(7))  # before the first of six steps and after each
    assert len(seen["spread"]) == 6
    after = done.look(job, done.trained(job)[0])
    assert {name: seen[name][-1] for name in after} == pytest.approx(after)
    judged = verdicts.Judged(done, 4, 2, 2, 0.2)
    by_signal = judged.courses("synthetic", "rays", TWO)
    assert list(by_signal) == ["KL, 1, s = 3", "KL, 1, s = 5"]
    assert all(values[-1] == 0 < values[0] for _, values in by_signal.values())


def test_tables_have_their_sentences(done):
    judged = verdicts.Judged(done, 4, 2, 2, 0.2)
    assert verdicts.nearest_68(judged, "synthetic").count("at s =") == 2
    counts = {"a": (torch.tensor([0.5]), torch.tensor([2.0])), "b": (torch.tensor([0.0]), torch.tensor([1.0]))}
    told = verdicts.fewest_invented(counts)
    assert told == "b invents fewest, 1.00 a body, and shows 0.00 of the true ones"


def test_claims_on_laws_and_on_the_exact_case_follow_their_courses():
    course = lambda *values: dict(zip((0, 1, 2), values, strict=True))  # noqa: E731
    laws = {
        TWO: [{"semicircle": course(0.4, 0.02, 0.01), "Gaussian": course(0.4, 0.05, 0.04)}],
        ENERGY: [{"semicircle": course(0.4, 0.05, 0.04), "Gaussian": course(0.4, 0.02, 0.015)}],
    }
    found = {name: values[0] for name, values, _ in verdicts.law_claims(laws)}
    expected = [-0.36, -0.03, 0.015, -0.025]
    assert list(found.values()) == pytest.approx(expected)
    assert verdicts.law_told(laws)[0][0]
    laws[ENERGY][0]["Gaussian"][2] = 0.03  # neither law
    assert not verdicts.law_told(laws)[0][0]
    numbers = lambda rays, inside, off: {"rays": rays, "within 68 %": inside, "covariance": off}  # noqa: E731
    exact = {(1.0, TWO): course(*[numbers(1.0, 0.9, 2.0)] * 3), (1.0, ENERGY): course(*[numbers(1.1, 0.7, 1.0)] * 3)}
    claims = list(verdicts.exact_claims(exact))
    assert [values[0] for _, values, _ in claims] == pytest.approx([1.0, 0.22, 0.02, 0.5])
    assert all(set(curve[1]) == {0.0} for _, _, curves in claims for curve in curves.values())
    assert "whose covariance is nearer" in verdicts.exact_told(exact)


def test_the_critics_fluctuation_ends_with_the_second_half():
    critic = [0.0, 5.0, -5.0, 5.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    assert verdicts.jumps(critic)[-1] == pytest.approx(np.std([1, -1, 1, -1]))


def test_the_first_step_turns_the_latent_by_the_angle():
    """J = |z - target|^2 pulls z along the sphere: the angle of one step is the one asked for."""
    z = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    target = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    slope = lambda z: (z - target).square().flatten(1).sum(1)  # noqa: E731
    lr = step_of_turn(slope, z, 0.01)
    moved = z - lr * 2 * (z - target)
    angle = math.acos(float((moved * z).sum() / moved.norm() / z.norm()))
    assert angle == pytest.approx(0.01, rel=0.1)
