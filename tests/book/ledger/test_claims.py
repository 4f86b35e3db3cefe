"""The ledger: claims files are validated, verdicts follow from the values, verify raises exactly when it must."""

import json
import math
import re
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctlib.book.ledger import claims, verdicts
from ctlib.book.ledger.claimfile import BOOK, Band, Claim, read_book, read_claims
from ctlib.book.page import output
from ctlib.book.page.tables import digits, measured
from ctlib.errors import ArgumentError, DataError

GOOD = """\
chapter: 00-demo
paper: key2020
claims:
- id: gap
  statement: "Noise is fitted later, $|a| < |b|$"
  where: Fig. 2
  paper: the text says so
  quantity: smallest gap
  unit: dB
  reproduced: {min: 1.0}
  direction: {min: 0.0}
  reason: spread over seeds is 0.1 dB
  expect: [reproduced, direction only]
- id: readers
  statement: Radiologists prefer it
  where: Sec. 5
  paper: 3 of 5
  not_testable: needs readers
"""


def written(folder, text=GOOD, slug="00-demo"):
    (folder / "claims").mkdir(exist_ok=True)
    path = folder / "claims" / f"{slug}.yml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.delenv("CTLIB_PRESET", raising=False)
    written(tmp_path)
    return claims.Ledger("00-demo", tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("  unit: dB\n", "  unit: dB\n  color: red\n", "gap.color"),
        ("  unit: dB\n", "  unit: dB\n  unit: HU\n", "unit"),
        ("  reason: spread over seeds is 0.1 dB\n", "", "gap.reason"),
        ("  reason: spread over seeds is 0.1 dB\n", "  reason: ''\n", "gap.reason"),
        ("id: readers", "id: gap", "gap.id"),
        ("{min: 1.0}", "{min: 3, max: 2}", "gap.reproduced"),
        ("{min: 1.0}", "{low: 3}", "gap.reproduced"),
        ("{min: 1.0}", "{}", "gap.reproduced"),
        ("{min: 1.0}", "{min: .nan}", "gap.reproduced"),
        ("{min: 1.0}", "'>= 1'", "gap.reproduced"),
        ("{min: 0.0}", "{min: 2.0}", "gap.direction"),
        ("expect: [reproduced, direction only]", "expect: perfect", "gap.expect"),
        ("  expect:", "  only: laptop\n  expect:", "gap.only"),
        ("  expect:", "  only: []\n  expect:", "gap.only"),
        ("  expect:", "  only: [laptop, night]\n  expect:", "gap.only"),
        ("  expect:", "  needs: night\n  expect:", "gap.needs"),
        ("  expect:", "  needs: paper\n  only: [ci, laptop]\n  expect:", "gap.needs"),
        ("expect: [reproduced, direction only]", "expect: 1", "gap.expect"),
        ("expect: [reproduced, direction only]", "expect:", "gap.expect"),
        ("expect: [reproduced, direction only]", "expect: [[reproduced]]", "gap.expect"),
        ("{min: 1.0}", "{min: true}", "gap.reproduced"),
        ("  expect:", "  settles: {share: 0.2, window: 3.0}\n  expect:", "gap.settles.window"),
        ("  expect:", "  settles: {share: 0.2, neutral: .inf}\n  expect:", "gap.settles.neutral"),
        (
            "  reproduced: {min: 1.0}\n  direction: {min: 0.0}\n",
            "  equivalence: {margin: .inf}\n",
            "gap.equivalence.margin",
        ),
        ("  expect:", "  interval: yes please\n  expect:", "gap.interval"),
        ("  expect:", "  interval: false\n  expect:", "gap.interval"),
        ("  expect:", "  interval: true\n  expect:", "gap.interval"),
        (
            "  reproduced: {min: 1.0}\n  direction: {min: 0.0}\n",
            "  equivalence: {margin: 1}\n  interval: true\n",
            "gap.interval",
        ),
        ("  expect:", "  settles: 0.25\n  expect:", "gap.settles"),
        ("  expect:", "  settles: {neutral: 0}\n  expect:", "gap.settles"),
        ("  expect:", "  settles: {share: 0}\n  expect:", "gap.settles.share"),
        ("  expect:", "  settles: {within: 0}\n  expect:", "gap.settles.within"),
        ("  expect:", "  settles: {within: 0.1, share: 0.2}\n  expect:", "gap.settles"),
        ("  expect:", "  settles: {share: 0.2, better: more}\n  expect:", "gap.settles.better"),
        ("  expect:", "  settles: {share: 0.2, window: 4}\n  expect:", "gap.settles.window"),
        ("  expect:", "  erratum: a square is missing\n  expect:", "gap.erratum"),
        ("  expect:", "  equivalence: {margin: 1}\n  expect:", "gap.reproduced"),
        (
            "  reproduced: {min: 1.0}\n  direction: {min: 0.0}\n",
            "  equivalence: {margin: 0}\n",
            "gap.equivalence.margin",
        ),
        ("  reproduced: {min: 1.0}\n  direction: {min: 0.0}\n", "  equivalence: {level: 0.1}\n", "gap.equivalence"),
        ("  reproduced: {min: 1.0}\n  direction: {min: 0.0}\n", "", "gap.reproduced"),
        ("chapter: 00-demo", "chapter: 01-other", "chapter"),
        ("paper: key2020\n", "", "top level"),
        ("- id: gap\n", "- name: gap\n", "claims[0].id"),
        ("needs readers", "needs: [readers", "YAML"),
    ],
)
def test_bad_claims_files_raise_one_typed_error_that_names_the_field(tmp_path, old, new, field):
    path = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(DataError) as error:
        read_claims(path)
    assert error.value.field == field
    assert "00-demo.yml" in str(error.value)


