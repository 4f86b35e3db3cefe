"""Badges and summaries: one verdict each, both values where presets differ, escaped, links that lead somewhere."""

import re

from ctlib.book.ledger.badges import claim_badge
from ctlib.book.ledger.claim import Claim
from ctlib.book.ledger.criteria import Band, Equivalence, Settles
from ctlib.book.ledger.standing import Verdict, standing
from ctlib.book.ledger.summary import state_of, summary_html, summary_text
from ctlib.book.ledger.verdicts import record_of

STEPS = list(range(1, 10))
CLAIM = Claim("gain", "a < b", "Fig. 2", "5 %", "gain", "dB", Band(1.0), Band(0.0))


def shown(claim, values, preset="ci", larger=None, curves=None):
    record = record_of(claim, values, preset, curves)
    runs = {preset: {claim.id: record}} | ({"laptop": {claim.id: record_of(claim, larger)}} if larger else {})
    return claim_badge(claim, record, preset, standing(claim, runs))


def verdicts(text):
    return re.findall(r"ctlib-verdict ctlib-([a-z-]+)", text)


def test_value_papers_value_and_verdict():
    text = shown(CLAIM, [2.0])
    assert 'id="claim-gain"' in text
    assert "a &lt; b <small>(Fig. 2)</small>" in text
    assert "gain: <b>2 dB</b> · paper: 5 %" in text
    assert verdicts(text) == ["reproduced"]
    assert "of record" not in text


def test_where_a_larger_preset_is_recorded_its_verdict_counts_and_both_values_are_told():
    text = shown(CLAIM, [2.0], larger=[-1.0])
    assert verdicts(text) == ["not-reproduced"]
    assert "gain: <b>2 dB</b> · at <code>laptop</code>: <b>-1 dB</b>" in text
    assert "of record, at <code>laptop</code>" in text


def test_below_needs_no_verdict_is_shown():
    text = shown(Claim("gain", "S", "F", "p", "gain", "dB", Band(1.0), needs="laptop"), [2.0])
    assert verdicts(text) == ["seen"]
    assert "no verdict below preset <code>laptop</code>" in text
    assert "reproduced" not in text


def test_what_a_verdict_rests_on_is_told():
    trained = Claim("gain", "S", "F", "p", "gain", "dB", Band(1.0), settles=Settles(0.25))
    text = shown(trained, [2.0], curves={"a": (STEPS, STEPS)})
    assert verdicts(text) == ["unsettled"]
    assert "1 validation curves gain at most 3 in their last third, allowed 0.5000" in text
    same = Claim("same", "S", "F", "p", "gain", "dB", Band(-1, 1), equivalence=Equivalence(1.0))
    assert "largest p-value of 1 rows 1, allowed 0.05" in shown(same, {"r": [0.0]})


def test_a_summary_counts_every_claim_once_and_links_to_those_on_the_page():
    untestable = Claim("odd", "S", "F", "p", not_testable="why")
    states = [state_of(CLAIM, record_of(CLAIM, [2.0]), "ci", []), state_of(untestable, None, "ci", [])]
    states.append(state_of(Claim("far", "S", "F", "p", reproduced=Band(0.0), only=("laptop",)), None, "ci", ["laptop"]))
    assert summary_text(states) == "1 recorded: gain\n1 not testable: odd\n1 at laptop: far"
    text = summary_html(states)
    assert re.findall(r"<summary>(.*?)</summary>", text) == ["1 recorded", "1 not testable", "1 at laptop"]
    assert re.findall(r'href="(.*?)"', text) == ["#claim-gain"]


def test_a_verdict_of_nothing_is_not_measured():
    assert standing(CLAIM, {}) == Verdict("not measured")
