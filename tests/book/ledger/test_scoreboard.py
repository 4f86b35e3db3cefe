"""The scoreboard lists every claim, every run and every verdict, and its counts add up."""

import json

import pytest
from test_stored_runs import book, run, stored  # noqa: F401  (fixtures)

from ctlib.book.ledger import scoreboard
from ctlib.book.ledger.verdicts import judge
from ctlib.book.page.output import CLAIM_MIME


def executed(records, preset="ci"):
    outputs = [{"data": {CLAIM_MIME: {"id": name, **r}}, "metadata": {}} for name, r in records.items()]
    return {"metadata": {"ctlib": {"preset": preset}}, "cells": [{"cell_type": "code", "outputs": outputs}]}


@pytest.fixture
def text(book, run):  # noqa: F811
    stored(book, run)
    extra = "- {id: readers, statement: T, where: Sec. 5, paper: 3 of 5, not_testable: needs readers}\n"
    path = book / "claims" / "00-demo.yml"
    path.write_text(path.read_text() + extra)
    return scoreboard.page(book, {"00-demo": executed(judge("00-demo", {"gap": [2.0]}, book))})


def rows(text, start):
    return [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith(start)]


def test_counts_of_each_run_add_up(text):
    built, laptop = rows(text, "| {doc}`00-demo`")
    assert built[1:] == ["this build (`ci`)", "1", "0", "0", "0", "0", "1", "0", "1", "3"]
    assert laptop[1:] == ["recorded `laptop`", "1", "1", "0", "0", "0", "1", "0", "0", "3"]


def test_every_claim_has_a_row_with_every_run(text):
    claims = rows(text, "| S (") + rows(text, "| T (")
    assert [c[0] for c in claims] == ["S (Fig. 2)", "S (Fig. 3)", "T (Sec. 5)"]
    assert "ctlib-reproduced" in claims[0][2]
    assert "ctlib-direction-only" in claims[0][3]
    assert claims[1][2] == "not measured"
    assert "ctlib-not-testable" in claims[2][2]
    assert claims[2][4] == "Not testable: needs readers"


def test_no_claims_file_no_row(tmp_path):
    assert scoreboard.page(tmp_path) == "No chapter has a claims file yet."


def test_recorded_runs_alone_and_json_roundtrip(book, run):  # noqa: F811
    stored(book, run)
    (built, laptop) = rows(scoreboard.page(book), "| {doc}`00-demo`")
    assert built[1:] == ["this build (`ci`)", *"00000002", "2"]
    assert laptop[2:4] == ["1", "1"]
    assert json.loads(json.dumps(run)) == run
