"""Absolute values, curves and chosen sentences: into the collector, into the notebook, into the recorded run."""

import json
import math

import pytest
import torch
from test_claims import GOOD, written

from ctlib.book.ledger import claims, kept, verdicts
from ctlib.book.ledger.stored_runs import read_run
from ctlib.book.page import output
from ctlib.book.runner import record
from ctlib.errors import ArgumentError, DataError

STEPS = [10, 20, 30, 40, 50, 60]
TRAINED = """\
- id: beats
  statement: The network beats TV
  where: Table 2
  paper: 2 dB
  quantity: gain
  unit: dB
  reproduced: {min: 1.0}
  reason: spread over seeds is 0.1 dB
  needs: laptop
  settles: {share: 0.25}
  expect: [reproduced, unsettled]
- id: alike
  statement: Both readers agree
  where: Table 3
  paper: no difference
  quantity: difference of their scores
  unit: dB
  equivalence: {margin: 0.5}
  reason: half of the smallest difference that a reader sees
- id: leads
  statement: The network leads
  where: Table 4
  paper: not compared
  quantity: lead
  unit: dB
  reproduced: {min: 0.0}
  reason: the interval must leave out 0
  interval: true
- id: printed
  statement: Equation 3 holds as printed
  where: eq. 3
  paper: printed
  quantity: error of the printed equation
  unit: "1"
  reproduced: {min: 1.0}
  reason: far above rounding
  erratum: a square is missing
"""


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("CTLIB_PRESET", "ci")
    written(tmp_path, GOOD + TRAINED)
    return claims.Ledger("00-demo", tmp_path)


@pytest.fixture
def shown(monkeypatch):
    """What a kernel would be given to display: (bundle, metadata)."""
    found = []
    monkeypatch.setattr(output, "in_kernel", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda data, **kw: found.append((data, kw["metadata"])))
    return found


def notebook(shown):
    outputs = [{"output_type": "display_data", "data": d, "metadata": m} for d, m in shown]
    return {"cells": [{"cell_type": "code", "outputs": outputs, "metadata": {}}]}


def use(ledger):
    ledger.keep("noise", [12.0, 11.0, 13.0], "HU")
    ledger.keep_curve("loss", STEPS, [1.0, 0.5, 0.25, math.nan, 0.1, 0.1], "HU")
    ledger.say((False, "No."), (2 > 1, "**Yes.**"), "Else.")


EXPECTED = {
    "kept": {"noise": {"values": [12.0, 11.0, 13.0], "median": 12.0, "min": 11.0, "max": 13.0, "unit": "HU"}},
    "curves": {"loss": {"steps": STEPS, "values": [1.0, 0.5, 0.25, "nan", 0.1, 0.1], "unit": "HU"}},
    "said": {"**Yes.**": 1},
}


def test_in_this_process_and_in_a_kernel_the_same_is_kept(ledger, shown, monkeypatch, capsys):
    use(ledger)
    nb = notebook(shown)
    assert kept.kept_in(nb) == EXPECTED
    assert [data for data, _ in shown[:2]] == [{}, {}]
    assert shown[2][0] == {"text/markdown": "**Yes.**", "text/plain": "**Yes.**"}
    output.for_page(nb)
    assert len(nb["cells"][0]["outputs"]) == 1  # what shows nothing leaves no empty output
    monkeypatch.setattr(output, "in_kernel", lambda: False)
    token = output.COLLECTOR.set(output.Collector())
    try:
        use(ledger)
        collected = output.COLLECTOR.get()
    finally:
        output.COLLECTOR.reset(token)
    assert {kind: getattr(collected, kind) for kind in EXPECTED} == EXPECTED
    assert capsys.readouterr().out.splitlines()[0] == "kept noise: 12 [11, 13] HU (n = 3)"


