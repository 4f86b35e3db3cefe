"""Criteria of verdicts: equivalence against scipy's own tests, plateaus against curves with a known gain."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from ctlib.book.ledger.claim import Claim
from ctlib.book.ledger.criteria import Band, Equivalence, Settles, running_median

STEPS = list(range(0, 3001, 100))


def curve(rate):
    """A gain that approaches 1 with a time constant of `rate` steps."""
    return STEPS, [1 - math.exp(-s / rate) for s in STEPS]


@pytest.mark.parametrize("shift", [-0.4, 0.0, 0.15, 0.9])
def test_p_value_is_the_larger_of_two_one_sided_tests(shift):
    differences = list(np.random.default_rng(3).normal(shift, 0.3, 9))
    below = ttest_1samp(differences, 0.5, alternative="less").pvalue
    above = ttest_1samp(differences, -0.5, alternative="greater").pvalue
    assert Equivalence(0.5).p_value(differences) == pytest.approx(max(below, above), rel=1e-10)


def test_every_row_must_be_equivalent_and_an_interval_that_contains_zero_shows_nothing():
    tested = Equivalence(margin=0.5)
    near, wide, far = [0.1, -0.1, 0.05, -0.02], [2.0, -2.0, 1.0, -1.0], [1.0, 1.1, 0.9, 1.05]
    assert tested.verdict({"a": near, "b": near}) == "reproduced"
    assert tested.verdict({"a": near, "b": wide}) == "unsettled"
    assert tested.verdict({"a": near, "b": far}) == "not reproduced"
    assert tested.verdict({"a": near, "b": [0.0]}) == "unsettled"  # one difference shows nothing
    assert tested.verdict({"a": [0.1, 0.1, 0.1]}) == "reproduced"  # no spread at all
    assert tested.verdict({"a": [0.5, 0.5, 0.5]}) == "unsettled"  # on the margin


def test_that_a_row_is_outside_is_held_to_the_number_of_rows():
    """One row of many lies outside by chance: each is tested at its share of the level."""
    row = [0.64, 0.55, 0.5, 0.62]  # one-sided p of being above 0.5 is about 0.04
    p = ttest_1samp(row, 0.5, alternative="greater").pvalue
    assert 0.05 / 2 < p < 0.05
    assert Equivalence(0.5).verdict({"a": row}) == "not reproduced"
    assert Equivalence(0.5).verdict({"a": row, "b": [0.0, 0.01, -0.01, 0.0]}) == "unsettled"


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_gain_of_the_last_third(better):
    rule = Settles(0.25, better=better)
    steps, values = curve(1000.0)
    sign = 1 if better == "higher" else -1
    expected = math.exp(-2.0) - math.exp(-3.0)  # best at 3000 minus best until 2000
    assert rule.gain((steps, [sign * v for v in values])) == pytest.approx(expected, rel=1e-12)
    assert rule.gain((steps, [-sign * v for v in values])) == 0.0


def test_curves_are_held_against_the_difference_that_the_verdict_is_about():
    rule, slow, quick = Settles(0.25), curve(1000.0), curve(200.0)
    gain = rule.gain(slow)
    assert rule.holds([4.01 * gain], {"a": slow, "b": quick})
    assert not rule.holds([3.99 * gain], {"a": slow, "b": quick})  # one curve that rises is enough
    assert rule.holds([3.99 * gain], {"b": quick})
    assert rule.holds([-4.01 * gain], {"a": slow})  # a loss as well as a gain
    assert not Settles(0.25, neutral=1.0).holds([1.0 + 3.99 * gain], {"a": slow})
    assert Settles(0.25, neutral=1.0).holds([1.0 + 4.01 * gain], {"a": slow})
    assert not rule.holds([100.0], None)


def test_a_count_is_held_against_a_gain_in_the_curves_own_unit():
    rule, slow = Settles(1.0, within=0.05), curve(1000.0)
    assert rule.gain(slow) > 0.05
    assert not rule.holds([3.0], {"a": slow})
    assert rule.holds([0.0], {"a": curve(200.0)})
    assert "at most 0.05 in" in str(rule)


def test_an_outlier_neither_hides_a_gain_nor_makes_one():
    steps, values = curve(1000.0)
    early, late = list(values), [0.5] * len(values)
    early[10], late[25] = 5.0, 5.0
    gain = Settles(0.25).gain((steps, values))
    assert Settles(0.25).gain((steps, early)) == pytest.approx(gain)
    assert Settles(0.25).gain((steps, late)) == 0.0
    assert Settles(0.25, window=1).gain((steps, early)) == 0.0
    assert running_median([1, 9, 2, 3, 4], 3) == [1, 2, 3, 3, 4]


def test_a_curve_that_is_not_finite_has_not_settled():
    steps, values = curve(200.0)
    assert not Settles(0.25).holds([1.0], {"a": (steps, [*values[:-1], math.nan])})


def claim(**given):
    return Claim("x", "", "", "", reproduced=Band(1.0), direction=Band(0.0), **given)


@pytest.mark.parametrize("needs", ["ci", "laptop", "paper"])
@pytest.mark.parametrize("preset", [None, "ci", "custom", "laptop", "paper"])
def test_below_needs_a_value_is_seen(needs, preset):
    order = {"ci": 0, "custom": 0, "laptop": 1, "paper": 2, None: 3}
    seen = order[preset] < order[needs]
    assert claim(needs=needs).verdict([2.0], preset) == ("seen" if seen else "reproduced")
    assert claim(needs=needs).verdict([-2.0], preset) == ("seen" if seen else "not reproduced")


@pytest.mark.parametrize("value", [2.0, 0.5, -1.0])
def test_unsettled_whatever_the_value_says_except_that_it_is_none(value):
    trained = claim(settles=Settles(0.001))
    assert trained.verdict([value], curves={"a": curve(1000.0)}) == "unsettled"
    assert trained.verdict([value]) == "unsettled"
    assert trained.verdict([math.nan]) == "not reproduced"
    assert trained.verdict([2.0], curves={"a": curve(100.0)}) == "reproduced"


def test_an_erratum_is_shown_by_every_value_or_not_at_all():
    misprint = claim(erratum="a square is missing")
    assert misprint.verdict([2.0, 3.0]) == "erratum"
    assert misprint.verdict([2.0, 0.5]) == "unsettled"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.1, 0.3, 0.5], "reproduced"),
        ([-0.3, 0.1, 0.5], "unsettled"),  # contains 0: nothing is shown, whichever side its mean lies on
        ([-0.5, -0.1, 0.3], "unsettled"),
        ([-0.5, -0.3, -0.1], "not reproduced"),
        ([0.2, 0.2, 0.2], "unsettled"),  # of one body and one training
        ([0.1, 0.3], "unsettled"),
        ([0.3, 0.1, 0.5], "unsettled"),
        ([math.nan, 0.1, 0.5], "not reproduced"),
    ],
)
def test_an_interval_is_judged_as_a_whole(values, said):
    asked = Claim("x", "", "", "", reproduced=Band(0.0), interval=True)
    assert asked.verdict(values) == said
    below = Claim("x", "", "", "", reproduced=Band(high=0.0), interval=True)
    mirrored = [-v for v in reversed(values)]
    assert below.verdict(mirrored) == said


def test_the_criterion_in_words():
    assert claim().criterion == "≥ 1"
    told = claim(settles=Settles(0.25), needs="laptop").criterion
    assert told == "≥ 1; curves gain at most 0.25 of the difference in their last third; judged from preset laptop on"
    assert Claim("x", "", "", "", reproduced=Band(0), interval=True).criterion == "whole 95 % interval ≥ 0"
    same = Claim("x", "", "", "", reproduced=Band(-1, 1), equivalence=Equivalence(1.0)).criterion
    assert same == "every row within ±1, two one-sided tests at level 0.05"
