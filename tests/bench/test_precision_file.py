"""Precision runs of single networks come together in one file, which tells who wrote it."""

import argparse
import json

import precision
import pytest
import report

from ctlib.book.ledger.benchmark import recorded_precision
from ctlib.errors import ArgumentError, DataError


def pair(network, steps, difference=-0.1):
    labels = {"image": "8 x 8", "steps": steps, "device": "cpu", "threads": 1, "batch": 1}
    run = lambda seed, precision: (20.0 + seed + (difference if precision == "bf16" else 0.0), 4.0)  # noqa: E731
    return precision.rows(network, 1000, run, 2, labels)


@pytest.fixture
def out(tmp_path):
    path = tmp_path / "results" / "bench" / "precision.json"
    precision.write(path, pair("prior", 30) + pair("U-Net", 40))
    return path


def test_rows_of_other_networks_stay_and_those_of_the_same_are_replaced_where_they_were(out, tmp_path):
    precision.write(out, pair("prior", 600, -2.0))
    assert [(r["network"], r["precision"], r["steps"]) for r in precision.stored(out)] == [
        ("prior", "float32", 600),
        ("prior", "bf16", 600),
        ("U-Net", "float32", 40),
        ("U-Net", "bf16", 40),
    ]
    shown = str(recorded_precision(tmp_path)).splitlines()
    assert [line.split()[0] for line in shown[2:]] == ["prior", "U-Net"]
    assert "600 steps, batch 1, 8 x 8, 2 seeds" in shown[2]
    assert shown[2].endswith("20.50 ± 0.71                −2.00  outside the spread")
    assert shown[3].endswith("within the spread")


def test_rows_of_another_file_are_taken_without_measuring(out, tmp_path, monkeypatch, capsys):
    precision.write(tmp_path / "other.json", pair("prior", 600))
    monkeypatch.setattr(precision, "cases", lambda quick: pytest.fail("measured"))
    precision.main(argparse.Namespace(out=out, take=tmp_path / "other.json"))
    assert [r["steps"] for r in precision.stored(out)] == [600, 600, 40, 40]
    assert len(capsys.readouterr().out.splitlines()) == 3
    with pytest.raises(DataError, match="missing"):
        precision.main(argparse.Namespace(out=out, take=tmp_path / "missing.json"))


@pytest.mark.parametrize("field", ["digest", "versions", "JSON"])
def test_a_file_of_another_machine_or_hand_is_refused_before_any_work_and_stays(out, field, monkeypatch):
    run = json.loads(out.read_text())
    if field == "versions":
        monkeypatch.setattr(report, "versions", lambda: {"torch": "1"})
    elif field == "digest":
        run["records"][0]["step_ms"] = 1.0
    out.write_text("{" if field == "JSON" else json.dumps(run))
    before = out.read_bytes()
    monkeypatch.setattr(precision, "cases", lambda quick: pytest.fail("measured"))
    with pytest.raises(DataError) as caught:
        precision.main(argparse.Namespace(out=out, take=None))
    assert caught.value.field == field
    assert out.read_bytes() == before


@pytest.mark.parametrize(("option", "value"), [("only", "GAN"), ("seeds", 1)])
def test_what_could_only_fail_later_is_refused_at_once(tmp_path, option, value):
    given = {"out": tmp_path / "a.json", "take": None, "quick": False, "size": 8, "steps": 1, "seeds": 2}
    options = argparse.Namespace(**{**given, "threads": 1, "only": "", option: value})
    with pytest.raises(ArgumentError, match=f"--{option}"):
        precision.main(options)


def test_nothing_recorded_yet_is_said(tmp_path):
    assert str(recorded_precision(tmp_path)).split() == ["network", "not", "yet", "measured"]
