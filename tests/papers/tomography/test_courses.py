"""Curves of trainings: a number that still moves has not settled, whichever way it moves."""

import pytest

from ctlib.book.ledger.criteria import Settles
from ctlib.errors import ArgumentError
from ctlib.papers.tomography.courses import drawn_out, look_every, unrest

STEPS = list(range(0, 25))
FLAT = Settles(1.0, better="lower", within=0.05)


@pytest.mark.parametrize("slope", [0.058, -0.058])
def test_a_number_that_rises_or_falls_steadily_has_not_settled(slope):
    assert not FLAT.holds([1.0], {"a": unrest(STEPS, [0.2 + slope * k for k in STEPS])})


def test_a_number_that_comes_back_to_its_end_has_not_settled():
    values = [0.8 if k in (16, 24) else 1.2 for k in STEPS]
    assert not FLAT.holds([1.0], {"a": unrest(STEPS, values)})


def test_a_number_that_stays_has_settled_wherever_it_came_from():
    values = [max(0.0, 1 - k / 12) + 0.5 for k in STEPS]
    assert FLAT.holds([1.0], {"a": unrest(STEPS, values)})


def test_the_curve_falls_to_zero():
    _, far = unrest(range(6), [1.0, 3.0, 2.5, 2.0, 2.0, 2.0])
    assert far == [1.0, 1.0, 0.5, 0.0, 0.0, 0.0]


def test_a_curve_of_few_looks_holds_its_first_value():
    assert drawn_out([0, 1], [3.0, 2.0]) == ([0, 0.2, 0.4, 0.6, 0.8, 1], [3.0] * 5 + [2.0])
    assert drawn_out([5], [3.0], least=3) == ([0, 2.5, 5], [3.0] * 3)
    assert drawn_out(range(6), range(6)) == (list(range(6)), list(range(6)))


def test_there_are_6_to_24_looks():
    assert [len(range(0, n, look_every(n))) for n in (6, 20, 288, 3000)] == [6, 7, 24, 24]
    assert look_every(1) == 1
    with pytest.raises(ArgumentError):
        look_every(0)