@pytest.mark.parametrize(
    ("steps", "values"),
    [(STEPS, STEPS[:-1]), (STEPS[:5], STEPS[:5]), (STEPS[::-1], STEPS), ([10] * 6, STEPS), (STEPS, "rising")],
)
def test_what_is_no_curve_is_refused(ledger, steps, values):
    with pytest.raises(ArgumentError):
        ledger.keep_curve("loss", steps, values)


SEVERAL = torch.tensor([True, False])


@pytest.mark.parametrize("cases", [(), ((False, "No."),), ("First.", (True, "Yes.")), ((True, 3),), ((SEVERAL, "?"),)])
def test_say_needs_sentences_and_one_that_holds(ledger, cases):
    with pytest.raises(ArgumentError, match="cases"):
        ledger.say(*cases)


def test_what_is_kept_has_a_name_and_a_unit_in_words(ledger):
    for name, unit, says in ((None, "HU", "^name"), (" ", "HU", "^name"), ("noise", None, "^unit")):
        with pytest.raises(ArgumentError, match=says):
            ledger.keep(name, 1.0, unit)
        with pytest.raises(ArgumentError, match=says):
            ledger.keep_curve(name, STEPS, STEPS, unit)


def test_one_condition_at_a_time(ledger):
    with pytest.raises(ArgumentError, match=r"what holds of 'all agree'.*one condition"):
        ledger.expect("all agree", SEVERAL.numpy())


@pytest.mark.parametrize("values", ["3", b"3", ["1", "2"], 10**400, [1, None], torch.ones(2, 2), {1, 2}])
def test_text_and_what_else_is_no_number_is_refused_and_named(ledger, values):
    for use in (lambda: ledger.check("gap", values), lambda: ledger.keep("gap", values)):
        with pytest.raises(ArgumentError, match="values of gap"):
            use()
    assert ledger.records == {}


@pytest.mark.parametrize(
    "curves",
    [
        "curves",
        [(STEPS, STEPS)],
        {"a": STEPS},
        {"a": (STEPS,)},
        {"a": (STEPS, STEPS, STEPS)},
        {"a": 5},
        {"a": {"steps": STEPS, "values": STEPS}},
        {"a": (range(900, 1020, 20), STEPS)},  # nothing before the last third: it could not but be flat
        {"a": (range(-6, 0), STEPS)},
        {("a", 1): (STEPS, STEPS), "a, 1": (STEPS, STEPS)},
    ],
)
def test_curves_that_show_nothing_are_refused_and_named(ledger, curves):
    with pytest.raises(ArgumentError, match="beats"):
        ledger.check("beats", 2.0, curves)
    assert ledger.records == {}


@pytest.mark.parametrize("row", [[math.inf, -math.inf], [math.nan, 0.0], [1e308, 1e308], [math.inf]])
def test_a_row_without_a_finite_mean_is_not_reproduced(ledger, row):
    ledger.check("alike", {"bin 1": [0.1, -0.1, 0.0], "bin 2": row})
    assert ledger.records["alike"]["verdict"] == "not reproduced"
    again = json.loads(json.dumps(ledger.records))
    assert verdicts.judge_again("00-demo", again, "ci", ledger.book) == ledger.records


def test_rows_have_names_of_their_own(ledger):
    with pytest.raises(ArgumentError, match="different names"):
        ledger.check("alike", {1: [0.1, 0.2], "1": [0.1, 0.2]})


def test_check_asks_for_curves_and_rows_where_the_claim_does(ledger):
    for values, curves in ((2.0, None), (2.0, {}), ({"a": [1.0]}, {"a": (STEPS, STEPS)})):
        with pytest.raises(ArgumentError, match="beats"):
            ledger.check("beats", values, curves)
    for values in (2.0, {}, {"a": []}):
        with pytest.raises(ArgumentError, match="alike"):
            ledger.check("alike", values)


