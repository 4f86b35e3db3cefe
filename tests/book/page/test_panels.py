"""Several plots of curves in one figure: one color a label, levels and points where they are asked for."""

import numpy as np
import pytest

from ctlib.book.page.panels import curve_panels
from ctlib.errors import ArgumentError

X = np.arange(1, 6)


def test_a_label_has_one_color_and_a_median_with_its_range():
    y = np.stack([X, X + 2.0, X + 10.0])
    fig = curve_panels({"left": {"a": (X, X), "b": (X, y)}, "right": {"b": (X, X)}}, xlabel="step", ylabel="dB")
    left, right = fig.axes
    assert left.lines[1].get_color() == right.lines[0].get_color() != left.lines[0].get_color()
    assert left.lines[1].get_ydata().tolist() == (X + 2.0).tolist()
    assert len(left.collections) == 1
    assert [ax.get_title() for ax in fig.axes] == ["left", "right"]


def test_levels_dots_and_the_curve_to_find_are_drawn_where_they_belong():
    fig = curve_panels(
        {"left": {"a": (X, X), "b": (X, X)}, "right": {"a": (X, X)}}, levels={"left": {"a": 2.5}},
        dots={"right": {"a": (3, 3)}}, thick=[("left", "b")], log="x", xlabel="step", ylabel="dB",
    )  # fmt: skip
    left, right = fig.axes
    a, level, b = left.lines
    assert set(level.get_ydata()) == {2.5}
    assert b.get_linewidth() > a.get_linewidth()
    assert [len(line.get_xdata()) for line in right.lines] == [5, 1]
    assert left.get_xscale() == "log"


def test_an_image_comes_first_and_nothing_is_an_error():
    fig = curve_panels({"one": {"a": (X, X)}}, xlabel="", ylabel="", image=np.eye(3))
    assert fig.axes[0].images
    assert fig.axes[1].lines
    with pytest.raises(ArgumentError, match="panels"):
        curve_panels({}, xlabel="", ylabel="")


def test_labels_that_all_plots_share_are_named_once_outside_of_them():
    same = {label: (X, X) for label in ("denoise", "inpaint", "restore")}
    fig = curve_panels({"real": same, "synthetic": dict(same)}, xlabel="step", ylabel="dB")
    (legend,) = fig.legends
    assert [t.get_text() for t in legend.get_texts()] == list(same)
    assert all(ax.get_legend() is None for ax in fig.axes)
    fig.draw_without_rendering()
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= fig.bbox.width
    assert not any(box.overlaps(ax.get_window_extent()) for ax in fig.axes)
    other = curve_panels({"real": same, "synthetic": {"denoise": (X, X)}}, xlabel="step", ylabel="dB")
    assert not other.legends
    assert all(ax.get_legend() for ax in other.axes)
