"""The recorded benchmark: tables and slopes from its JSON; a damaged or edited file is refused."""

import json

import pytest

from ctlib.book.ledger.benchmark import recorded_benchmark
from ctlib.book.ledger.stored_runs import digest
from ctlib.book.project import ROOT
from ctlib.errors import ArgumentError, DataError


def records():
    time = {"low_ms": 1.0, "high_ms": 9.0, "rounds": 3, "geometry": "g", "threads": 2}
    rows = [
        {"case": "A", "engine": e, "batch": b, "median_ms": ms * b, "ratio": ms / 2, **time}
        for e, ms in (("ctlib auto", 2.0), ("peer", 30.0))
        for b in (1, 16)
        if (e, b) != ("peer", 16)
    ]
    sizes = {"case": "scaling A", "engine": "ctlib auto", "quantity": "size", "batch": 1, "ratio": 1.0, **time}
    rows += [sizes | {"size": n, "median_ms": 1e-5 * n**3} for n in (512, 128, 256)]
    rows.append({"case": "memory", "geometry": "g", "engine": "peer", "batch": 1, "peak_mib": 12.3})
    errors = {"relative_error": 0.00731, "adjoint_error_positive": 1e-9, "adjoint_error_random": 2e-9}
    return [*rows, {"case": "accuracy", "geometry": "g", "engine": "peer", **errors}]


@pytest.fixture
def book(tmp_path):
    run = {
        "machine": {"cpu": "A processor", "cores": 2}, "versions": {"torch": "2"}, "date": "2026-01-01",
        "gpu": "not yet measured", "notes": [], "records": records(),
    }  # fmt: skip
    (tmp_path / "results" / "bench").mkdir(parents=True)
    (tmp_path / "results" / "bench" / "cpu.json").write_text(json.dumps(run | {"digest": digest(run)}))
    return tmp_path


def test_tables_hold_every_engine_and_batch(book):
    bench = recorded_benchmark("cpu", book)
    table = bench.times("A", "g")
    assert table.head == ["A [ms]", "batch 1", "batch 16"]
    assert table.rows == [["ctlib auto", "2 (1.0 x)", "32 (1.0 x)"], ["peer", "30 (15.0 x)", ""]]
    assert bench.accuracy("g").rows == [["peer", "0.007310", "1e-09", "2e-09", "12", ""]]
    assert "A processor, 2 cores; torch 2" in repr(bench)


def test_a_slope_is_the_power_of_the_growth(book):
    x, ms, slope = recorded_benchmark("cpu", book).scaling("scaling A", "size", "g")
    assert list(x) == [128, 256, 512]
    assert ms[1] == pytest.approx(8 * ms[0])
    assert slope == pytest.approx(3)


def test_labels_nothing_has_are_an_error(book):
    with pytest.raises(ArgumentError, match="labels"):
        recorded_benchmark("cpu", book).times("A", "other")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text[:-20], "JSON"),
        (lambda text: text.replace('"records"', '"rows"'), "records"),
        (lambda text: text.replace("30.0", "3.0"), "digest"),
    ],
)
def test_a_damaged_or_edited_file_is_refused(book, change, says):
    path = book / "results" / "bench" / "cpu.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=says):
        recorded_benchmark("cpu", book)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cpu\.json"):
        recorded_benchmark("cpu", tmp_path)


@pytest.mark.parametrize("path", sorted((ROOT / "book" / "results" / "bench").glob("*.json")), ids=lambda p: p.stem)
def test_the_recorded_benchmarks_are_as_they_were_written(path):
    benchmark = recorded_benchmark(path.stem)
    assert benchmark.rows(case=benchmark.run["records"][0]["case"])
