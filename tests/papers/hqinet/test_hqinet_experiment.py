"""The chapter's runs: the cohort divided by patient, trainings that share everything but one thing."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from ctlib.data.pairs import DosePair, stacks
from ctlib.errors import ArgumentError, DataError
from ctlib.nets.seeded import seeded
from ctlib.papers.hqinet import experiment
from ctlib.papers.hqinet.cohort import DoseScanner
from ctlib.papers.hqinet.comparison import mean_psnr
from ctlib.papers.hqinet.experiment import Plan
from ctlib.train import Settings


def samples(name, seed, num_slices=7):
    """Stacks of one patient of white noise, whose full dose is the low dose times 0.9."""
    low = torch.rand(num_slices, 16, 16, generator=torch.Generator().manual_seed(seed))
    return stacks([DosePair(name, low, 0.9 * low, None)])


@pytest.fixture
def plan():
    sets = {"train": samples("L000", 0), "val": samples("L001", 1), "test": samples("L002", 2)}
    return Plan(sets, Settings(steps=8, batch=2, lr=0.02))


def one_layer(seed, num_slices=3):
    return seeded(seed, nn.Conv2d, num_slices, 1, 3, padding=1)


def test_a_synthetic_cohort_is_divided_by_patient_and_alternates_doses():
    cohort = experiment.synthetic_cohort(DoseScanner(16, 12), 1e5, [0.5, 0.1], 8, 3)
    names = [p.patient for pairs in cohort.values() for p in pairs]
    assert sorted(names) == ["C001", "C003", "C005", "C007", "L000", "L002", "L004", "L006"]
    assert {part: len(pairs) for part, pairs in cohort.items()} == {"train": 5, "val": 1, "test": 2}
    noise = {"L": [], "C": []}
    for p in cohort["train"]:
        noise[p.patient[0]].append(float((p.low - p.full).std()))
        assert p.low.shape == (3, 16, 16)
    assert max(noise["L"]) < min(noise["C"])  # half the dose is less noisy than a tenth


def test_a_patient_in_two_parts_is_refused():
    pair = DosePair("L000", *torch.rand(2, 5, 16, 16))
    with pytest.raises(ArgumentError, match="L000"):
        experiment.sample_sets({"train": [pair], "test": [pair]}, 3, 1)
    sets = experiment.sample_sets({"train": [pair]}, 3, 1)
    assert sets["train"].inputs.shape == (3, 3, 16, 16)


def test_thinning_shares_the_noise_of_the_full_dose():
    scanner = DoseScanner(24, 36)
    patient = scanner.patient(0, 2e4, 0.25, num_slices=4)
    low, full = experiment.thinned_pair(scanner, patient.truth, 2e4, 0.25, torch.Generator().manual_seed(0))
    assert low.shape == full.shape == patient.truth.shape
    assert mean_psnr(low[:, None], full[:, None]) > mean_psnr(patient.low[:, None], patient.full[:, None]) + 0.5
    # what the low dose lacks is independent of what the full dose has: (1/d - 1) against (1/d + 1)
    ratio = float((low - full).var() / (patient.low - patient.full).var())
    assert ratio == pytest.approx(3 / 5, rel=0.25)


def test_a_network_gets_the_middle_slices_it_reads():
    inputs = torch.arange(5.0).view(1, 5, 1, 1).expand(2, 5, 4, 4)
    assert experiment.slices_taken(one_layer(0, 3), inputs)[0, :, 0, 0].tolist() == [1, 2, 3]
    assert experiment.slices_taken(one_layer(0, 1), inputs)[0, :, 0, 0].tolist() == [2]


def test_a_restored_stack_is_the_networks_output_whatever_the_pieces():
    net, inputs = one_layer(0), torch.rand(11, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    restored = experiment.restore(net.train(), inputs)
    assert not net.training
    assert not restored.requires_grad
    assert torch.allclose(restored, net(inputs), atol=1e-6)


def test_a_training_gets_better_and_says_when(plan):
    trained = experiment.train_once(plan, one_layer, 0, "one layer")
    assert list(trained.curve) == [1, 2, 3, 4, 5, 6, 7, 8]
    values = list(trained.curve.values())
    assert values[-1] > values[0] + 1
    test = plan.sets["test"]
    assert torch.equal(trained.output, experiment.restore(trained.net, test.inputs))
    val = plan.sets["val"]
    assert values[-1] == pytest.approx(mean_psnr(experiment.restore(trained.net, val.inputs), val.full), abs=1e-4)


def test_a_training_that_nobody_watches_ends_the_same(plan):
    watched, alone = (experiment.train_once(replace(plan, looks=n), one_layer, 0, "x") for n in (4, 0))
    assert list(watched.curve) == [2, 4, 6, 8]
    assert alone.curve == {}
    assert torch.equal(watched.output, alone.output)


def test_the_seed_sets_weights_and_order_and_nothing_else_does(plan):
    first, again, other = (experiment.train_once(plan, one_layer, s, "x").output for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    both = experiment.train_seeds(plan, one_layer, [3, 4], "x")
    assert torch.equal(both[1].output, other)


def test_a_plan_differs_in_rate_or_loss_alone(plan):
    rates = {lr: experiment.train_once(plan.at_rate(lr), one_layer, 0, "x").output for lr in (0.02, 0.001)}
    assert torch.equal(rates[0.02], experiment.train_once(plan, one_layer, 0, "x").output)
    assert not torch.allclose(rates[0.02], rates[0.001])
    of_loss = experiment.train_once(replace(plan, alpha=1.0), one_layer, 0, "x").output
    assert not torch.allclose(of_loss, rates[0.02])


def test_a_finished_training_is_read_from_its_checkpoint(plan, tmp_path):
    kept = replace(plan, checkpoints=str(tmp_path))
    first = experiment.train_once(kept, one_layer, 0, "one layer")
    assert [f.name for f in tmp_path.iterdir()] == ["one-layer-0.ckpt"]
    calls = []
    again = experiment.train_once(kept, lambda seed: calls.append(seed) or one_layer(seed), 0, "one layer")
    assert calls == [0]
    assert torch.equal(again.output, first.output)
    with pytest.raises(DataError, match="initial weights"):  # another start is another training
        experiment.train_once(kept, lambda seed: one_layer(9), 0, "one layer")
    assert again.curve == first.curve
    assert plan.checkpoint("one layer", 0) is None


def test_rates_are_tried_with_a_seed_of_their_own_on_the_validation_slices(plan):
    found = experiment.validation_psnr(plan, one_layer, "one layer", [0.02, 0.0001])
    assert list(found) == [0.02, 0.0001]
    seeds = []
    experiment.validation_psnr(plan, lambda s: seeds.append(s) or one_layer(s), "x", [0.02])
    assert seeds == [experiment.TUNING_SEED]
    trained = experiment.train_once(plan, one_layer, experiment.TUNING_SEED, "x")
    assert found[0.02] == pytest.approx(trained.curve[8], abs=1e-4)


def test_the_plain_unet_starts_from_a_constant():
    net = experiment.plain_unet(0, num_slices=3, width=2)
    x = net.eval()(torch.rand(2, 3, 16, 16))
    assert (x == x[0, 0, 0, 0]).all()
    widths = {m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)}
    assert {2, 4, 8, 16} <= widths


def test_builders_take_a_seed_alone(plan):
    build = partial(one_layer, num_slices=1)
    trained = experiment.train_once(plan, build, 0, "one slice")
    assert trained.net.in_channels == 1
    assert trained.output.shape == plan.sets["test"].full.shape


def test_a_plan_that_cannot_end_is_refused_before_it_starts(plan):
    with pytest.raises(ArgumentError, match="steps"):
        replace(plan, settings=replace(plan.settings, steps=0))
    with pytest.raises(ArgumentError, match="no samples to val"):
        replace(plan, sets={part: s for part, s in plan.sets.items() if part != "val"})
    for alpha in (-0.1, 1.5, float("nan"), "1"):
        with pytest.raises(ArgumentError, match="alpha"):
            replace(plan, alpha=alpha)
    with pytest.raises(ArgumentError, match="no patients in test"):
        experiment.sample_sets({"train": [1], "test": []}, 3, 1)
    with pytest.raises(ArgumentError, match="num_patients"):
        experiment.synthetic_cohort(DoseScanner(16, 12), 1e5, [0.5], 2, 3)
