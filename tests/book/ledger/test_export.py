"""The ledger for other programs: JSON that obeys the schema; crates that hold what a recorded run does."""

import copy
import io
import json
import zipfile

import jsonschema
import pytest
from rocrate.rocrate import ROCrate
from test_kept import TRAINED
from test_scoreboard import executed
from test_stored_runs import CLAIMS, PNG, book, run, stored  # noqa: F401  (fixtures)

from ctlib.book.ledger import of_record
from ctlib.book.ledger.claimfile import BOOK
from ctlib.book.ledger.collected import ledgers
from ctlib.book.ledger.crates import crates
from ctlib.book.ledger.export import exported
from ctlib.book.ledger.stored_runs import digest
from ctlib.book.ledger.verdicts import judge_again

SCHEMA = jsonschema.Draft202012Validator(json.loads((BOOK / "_static" / "ledger.schema.json").read_text()))
STEPS = [1, 2, 3, 4, 5, 6]


@pytest.fixture
def chapters(book, run):  # noqa: F811
    """One chapter: a recorded run with every kind of claim, and a build that measured two of them."""
    path = book / "claims" / "00-demo.yml"
    path.write_text(CLAIMS + TRAINED + "- {id: r, statement: T, where: S, paper: p, not_testable: why}\n")
    records = {
        "gap": {"values": [1.5, float("nan")]},
        "beats": {"values": [2.0], "curves": {"ours, 0": {"steps": STEPS, "values": STEPS}}},
        "alike": {"values": [0.0], "rows": {"a": [0.1, -0.1]}},
        "printed": {"values": [3.0]},
        "leads": {"values": [-0.25, 0.5, 1.0]},
    }
    run["claims"] = judge_again("00-demo", records, "laptop", book)
    kept = {"values": [1.0], "median": 1.0, "min": 1.0, "max": 1.0, "unit": "HU"}
    run |= {"kept": {"noise": kept}, "curves": {"loss": {"steps": STEPS, "values": STEPS, "unit": ""}}}
    run |= {"said": {"It is so.": 0}}
    stored(book, run | {"digest": digest(run)})
    built = judge_again("00-demo", {"gap": {"values": [3.0]}, "loss": {"values": [0.5]}}, "ci", book)
    return ledgers(book, {"00-demo": executed(built)})


def test_the_export_obeys_the_schema_and_says_which_verdict_counts(chapters):
    found = json.loads(json.dumps(exported(chapters), allow_nan=False))
    SCHEMA.validate(found)
    (chapter,) = found["chapters"]
    claims = {c["id"]: c for c in chapter["claims"]}
    verdicts = {name: tuple(c["of_record"].values()) for name, c in claims.items()}
    assert verdicts == {
        "gap": ("not reproduced", "laptop"),
        "loss": ("reproduced", "ci"),
        "beats": ("unsettled", "laptop"),
        "alike": ("unsettled", "laptop"),
        "printed": ("erratum", "laptop"),
        "leads": ("unsettled", "laptop"),
        "r": ("not testable",),
    }
    assert claims["gap"]["measured"]["laptop"]["values"] == [1.5, "nan"]
    assert claims["gap"]["measured"]["ci"]["verdict"] == "reproduced"
    assert claims["beats"]["measured"]["laptop"]["plateau"] == {"allowed": 0.5, "gains": {"ours, 0": 2.0}}
    assert claims["alike"]["measured"]["laptop"]["p_values"]["a"] == pytest.approx(0.0628, abs=1e-4)
    assert claims["leads"]["interval"] is claims["leads"]["measured"]["laptop"]["interval"] is True
    assert "interval" not in claims["gap"]
    assert [r["source"] for r in chapter["runs"]] == ["this build", "recorded"]
    assert chapter["runs"][1]["said"] == ["It is so."]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda e: e.pop("verdicts"),
        lambda e: e["chapters"][0].update(color="red"),
        lambda e: e["chapters"][0]["claims"][0]["of_record"].update(verdict="perfect"),
        lambda e: e["chapters"][0]["claims"][0]["measured"]["laptop"].pop("median"),
        lambda e: e["chapters"][0]["claims"][0]["measured"]["laptop"].update(values=[]),
        lambda e: e["chapters"][0]["claims"][0].update(measured={"night": {}}),
        lambda e: e["chapters"][0]["claims"][0].pop("reproduced"),
        lambda e: e["chapters"][0]["runs"][0].update(date="today"),
    ],
)
def test_the_schema_refuses_what_it_does_not_describe(chapters, spoil):
    found = copy.deepcopy(json.loads(json.dumps(exported(chapters))))
    spoil(found)
    assert not SCHEMA.is_valid(found)


def test_the_ledger_of_this_book_obeys_the_schema():
    SCHEMA.validate(json.loads(json.dumps(exported(ledgers(BOOK)), allow_nan=False)))


def test_a_crate_holds_the_run_and_says_what_made_it(chapters, book, tmp_path):  # noqa: F811
    packed = crates(chapters, book)
    assert list(packed) == ["crates/00-demo-laptop.zip"]
    assert crates(chapters, book) == packed  # the same bytes
    with zipfile.ZipFile(io.BytesIO(packed["crates/00-demo-laptop.zip"])) as archive:
        archive.extractall(tmp_path / "crate")
    files = {p.name for p in (tmp_path / "crate").iterdir()}
    assert files == {"ro-crate-metadata.json", "00-demo.json", "claims.yml", "00-demo-map.png"}
    assert (tmp_path / "crate" / "00-demo-map.png").read_bytes() == PNG
    crate = ROCrate(tmp_path / "crate")  # as a reader of any crate sees it
    assert {e.id for e in crate.data_entities} == files - {"ro-crate-metadata.json"}
    action = crate.dereference("#run")
    assert action["instrument"]["version"] == "0123456789abcdef"
    assert {e["name"]: e["value"] for e in action["object"] if e.type == "PropertyValue"} == {"n": 64}
    assert "00-demo.json" in {e.id for e in action["result"]}
    beats = crate.dereference("#claim-beats")
    assert (beats["value"], beats["unitText"]) == (2.0, "dB")
    assert beats["description"].endswith("2 dB: unsettled.")
    assert beats in crate.root_dataset["variableMeasured"]
    assert "temp" not in json.dumps(crate.metadata.generate())


def test_the_verdict_of_record_is_that_of_the_largest_preset(chapters, book):  # noqa: F811
    page = {"gap": {"values": [3.0]}, "loss": {"values": [0.5]}}
    found = of_record("00-demo", book, page)
    assert (found["gap"].verdict, found["gap"].preset) == ("not reproduced", "laptop")
    assert (found["loss"].verdict, found["loss"].preset) == ("reproduced", "ci")
    assert of_record("00-demo", book)["loss"].verdict == "not measured"
    reference = book.parent / "tests" / "reference" / "00-demo.ipynb"
    reference.parent.mkdir(parents=True)
    reference.write_text(json.dumps({"metadata": {"ctlib": {"claims": page}}, "cells": []}))
    assert of_record("00-demo", book) == found
