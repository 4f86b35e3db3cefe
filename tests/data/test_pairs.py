"""Patients at two doses, their stacks of slices, and splits by patient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctlib.data.pairs import DosePair, require_disjoint, split_patients, stacks
from ctlib.errors import ArgumentError


@pytest.fixture(scope="module")
def patient():
    low, full, truth = torch.rand(3, 5, 32, 32, generator=torch.Generator().manual_seed(0))
    return DosePair("S0003", low, full, truth)


def test_stacks_hold_neighbors_around_their_target(patient):
    three, one = stacks([patient, patient]), stacks([patient, patient], num_slices=1)
    assert three.inputs.shape == (6, 3, 32, 32)
    assert one.inputs.shape == (6, 1, 32, 32)
    assert three.full.shape == three.truth.shape == (6, 1, 32, 32)
    for k in range(3):
        assert torch.equal(three.inputs[k], patient.low[k : k + 3])
        assert torch.equal(three.full[k, 0], patient.full[k + 1])
        assert torch.equal(three.truth[k, 0], patient.truth[k + 1])
    for name in ("full", "truth", "low", "patients"):  # the same targets for one slice and three
        a, b = getattr(three, name), getattr(one, name)
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    assert torch.equal(three.low, three.inputs[:, 1:2])


def test_no_sample_reaches_across_a_gap(patient):
    """Runs of a series are pairs of their own; one too short for a sample gives none."""
    runs = [DosePair("a", patient.low[k], patient.full[k]) for k in (slice(0, 3), slice(3, 4), slice(2, 5))]
    found = stacks(runs)
    assert len(found) == 2
    assert torch.equal(found.inputs, torch.stack([patient.low[0:3], patient.low[2:5]]))


def test_truth_is_none_where_one_patient_has_none(patient):
    unknown = DosePair("C001", patient.low, patient.full)
    assert stacks([patient, unknown]).truth is None


IDS = [f"{kind}{k:03d}" for kind in "CLN" for k in range(10)]


@settings(deadline=None, max_examples=30)
@given(st.permutations(IDS), st.integers(0, 10**6))
def test_a_split_is_disjoint_complete_stratified_and_ignores_the_order(ids, seed):
    shares = {"train": 0.7, "val": 0.2, "test": 0.1}
    parts = split_patients(ids, shares, seed)
    require_disjoint(parts)
    assert sorted(i for names in parts.values() for i in names) == IDS
    for part, share in shares.items():
        assert [sum(i[0] == kind for i in parts[part]) for kind in "CLN"] == [round(10 * share)] * 3
    assert parts == split_patients(IDS, shares, seed)


def test_a_share_that_is_a_whole_number_of_patients_is_that_number():
    """In floating point 0.29 of 100 is a little less than 29."""
    parts = split_patients([f"A{k:03d}" for k in range(100)], {"train": 0.71, "test": 0.29}, 0)
    assert {part: len(names) for part, names in parts.items()} == {"train": 71, "test": 29}


def test_other_seeds_split_otherwise():
    shares = {"train": 0.5, "test": 0.5}
    assert split_patients(IDS, shares, 0) != split_patients(IDS, shares, 1)


def test_bad_input_is_named(patient):
    for argument, call in (
        ("num_slices, margin", lambda: stacks([patient], 2)),
        ("num_slices, margin", lambda: stacks([patient], 5)),
        ("pairs", lambda: stacks([DosePair("a", patient.low[:2], patient.full[:2])])),
        ("low", lambda: DosePair("a", patient.low[:2], patient.full)),
        ("low", lambda: DosePair("a", patient.low.double(), patient.full)),
        ("full", lambda: DosePair("a", patient.low, patient.full[0])),
        ("num_slices", lambda: stacks([patient], 1.5)),
        ("shares", lambda: split_patients(["a"], {}, 0)),
        ("shares", lambda: split_patients(["a"], {"train": float("nan")}, 0)),
        ("ids", lambda: split_patients(["a", "a"], {"train": 1.0}, 0)),
        ("shares", lambda: split_patients(["a"], {"train": 0.5}, 0)),
        ("test", lambda: require_disjoint({"train": ["a", "b"], "test": ["b"]})),
    ):
        with pytest.raises(ArgumentError) as caught:
            call()
        assert caught.value.argument == argument


@given(st.lists(st.sampled_from("CLNX"), min_size=3, max_size=30), st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_no_part_is_empty_from_three_patients_on(kinds, seed):
    ids = [f"{kind}{k:03d}" for k, kind in enumerate(kinds)]
    parts = split_patients(ids, {"train": 0.6, "val": 0.15, "test": 0.25}, seed)
    assert min(map(len, parts.values())) >= 1
    assert sorted(i for names in parts.values() for i in names) == sorted(ids)