def test_missing_file_and_ids_used_twice_in_the_book(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        claims.Ledger("00-none", tmp_path)
    written(tmp_path)
    written(tmp_path, GOOD.replace("00-demo", "01-more"), "01-more")
    with pytest.raises(DataError, match=r"already used in 00-demo\.yml"):
        read_book(tmp_path)


def test_every_claims_file_of_the_book_is_valid_and_belongs_to_a_chapter():
    for slug in read_book(BOOK):
        assert (BOOK / f"{slug}.md").is_file()


@settings(deadline=None, max_examples=200)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=7), st.floats(-10, 10), st.floats(0, 10), st.floats(0, 10))
def test_verdict_is_what_its_definition_says(values, low, width, margin):
    inner, outer = Band(low, low + width), Band(low - margin, low + width + margin)
    verdict = Claim("x", "", "", "", reproduced=inner, direction=outer).verdict(values)
    inside = all(low <= v <= low + width for v in values)
    median_inside = outer.low <= statistics.median(values) <= outer.high
    assert verdict == ("reproduced" if inside else "direction only" if median_inside else "not reproduced")
    assert Claim("x", "", "", "", reproduced=inner, direction=outer).verdict(values[::-1]) == verdict


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_values_are_not_reproduced_flagged_and_survive_json(ledger, bad, capsys):
    ledger.check("gap", [5.0, bad])
    assert ledger.verdict("gap") == "not reproduced"
    assert f"gap: not finite: 5, {bad}  not reproduced" in capsys.readouterr().out
    again = json.loads(json.dumps(ledger.records["gap"], allow_nan=False))
    assert verdicts.judge("00-demo", {"gap": again["values"]}, ledger.book)["gap"] == ledger.records["gap"]


@pytest.mark.parametrize(
    "values",
    [2.0, np.float32(2.0), torch.tensor(2.0), [2.0], torch.tensor([2.0]), [torch.tensor(2.0)], np.array([2.0])],
)
def test_check_takes_a_number_or_a_series_of_any_kind(ledger, values):
    ledger.check("gap", values)
    expected = {"values": [2.0], "median": 2.0, "min": 2.0, "max": 2.0, "verdict": "reproduced"}
    assert ledger.records["gap"] == expected


