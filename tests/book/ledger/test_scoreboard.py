"""The scoreboard lists every claim with one verdict and where it was measured, and its counts add up."""

import json
import re

import pytest
from test_stored_runs import book, run, stored  # noqa: F401  (fixtures)

from ctlib.book.ledger import scoreboard
from ctlib.book.ledger.stored_runs import digest
from ctlib.book.ledger.verdicts import judge
from ctlib.book.page.output import CLAIM_MIME


def executed(records, preset="ci"):
    outputs = [{"data": {CLAIM_MIME: {"id": name, **r}}, "metadata": {}} for name, r in records.items()]
    return {"metadata": {"ctlib": {"preset": preset}}, "cells": [{"cell_type": "code", "outputs": outputs}]}


@pytest.fixture
def text(book, run):  # noqa: F811
    run["claims"].pop("loss")
    stored(book, run | {"digest": digest(run)})
    extra = "- {id: readers, statement: <T>, where: Sec. 5, paper: 3 of 5, not_testable: needs readers}\n"
    path = book / "claims" / "00-demo.yml"
    path.write_text(path.read_text() + extra)
    measured = judge("00-demo", {"gap": [2.0], "loss": [3.0]}, book)
    return scoreboard.page(book, {"00-demo": executed(measured)})


def counts(text, name):
    """{title: number} of one row of the table of counts."""
    head = re.findall(r'<th scope="col">(.*?)</th>', text.split("</thead>")[0])
    row = next(r for r in re.findall(r"<tr>.*?</tr>", text) if name in r)
    cells = re.findall(r"<td>(.*?)</td>", row)
    return {title: int(cell or 0) for title, cell in zip(head[1:], cells, strict=True)}


def claim_rows(text):
    return re.findall(r"<tr data-chapter=.*?</tr>", text)


def test_counts_go_by_the_verdict_of_record_and_add_up(text):
    tally = counts(text, "Demo")
    assert tally == counts(text, "all chapters")
    assert tally.pop("claims") == 3
    assert {k: n for k, n in tally.items() if n} == {"direction only": 1, "not reproduced": 1, "not testable": 1}


def test_every_claim_has_a_row_with_one_verdict_all_values_and_a_link_to_its_cell(text):
    gap, loss, readers = claim_rows(text)
    assert gap.startswith('<tr data-chapter="Demo" data-verdict="direction only">')
    assert [len(re.findall("ctlib-verdict", row)) for row in (gap, loss, readers)] == [1, 1, 1]
    assert gap.index("1.500 [0.5000, 2.500] dB (n = 3)</span> <small>laptop") < gap.index("2 dB</span> ci")
    assert "of record, at <code>laptop</code>" in gap
    assert '<a href="00-demo.html#claim-gap">S</a>' in gap
    assert '<a href="00-demo.html#claim-loss">S</a>' in loss
    assert "&lt;T&gt; <small>(Sec. 5)</small>" in readers
    assert "href" not in readers


def test_recorded_runs_link_to_their_crates(text):
    assert '<a href="../_static/crates/00-demo-laptop.zip">recorded laptop</a> (2026-01-01, CPU, 0.0 h)' in text
    assert '<a href="../_static/ledger.json">' in text


def test_no_claims_file_no_row(tmp_path):
    assert scoreboard.page(tmp_path) == "No chapter has a claims file yet."


def test_recorded_runs_alone_and_json_roundtrip(book, run):  # noqa: F811
    stored(book, run)
    text = scoreboard.page(book)
    assert counts(text, "Demo")["not measured"] == 0
    assert counts(text, "Demo")["reproduced"] == 1
    assert not any("href" in row for row in claim_rows(text))
    assert json.loads(json.dumps(run)) == run
