"""Every method gets as many trials on the same data, and they can be seen."""

import math

import pytest
import torch

from ctlib.errors import ArgumentError, ConvergenceError
from ctlib.train import tune
from ctlib.train.tuning import Trial, Tuning

TRIALS = {
    "TV": [{"lam": lam} for lam in (0.01, 0.1, 1.0)],
    "U-Net": [{"lr": 1e-3, "width": 8}, {"lr": 1e-2, "width": 8}, {"lr": 1e-2, "width": 16}],
    "FBP": [{}],
}
VALUES = {"TV": [3.0, 1.0, 2.0], "U-Net": [0.5, 0.25, 0.75], "FBP": [4.0]}


def scored(method, settings):
    return VALUES[method][TRIALS[method].index(settings)]


def test_every_trial_is_scored_once_in_its_order_and_told():
    lines = []
    result = tune(TRIALS, scored, tell=lines.append)
    assert [t.value for t in result.trials] == [3.0, 1.0, 2.0, 0.5, 0.25, 0.75, 4.0]
    assert result.best("TV") == Trial("TV", {"lam": 0.1}, 1.0)
    assert result.best("U-Net").settings == {"lr": 1e-2, "width": 8}
    assert lines[1] == "TV, lam = 0.1: 1"
    assert len(lines) == 7
    upwards = tune(TRIALS, scored, better="higher")
    assert [upwards.best(m).value for m in TRIALS] == [3.0, 0.75, 4.0]


def test_a_best_value_at_the_end_of_its_range_is_noticed():
    result = tune(TRIALS, scored)
    assert result.at_edge("TV") == []
    assert result.at_edge("U-Net") == []  # two values span no range
    assert tune(TRIALS, scored, better="higher").at_edge("TV") == ["lam"]


def test_it_shows_its_trials_as_text_and_as_a_table():
    result = tune({**TRIALS, "<b>": [{"kind": k} for k in "xyz"]}, lambda m, s: 1.0 if m == "<b>" else scored(m, s))
    text, html = str(result).splitlines(), result._repr_html_()
    assert text[0].split() == ["method", "trial", "settings", "validation"]
    assert [line.endswith("<- best") for line in text[1:]] == [0, 1, 0, 0, 1, 0, 1, 1, 0, 0]
    assert "2 of 3  lam = 0.1" in text[2]
    assert html.count("<tr>") == 11
    assert html.count("best of its method") == 4 * 4
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


@pytest.mark.parametrize(
    ("trials", "says"),
    [
        ({**TRIALS, "U-Net": TRIALS["U-Net"][:2]}, "TV: 3, U-Net: 2"),
        ({**TRIALS, "SIRT": [{"num_iters": 10}]}, "SIRT: 1"),
        ({**TRIALS, "TV": [{"lam": 0.1}, {"lam": 0.1}, {"lam": 1.0}]}, "the same settings twice"),
        ({**TRIALS, "TV": []}, "TV"),
        ({**TRIALS, "TV": [0.1, 0.2, 0.3]}, "TV"),
        ({}, "{}"),
        ({1: [{}]}, "{method: [settings"),
        ([{"lam": 1.0}], "list"),
    ],
)
def test_unequal_budgets_and_no_trials_are_refused_before_any_work(trials, says):
    with pytest.raises(ArgumentError, match=r"^trials: ") as caught:
        tune(trials, lambda method, settings: pytest.fail("scored"))
    assert says in str(caught.value)


def test_a_trial_that_diverges_is_spent_and_one_method_that_always_does_is_told():
    def score(method, settings):
        if settings.get("lam", 0) >= limit:
            raise ConvergenceError("diverged")
        return math.nan if settings.get("width") == 16 else 1.0

    limit = 0.1
    result = tune(TRIALS, score)
    assert result.best("TV").settings == {"lam": 0.01}
    assert str(result).count("diverged") == 3
    limit = 0.0
    with pytest.raises(ConvergenceError, match="TV diverged in each of its 3 trials"):
        tune(TRIALS, score)


@pytest.mark.parametrize("lost", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_never_the_best(lost):
    for better in ("lower", "higher"):
        result = tune(TRIALS, lambda m, s: lost if s.get("lam") == 0.1 else scored(m, s), better)
        assert result.best("TV").value == {"lower": 2.0, "higher": 3.0}[better]
        assert str(result).count("diverged") == 1


@pytest.mark.parametrize("value", [None, "bad", [1.0, 2.0], torch.zeros(2)])
def test_a_score_that_is_no_number_is_named(value):
    with pytest.raises(ArgumentError, match=r"score of TV, lam = 0\.01: .*one number"):
        tune(TRIALS, lambda method, settings: value)


def test_one_trial_each_and_settings_of_any_kind():
    result = tune({"TV": [{"lam": 0.1}], "U-Net": [{"widths": [8, 16]}]}, lambda method, settings: 1.0)
    assert result.best("U-Net").settings == {"widths": [8, 16]}
    assert result.at_edge("TV") == result.at_edge("U-Net") == []


def test_other_names_are_refused():
    with pytest.raises(ArgumentError, match="better"):
        tune(TRIALS, scored, better="smaller")
    with pytest.raises(ArgumentError, match="method"):
        Tuning((Trial("TV", {}, 1.0),)).best("SIRT")