@pytest.mark.parametrize(("name", "values"), [("gap", []), ("gap", "many"), ("gpa", 1.0), ("readers", 1.0)])
def test_check_refuses_unknown_claims_and_what_is_no_number(ledger, name, values):
    with pytest.raises(ArgumentError):
        ledger.check(name, values)


def test_check_prints_digits_and_tells_the_collector(ledger, capsys):
    token = output.COLLECTOR.set(output.Collector())
    try:
        ledger.check("gap", [1.25, 0.75, 1.5])
        collected = output.COLLECTOR.get().claims
    finally:
        output.COLLECTOR.reset(token)
    assert capsys.readouterr().out == "gap: 1.250 [0.7500, 1.500] dB (n = 3)  direction only\n"
    assert collected == {"gap": ledger.records["gap"]}


def test_check_leaves_its_record_in_the_notebook(ledger, monkeypatch):
    shown = []
    monkeypatch.setattr(output, "in_kernel", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda data, **kw: shown.append((data, kw)))
    ledger.check("gap", 2.0)
    (bundle, options) = shown[0]
    assert options["raw"] is True
    assert bundle["text/plain"] == "gap: 2 dB  reproduced"
    assert 'id="claim-gap"' in bundle["text/html"]
    cell = {
        "cell_type": "code",
        "outputs": [{"output_type": "display_data", "data": bundle, "metadata": {}}],
        "metadata": {},
    }
    nb = {"cells": [{"cell_type": "markdown"}, cell]}
    assert claims.from_notebook(nb) == ledger.records
    output.for_page(nb)
    assert sorted(cell["outputs"][0]["data"]) == ["text/html", "text/plain"]


def test_verify_prints_the_same_text_for_other_digits(ledger, capsys):
    texts = []
    for value in (1.5, 97.31):
        ledger.check("gap", value)
        capsys.readouterr()
        ledger.verify()
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] == "1 holds: gap\n1 not testable: readers\n"


@pytest.mark.parametrize(("preset", "raises"), [(None, True), ("ci", True), ("laptop", False), ("custom", False)])
def test_broken_expectations_raise_at_preset_ci_only(tmp_path, monkeypatch, capsys, preset, raises):
    monkeypatch.setenv("CTLIB_PRESET", preset or "")
    written(tmp_path)
    ledger = claims.Ledger("00-demo", tmp_path)
    ledger.check("gap", -3.0)
    if raises:
        with pytest.raises(claims.ClaimFailed, match="gap: not reproduced, expected reproduced or direction only"):
            ledger.verify()
    else:
        ledger.verify()
    assert "1 FAILS: gap\n" in capsys.readouterr().out


def test_a_claim_without_measurement_raises(ledger):
    with pytest.raises(claims.ClaimFailed, match="gap: not measured"):
        ledger.verify()


EXPECTED = {5.0: "holds", 0.5: "holds", -3.0: "FAILS"}  # reproduced, direction only, not reproduced


