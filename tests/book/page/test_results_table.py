"""Tables of results: digits, spread, the best value, and what is refused."""

import math

import numpy as np
import pytest
import torch

from ctlib.book import table
from ctlib.errors import ArgumentError

COLUMNS = ["method", "PSNR [dB]", "SSIM"]
ROWS = [["FBP", (24.3, 0.44), 0.81], ["TV", (30.123, (29.8, 30.5)), 0.9123], ["paper", "lost", None]]


def marked(shown):
    return [part.partition(">")[2].partition("<")[0].strip() for part in shown._repr_html_().split('class="best"')[1:]]


def test_a_column_shares_its_decimals_and_shows_spread_small():
    shown = table(COLUMNS, ROWS)._repr_html_()
    assert "<td>24.30 <small>± 0.44</small></td>" in shown
    assert "<td>30.12 <small>29.80 to 30.50</small></td>" in shown
    assert '<td class="text">lost</td><td class="text">–</td>' in shown
    assert shown.startswith('<div class="ctlib-scroll"><table class="ctlib-table">')


def test_the_best_of_a_column_or_row_is_marked_and_ties_are_all():
    assert marked(table(COLUMNS, ROWS, best="max")) == ["30.12", "0.9123"]
    assert marked(table(COLUMNS, ROWS, best={"PSNR [dB]": "min"})) == ["24.30"]
    assert marked(table(["m", "a", "b"], [["x", 1.5, 2.5], ["y", 3.5, 0.5]], best={"x": "min"})) == ["1.500"]
    assert marked(table(["m", "a"], [["x", 2], ["x", 2], ["z", 1]], best="max")) == ["2", "2"]
    assert marked(table(["m", "a"], [["x", math.nan], ["y", 2.0], ["z", 3.0]], best="min")) == ["2"]


def test_numbers_of_every_kind_are_read():
    shown = repr(table(["m", "a"], [["x", np.float32(0.5)], ["y", torch.tensor(-0.25)], ["z", math.inf]]))
    assert [line.split()[-1] for line in shown.splitlines()] == ["a", "0.5000", "−0.2500", "∞"]
    assert repr(table(["m", "a"], [["x", 1e-9], ["y", 1000.0]])).split()[-3:] == ["1.000e−09", "y", "1.000e+03"]
    assert repr(table(["m", "a"], [["x", 1.234]], digits={"a": 1})).split()[-1] == "1.2"


def test_texts_are_escaped():
    assert "&lt;b&gt;" in table(["<b>", "a"], [["x", 1]], caption="c")._repr_html_()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"rows": [["x", 1, 2]]}, "rows.0.: got 3 cells, needs one for each of the 2 columns"),
        ({"rows": [["x", [1, 2]]]}, r"rows.0..1.: got \[1, 2\], needs a number"),
        ({"rows": [["x", 1]], "best": "highest"}, 'best: got .highest., needs "max" or "min"'),
        ({"rows": [["x", 1]], "best": {"b": "max"}}, "best: got 'b', needs one of a, x"),
        ({"rows": [["x", 1]], "digits": {"b": 1}}, "digits: got 'b', needs one of m, a"),
    ],
)
def test_mistakes_are_told(given, says):
    with pytest.raises(ArgumentError, match=says):
        table(["m", "a"], **given)


@pytest.mark.parametrize("cells", [[0.0, 0.0], [(0.0, 0.01), (0.0, 0.02)], [(0.0, 0.0)], [(math.nan, 0.1)], [None]])
def test_a_column_of_zeros_or_of_nothing_has_decimals_too(cells):
    assert table(["method", "error"], [["a", c] for c in cells])._repr_html_().count("<tr>") == 1 + len(cells)
    assert "0.01000" in str(table(["method", "error"], [["a", (0.0, 0.01)]]))
