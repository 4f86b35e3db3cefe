"""Sliders hold every state, link in the browser alone, describe every picture and escape what comes from data."""

import re
from html.parser import HTMLParser

import ipywidgets
import numpy as np
import pytest
from ipywidgets.embed import dependency_state

from ctlib.book.page import figures, widgets
from ctlib.errors import ArgumentError


class Tags(HTMLParser):
    """Names and attributes of the tags in a piece of HTML."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def one(self, name):
        (found,) = [attrs for tag, attrs in self.tags if tag == name]
        return found


def ramp(views, photons):
    return np.linspace(0, 1, 64).reshape(8, 8) * views / 10, f"{views} views, {photons:g} photons"


def test_every_state_is_there_once_and_linked_without_a_kernel():
    axes = {"views": [1, 2, 3], "photons": [1e2, 1e4]}
    box = widgets.box(widgets.states(ramp, axes, 400), axes)
    state = dependency_state([box])
    names = [s["model_name"] for s in state.values()]
    assert names.count("SelectionSliderModel") == 2
    assert names.count("StackModel") == 1 + 3  # one outer stack, one inner per position of the outer slider
    assert names.count("LinkModel") == names.count("StackModel")
    captions = [s["state"]["value"] for s in state.values() if "ctlib-explore" in str(s["state"].get("value"))]
    assert len(captions) == len(set(captions)) == 6
    sliders = [s["state"] for s in state.values() if s["model_name"] == "SelectionSliderModel"]
    assert {s["description"] for s in sliders} == {"views", "photons"}
    assert ["100", "10000"] in [list(s["_options_labels"]) for s in sliders]


def test_slider_position_shows_its_own_state():
    axes = {"views": [1, 2, 3], "photons": [1e2, 1e4]}
    _, _, outer, _ = widgets.box(widgets.states(ramp, axes, 400), axes).children
    for i, views in enumerate(axes["views"]):
        for j, photons in enumerate(axes["photons"]):
            leaf = outer.children[i].children[j]
            assert isinstance(leaf, ipywidgets.HTML)
            assert f"<figcaption>{views} views, {photons:g} photons</figcaption>" in leaf.value


def test_text_from_data_is_escaped_in_caption_and_alt():
    def hostile(name):
        return np.zeros((4, 4)), f'"><script>alert("{name}")</script>'

    (html,) = widgets.states(hostile, {"name": ["<script>"]}, 300).values()
    assert [tag for tag, _ in Tags(html).tags] == ["figure", "img", "figcaption"]
    alt = Tags(html).one("img")["alt"]
    assert alt == '"><script>alert("<script>")</script> (name = <script>)'


@pytest.mark.parametrize("axes", [{}, {"a": []}, {"a": range(8), "b": range(8)}])
def test_no_state_and_too_many_states_are_refused(axes):
    with pytest.raises(ArgumentError, match="states"):
        widgets.states(lambda **_: (np.zeros((2, 2)), "x"), axes, 300)


def test_a_state_without_caption_is_refused():
    with pytest.raises(ArgumentError, match="caption"):
        widgets.states(lambda a: (np.zeros((2, 2)), " "), {"a": [1]}, 300)


def test_pictures_of_every_kind_fit_the_page():
    import matplotlib.pyplot as plt

    fig = figures.images([np.eye(8)] * 2, ["a", "b"], window=(0, 1), unit="1")
    raw = figures.png(fig)
    kinds = [fig, raw, np.eye(8), np.eye(500)]
    for html in widgets.states(lambda i: (kinds[i], "x"), {"i": [0, 1, 2, 3]}, 600).values():
        width = int(re.search(r"max-width:(\d+)px", html)[1])
        assert 300 < width <= 600
        assert Tags(html).one("img")["src"].startswith("data:image/png;base64,iVBOR")
        assert "width:100%" in Tags(html).one("img")["style"]
    assert not plt.fignum_exists(fig.number)


def test_gray_values_are_kept():
    import io

    from PIL import Image

    image = np.array([[0.0, 0.5, 1.0], [-1.0, 2.0, np.nan]])
    back = np.asarray(Image.open(io.BytesIO(widgets.to_png(image))))
    assert back.tolist() == [[0, 128, 255], [0, 255, 0]]


def test_explore_shows_the_first_state_where_scripts_are_off(monkeypatch):
    shown = []
    monkeypatch.setattr(widgets, "in_kernel", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda *objects: shown.extend(objects))
    box = widgets.explore(ramp, width=300, views=[5, 6], photons=[1e2])
    assert isinstance(box, ipywidgets.VBox)
    assert shown[0].data.startswith("<noscript><figure")
    assert "5 views, 100 photons (views = 5, photons = 100)" in shown[0].data


def test_explore_outside_jupyter_only_says_what_it_would_show(capsys):
    def never(**_):
        raise AssertionError("states are not computed without a page to put them on")

    assert widgets.explore(never, views=[5, 6], photons=[1e2]) is None
    assert capsys.readouterr().out == "explore: 2 views x 1 photons (needs Jupyter)\n"
