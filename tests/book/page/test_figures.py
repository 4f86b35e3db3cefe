"""Figures share one window, say their units and scales, and are kept small with a real alternative text."""

import io

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from ctlib.book.page import figures, numbers, output
from ctlib.errors import ArgumentError

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def _closed_figures():
    with matplotlib.rc_context():
        yield
    plt.close("all")


def shown(fig):
    return [image for ax in fig.axes for image in ax.get_images()]


def labels(fig):
    return [ax.get_ylabel() for ax in fig.axes if ax.get_ylabel()]


@pytest.mark.parametrize(("window", "limits"), [((0.0, 0.02), (0.0, 0.02)), ("lung", (-1350, 150))])
def test_all_panels_share_the_stated_window(window, limits):
    panels = [np.zeros((8, 8)), torch.ones(8, 8, requires_grad=True) * 5]
    fig = figures.images(panels, ["a", "b"], window=window, unit="1/mm")
    assert [image.get_clim() for image in shown(fig)] == [limits, limits]
    assert labels(fig) == ["[1/mm]"]


@pytest.mark.parametrize("count", range(1, 10))
def test_any_number_of_panels_has_room(count):
    fig = figures.images([np.eye(4)] * count, [str(i) for i in range(count)], window=(0, 1), unit="1")
    assert len(shown(fig)) == count
    assert [ax.get_title() for ax in fig.axes if ax.get_images()] == [str(i) for i in range(count)]


@pytest.mark.parametrize(("pixel_mm", "length"), [(1.0, "20 mm"), (0.15, "2 mm"), (3.9, "50 mm")])
def test_scale_bar_has_a_round_length_and_the_right_one(pixel_mm, length):
    fig = figures.images([np.eye(100)], ["a"], window=(0, 1), unit="1", pixel_mm=pixel_mm)
    ax = fig.axes[0]
    assert [t.get_text() for t in ax.texts] == [length]
    x = ax.lines[0].get_xdata()
    assert (x[1] - x[0]) * pixel_mm == pytest.approx(float(length.split()[0]))


def test_difference_has_its_own_symmetric_scale_and_says_it():
    reference = np.full((10, 10), 7.0)
    fig = figures.difference([reference + 2, reference - 1], reference, ["a", "b"], unit="HU")
    assert [image.get_clim() for image in shown(fig)] == [(-2.0, 2.0)] * 2
    assert [image.get_array().mean() for image in shown(fig)] == [2.0, -1.0]
    assert labels(fig) == ["image - reference, scale ±2 [HU]"]
    same = figures.difference([reference], reference, ["a"], unit="HU")
    assert shown(same)[0].get_clim() == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("panels", "titles", "window"),
    [
        ([np.zeros((2, 2, 2))], ["a"], (0, 1)),
        ([np.zeros((2, 2))], ["a", "b"], (0, 1)),
        ([np.zeros((2, 2))], ["a"], (1, 1)),
        ([np.zeros((2, 2))], ["a"], "nothing"),
    ],
)
def test_what_cannot_be_shown_is_refused(panels, titles, window):
    with pytest.raises(ArgumentError):
        figures.images(panels, titles, window=window, unit="1")


def test_curves_show_median_and_range_over_seeds_in_distinct_styles():
    x = np.arange(5.0)
    fig = figures.curves(
        {"one": (x, x), "three": (x, np.stack([x, x + 1, x + 5]))}, xlabel="i", ylabel="PSNR [dB]", log="x"
    )
    ax = fig.axes[0]
    assert ax.get_xscale() == "log"
    assert ax.lines[1].get_ydata().tolist() == (x + 1).tolist()
    assert len(ax.collections) == 1
    assert len({line.get_color() for line in ax.lines}) == len({line.get_linestyle() for line in ax.lines}) == 2


def test_png_is_a_palette_image_of_the_same_size_and_not_larger():
    fig = figures.images([np.random.default_rng(0).random((64, 64))] * 2, ["a", "b"], window=(0, 1), unit="1")
    raw = io.BytesIO()
    fig.savefig(raw, format="png", bbox_inches="tight")
    small = figures.png(fig)
    assert len(small) < 0.6 * len(raw.getvalue())
    assert Image.open(io.BytesIO(small)).size == Image.open(raw).size


def test_style_is_the_books():
    figures.use_style()
    assert plt.rcParams["axes.prop_cycle"].by_key()["color"] == list(figures.COLORS)
    assert plt.rcParams["figure.facecolor"] == "white"
    assert plt.rcParams["image.origin"] == "upper"


def test_keep_marks_the_picture_for_record_and_gives_the_page_its_alt_text(monkeypatch):
    bundles = []
    monkeypatch.setattr(output, "in_kernel", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda data, raw, metadata: bundles.append((data, metadata)))
    fig = figures.images([np.eye(8)], ["a"], window=(0, 1), unit="1")
    figures.keep("eye", fig, "The identity matrix")
    data, metadata = bundles[0]
    assert metadata == {"ctlib": {"keep": "eye", "alt": "The identity matrix"}}
    assert not plt.fignum_exists(fig.number)
    cell = {"outputs": [{"data": data, "metadata": metadata}], "metadata": {}}
    output.for_page({"cells": [cell]})
    assert cell["metadata"] == {"mystnb": {"image": {"alt": "The identity matrix"}}}


def test_collector_takes_figures_and_numbers_without_jupyter(capsys):
    collector = output.Collector()
    token = output.COLLECTOR.set(collector)
    try:
        figures.keep("eye", figures.images([np.eye(8)], ["a"], window=(0, 1), unit="1"), "The identity")
        numbers.number("gain", torch.tensor(3.14159), 2, "dB")
    finally:
        output.COLLECTOR.reset(token)
    png, alt = collector.figures["eye"]
    assert png.startswith(b"\x89PNG")
    assert alt == "The identity"
    assert collector.numbers == {"gain": "3.14"}
    assert capsys.readouterr().out == "figure eye: The identity\ngain: 3.14 dB\n"


@pytest.mark.parametrize(("name", "alt"), [("../up", "text"), ("ok", " "), ("", "text")])
def test_keep_refuses_names_that_are_no_file_names_and_empty_alt_texts(name, alt):
    with pytest.raises(ArgumentError):
        figures.keep(name, None, alt)


def test_number_glues_rounded_text_without_quotes(monkeypatch):
    glued = {}
    monkeypatch.setattr(numbers, "in_kernel", lambda: True)
    monkeypatch.setattr("myst_nb.glue", lambda name, text, display: glued.update({name: text}))
    numbers.number("gain", 2.0, 2, "dB")
    assert repr(glued["gain"]) == "2.00"