def test_an_interval_is_handed_over_in_order_and_shown_as_one(ledger, capsys):
    for values in (0.5, [0.1, 0.2], [0.3, 0.1, 0.5], [0.1, 0.5, 0.3]):
        with pytest.raises(ArgumentError, match="leads"):
            ledger.check("leads", values)
    ledger.check("leads", [-0.25, 0.5, 1.0])
    assert capsys.readouterr().out == "leads: 0.5000 [-0.2500, 1] dB, 95 %  unsettled\n"
    again = json.loads(json.dumps(ledger.records))
    assert verdicts.judge_again("00-demo", again, "ci", ledger.book) == ledger.records
    bare = {"leads": {key: v for key, v in again["leads"].items() if key != "interval"}}  # recorded without claims
    assert verdicts.judge_again("00-demo", bare, "ci", ledger.book) == ledger.records


def test_a_record_holds_rows_and_curves_and_is_judged_again_from_them(ledger):
    flat = (STEPS, [0.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    ledger.check("beats", [2.0], {("ours", 0): flat})
    ledger.check("alike", {"bin 1": [0.1, -0.1, 0.0], "bin 2": [0.2, 0.1, 0.15]})
    beats, alike = ledger.records["beats"], ledger.records["alike"]
    assert beats["verdict"] == "seen"
    assert beats["curves"] == {"ours, 0": {"steps": STEPS, "values": flat[1]}}
    assert alike["values"] == pytest.approx([0.0, 0.15])
    assert alike["verdict"] == "reproduced"
    again = json.loads(json.dumps(ledger.records))
    assert verdicts.judge_again("00-demo", again, "ci", ledger.book) == ledger.records
    assert verdicts.judge_again("00-demo", again, "laptop", ledger.book)["beats"]["verdict"] == "reproduced"


RISING = {"ours, 0": (STEPS, [0.0, 0.1, 0.2, 0.3, 0.6, 2.0])}


@pytest.mark.parametrize(
    ("preset", "gain", "printed", "word"),
    [
        ("ci", 2.0, 3.0, "holds"),  # below `needs` the direction is guarded, and no curve is judged
        ("ci", -2.0, 3.0, "FAILS"),
        ("ci", 2.0, 0.0, "FAILS"),
        ("laptop", 2.0, 3.0, "holds"),
    ],
)
def test_what_a_page_relies_on_below_needs_and_in_misprints(tmp_path, monkeypatch, capsys, preset, gain, printed, word):
    monkeypatch.setenv("CTLIB_PRESET", preset)
    written(tmp_path, GOOD + TRAINED)
    ledger = claims.Ledger("00-demo", tmp_path)
    ledger.check("gap", 2.0)
    ledger.check("beats", gain, RISING)
    ledger.check("alike", {"a": [0.1, 0.1]})
    ledger.check("leads", [0.1, 0.2, 0.3])
    ledger.check("printed", printed)
    assert ledger.verdict("beats") == ("seen" if preset == "ci" else "unsettled")
    assert ledger.verdict("printed") == ("erratum" if printed > 1 else "unsettled")
    capsys.readouterr()
    if word == "FAILS":
        with pytest.raises(claims.ClaimFailed, match="printed" if printed < 1 else "beats"):
            ledger.verify()
    else:
        ledger.verify()
    assert (f" {word}: " in capsys.readouterr().out) is True


def test_what_is_kept_is_recorded_and_guarded_by_the_digest(mini):
    about = {"slug": "01-alpha", "preset": "laptop", "parameters": {}, "sources_sha256": "0", "seconds": 1.0}
    found = output.Collector(claims={"alpha-sum": {"values": [11.0, 12.0]}}, **EXPECTED)
    path = record.write(mini, about, found)
    run = read_run(path, mini.book)
    assert {kind: run[kind] for kind in EXPECTED} == EXPECTED
    path.write_text(path.read_text().replace("13.0", "10.0"))
    with pytest.raises(DataError, match="digest"):
        read_run(path, mini.book)