@pytest.mark.parametrize("only", [None, ["ci"], ["laptop"], ["laptop", "paper"], ["ci", "laptop"]])
@pytest.mark.parametrize("recorded_at", [(), ("laptop",), ("paper",), ("ci",), ("laptop", "paper")])
@pytest.mark.parametrize("preset", ["ci", "laptop", "custom"])
@pytest.mark.parametrize("value", [None, *EXPECTED])
@pytest.mark.parametrize("asked", [True, False])
def test_the_rules_of_verify(tmp_path, monkeypatch, capsys, only, recorded_at, preset, value, asked):
    """Every case of: which presets measure a claim, where it is recorded, what runs now, what was measured."""
    monkeypatch.setenv("CTLIB_PRESET", preset)
    monkeypatch.setattr(claims, "read_runs", lambda slug, book: {p: {"claims": {"gap": {}}} for p in recorded_at})
    text = GOOD if asked else GOOD.replace("  expect: [reproduced, direction only]\n", "")
    written(tmp_path, text if only is None else text.replace("  reason:", f"  only: [{', '.join(only)}]\n  reason:"))
    ledger = claims.Ledger("00-demo", tmp_path)
    if value is not None:
        ledger.check("gap", value)
    measuring = only or ["ci", "laptop", "paper"]
    if value is not None:
        state = EXPECTED[value] if asked else "recorded"
    elif preset not in measuring and set(recorded_at) & set(measuring):
        state = f"at {', '.join(measuring)}"
    else:
        state = "not measured"
    if preset == "ci" and state in ("FAILS", "not measured"):
        with pytest.raises(claims.ClaimFailed, match=r"00-demo: gap: (not measured|not reproduced, expected)"):
            ledger.verify()
    else:
        ledger.verify()
    assert f"1 {state}: gap\n" in capsys.readouterr().out


def test_a_record_without_the_claim_is_no_measurement_of_it(tmp_path, monkeypatch):
    """The preset was recorded before the claim was written."""
    monkeypatch.setenv("CTLIB_PRESET", "ci")
    monkeypatch.setattr(claims, "read_runs", lambda slug, book: {"laptop": {"claims": {"other": {}}}})
    written(tmp_path, GOOD.replace("  reason:", "  only: [laptop]\n  reason:"))
    with pytest.raises(claims.ClaimFailed, match="gap: not measured"):
        claims.Ledger("00-demo", tmp_path).verify()


def test_table_shows_paper_value_spread_criterion_reason_and_one_verdict(ledger):
    ledger.check("gap", [1.25, 0.75, 1.5])
    text = ledger.table()._repr_html_()
    titles = re.findall(r'<th scope="col">(.*?)</th>', text)
    assert titles == ["claim", "paper", "this page (ci)", "verdict"]
    gap, readers = re.findall(r"<tr><th scope=\"row\">.*?</tr>", text)
    assert "Noise is fitted later, $|a| &lt; |b|$ <small>(Fig. 2)</small>" in gap
    assert "1.250 [0.7500, 1.500] dB (n = 3)" in gap
    assert gap.count("ctlib-verdict") == gap.count("ctlib-direction-only") == 1
    assert "smallest gap: ≥ 1. Spread over seeds is 0.1 dB." in gap
    assert "Not testable: needs readers." in readers
    line = "gap: paper the text says so; this page (ci) 1.250 [0.7500, 1.500] dB (n = 3); direction only"
    assert repr(ledger.table()).splitlines()[0] == line


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (3.0, "3"), (31.2671, "31.27"), (-0.0123456, "-0.01235"), (1.2e-7, "1.200e-07"), (123456.7, "123457")],
)
def test_digits(value, text):
    assert digits(value) == text
    assert measured({"values": [1], "median": value}, "HU") == f"{text} HU"


def test_without_pyyaml_values_are_recorded_and_judged_later(tmp_path, monkeypatch, capsys):
    written(tmp_path)

    def no_yaml(path):
        raise ImportError("yaml")

    monkeypatch.setattr(claims, "read_claims", no_yaml)
    ledger = claims.Ledger("00-demo", tmp_path)
    ledger.check("gap", [2.0, 3.0])
    ledger.verify()
    assert "1 claims recorded; verdicts need PyYAML" in capsys.readouterr().out
    assert ledger.records["gap"]["verdict"] is None
    monkeypatch.undo()
    assert verdicts.judge("00-demo", {"gap": [2.0, 3.0]}, tmp_path)["gap"]["verdict"] == "reproduced"
    with pytest.raises(ArgumentError):
        verdicts.judge("00-demo", {"gpa": [2.0]}, tmp_path)
