"""When the prior passes its rivals: leads within a budget, first step ahead, sentences that follow from them."""

import numpy as np
import pytest
import torch
from test_dip_plan import study

from ctlib.papers.dip import budget
from ctlib.papers.dip.budget import Race
from ctlib.papers.dip.compare import PRIOR
from ctlib.papers.dip.plan import KINDS

RACE = Race(
    np.array([1, 2, 4, 8]), np.array([[10.0, 20, 30, 29], [12, 20, 31, 28]]), {"TV": 30.2, "linear": 19}, (4, 30)
)
LOST = Race(np.array([1, 3]), np.array([[10.0, 18.9]]), {"bicubic": 19.0}, (3, 18.9))
WORDS = {"restore": "fill", "sr": "enlarge"}


@pytest.mark.parametrize(
    ("steps", "lead"),
    [(1, -8.0), (3, 1.0), (4, 11.5), (8, 9.5), (9, None), (0, None)],
)
def test_the_lead_is_that_of_the_last_image_within_a_budget_that_the_fit_has(steps, lead):
    assert RACE.lead("linear", steps) == (None if lead is None else pytest.approx(lead))


def test_ahead_means_by_more_than_what_another_machine_turns():
    assert RACE.ahead_from("linear") == 2
    assert RACE.ahead_from("TV") == 4  # 30.5 against 30.2
    assert Race(RACE.after, RACE.values, {"TV": 30.31}, RACE.stop).ahead_from("TV") is None
    assert LOST.ahead_from("bicubic") is None


def test_rows_have_a_lead_for_every_budget_and_say_never():
    rows = budget.lead_rows({"restore": RACE, "sr": LOST}, [2, 3, 8], WORDS)
    assert rows[0] == ["fill: TV", 30.2, pytest.approx(-10.2), pytest.approx(-10.2), pytest.approx(-1.7), "4"]
    assert rows[2] == ["enlarge: bicubic", 19.0, -9.0, pytest.approx(-0.1), None, "never"]


def test_the_sentence_names_where_it_is_ahead_and_where_at_no_budget():
    found = {"restore": RACE, "sr": LOST}
    said = budget.told(found, ["TV", "bicubic"], WORDS)
    assert said == "- TV: ahead in fill from step 4\n- bicubic: at no budget in enlarge"
    assert budget.ever_ahead(found, ["TV", "bicubic", "linear"]) == [True, True, False]


def test_races_follow_the_kept_images_and_budgets_halve():
    s = study(steps=dict.fromkeys(KINDS, 8))
    after, values = budget.course(s, "real", "restore")
    assert after.tolist() == [t + 1 for t in s.marks("restore")]
    assert values.shape == (2, len(after))
    holes = s.task("real", "restore", 0)[0].A.mask == 0
    region = s.bodies["real"].region & holes
    fit, truth = s.fits("real", "restore")[0], s.bodies["real"].gray
    mse = (fit.average - truth)[region].double().square().mean()
    assert values[0, -1] == pytest.approx(float(-10 * torch.log10(mse)), rel=1e-5)
    assert budget.budgets(s) == [1, 2, 4, 8]
    scores = {k: {"input": np.ones(2), "TV": np.ones(2), PRIOR: 2 * np.ones(2)} for k in s.steps}

    class Tuned:
        def best(self, method):
            return type("Trial", (), {"settings": {"step": 1}})

    found = budget.races(s, "real", scores, dict.fromkeys(s.steps, Tuned()))
    assert found["sr"].levels == {"TV": 1.0}
    assert found["sr"].stop == (2, 2.0)
    plots = budget.race_plots({"real": found}, dict(zip(s.steps, "abcde", strict=True)))
    assert plots["levels"]["real"] == dict.fromkeys("abcde", 1.0)
