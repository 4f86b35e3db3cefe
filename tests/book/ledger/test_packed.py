"""Claim records in a reference: curves a line each, and the same verdict from them."""

import json

import pytest

from ctlib.book.ledger.claim import Claim
from ctlib.book.ledger.criteria import Band, Settles
from ctlib.book.ledger.packed import packed, unpacked
from ctlib.book.ledger.verdicts import judged_again, record_of

CLAIM = Claim("gain", "S", "Fig. 1", "yes", "gain", "dB", Band(low=1.0), settles=Settles(0.25))
STEPS = list(range(0, 300, 10))
FLAT = [20 + 5 * (1 - 0.97**s) + 1e-7 * s for s in STEPS]
RISING = [20 + s / 100 for s in STEPS]


@pytest.mark.parametrize(("values", "verdict"), [(FLAT, "reproduced"), (RISING, "unsettled")])
def test_a_packed_record_is_smaller_and_earns_the_same_verdict(values, verdict):
    record = record_of(CLAIM, [2.0], None, {"prior, seed 0": (STEPS, values)})
    kept = {"gain": record}
    small = packed(kept)
    text = json.dumps(small, indent=1)
    assert text.count("\n") < 20
    assert len(text) < 0.6 * len(json.dumps(kept, indent=1))
    again = unpacked(json.loads(text))["gain"]
    assert again["curves"]["prior, seed 0"]["steps"] == STEPS
    assert again["curves"]["prior, seed 0"]["values"] == pytest.approx(values, rel=1e-4)
    assert judged_again(CLAIM, again)["verdict"] == verdict == record["verdict"]


def test_records_without_curves_and_values_that_are_not_finite_come_back_as_they_were():
    records = {"a": {"values": [1.0]}, "b": {"curves": {"x": {"steps": [0, 1], "values": ["nan", 1.5]}}}}
    assert unpacked(packed(records)) == records
