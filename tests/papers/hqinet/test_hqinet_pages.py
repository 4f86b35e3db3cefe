"""The two pages of the chapter are one experiment: the second finds the trainings of the first."""

import pytest

from ctlib.book import parameters
from ctlib.book.project import PRESETS, Project

PAGES = ("04-hqinet", "04a-hqinet-tested")


@pytest.mark.parametrize("preset", PRESETS[1:])
def test_the_second_page_has_the_parameters_of_the_first(preset):
    """Each at `ci` has a number of steps of its own."""
    first, second = (parameters.resolve(Project(), page, preset) for page in PAGES)
    assert {name: second[name] for name in first} == first
