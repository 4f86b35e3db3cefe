"""Patients at two doses, and splits by patient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctlib.data.pairs import DosePair, require_disjoint, split_patients
from ctlib.errors import ArgumentError


@pytest.fixture(scope="module")
def patient():
    low, full, truth = torch.rand(3, 5, 32, 32, generator=torch.Generator().manual_seed(0))
    return DosePair("S0003", low, full, truth)


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
        ("low", lambda: DosePair("a", patient.low[:2], patient.full)),
        ("low", lambda: DosePair("a", patient.low.double(), patient.full)),
        ("full", lambda: DosePair("a", patient.low, patient.full[0])),
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
