"""Recorded runs are shown as recorded; an edited number, digest or figure is refused by name of file and field."""

import copy
import hashlib
import json
import re
from functools import cache

import pytest

from ctlib.book import Ledger
from ctlib.book.ledger import stored_runs, verdicts
from ctlib.book.ledger.claimfile import BOOK
from ctlib.book.ledger.staleness import sources_sha256
from ctlib.book.project import Project, UsageError
from ctlib.errors import DataError

CLAIMS = """\
chapter: 00-demo
paper: key2020
claims:
- {id: gap, statement: S, where: Fig. 2, paper: "yes", quantity: smallest gap, unit: dB,
   reproduced: {min: 1.0}, direction: {min: 0.0}, reason: R}
- {id: loss, statement: S, where: Fig. 3, paper: "yes", quantity: loss, unit: "1", reproduced: {max: 1.0}, reason: R}
"""
CHAPTER = "---\n---\n# Demo\n\n```{code-cell} ipython3\nfrom ctlib import errors\n```\n"
PNG = b"\x89PNG not really"


def stored(book, run, preset="laptop"):
    path = book / "results" / preset / "00-demo.json"
    path.write_text(json.dumps(run), encoding="utf-8")
    return path


@pytest.fixture
def book(tmp_path):
    book = tmp_path / "book"
    (book / "claims").mkdir(parents=True)
    (book / "results" / "laptop").mkdir(parents=True)
    (book / "claims" / "00-demo.yml").write_text(CLAIMS)
    (book / "00-demo.md").write_text(CHAPTER)
    (book / "results" / "laptop" / "00-demo-map.png").write_bytes(PNG)
    return book


@pytest.fixture
def run(book):
    figure = {"file": "00-demo-map.png", "sha256": hashlib.sha256(PNG).hexdigest(), "alt": 'A map with "<quotes>"'}
    run = {
        "slug": "00-demo",
        "preset": "laptop",
        "parameters": {"n": 64},
        "claims": verdicts.judge("00-demo", {"gap": [1.5, 0.5, 2.5], "loss": [0.25]}, book),
        "figures": {"map": figure},
        "commit": "0123456789abcdef",
        "sources_sha256": sources_sha256("00-demo", Project(root=book.parent)),
        "device": "CPU",
        "machine": "Linux x86_64, <b>2 cores</b>",
        "versions": {"torch": "2.13.0"},
        "date": "2026-01-01",
        "seconds": 12.5,
    }
    return run | {"digest": stored_runs.digest(run)}


def numbers_in(node, path=()):
    """Path of every number and verdict below a node of parsed JSON."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        if isinstance(value, (int, float)) or key == "verdict":
            yield (*path, key)
        yield from numbers_in(value, (*path, key))


def edited(run, path):
    run = copy.deepcopy(run)
    node = run
    for key in path[:-1]:
        node = node[key]
    old = node[path[-1]]
    node[path[-1]] = (
        ("not reproduced" if old != "not reproduced" else "reproduced") if isinstance(old, str) else old + 1
    )
    return run


def assert_every_edit_fails(run, book, preset):
    paths = list(numbers_in(run))
    assert len(paths) >= 5
    for path in paths:
        with pytest.raises(DataError) as error:
            stored_runs.read_run(stored(book, edited(run, path), preset), book)
        named = error.value.field.removeprefix("claims.")
        assert named == "digest" or named.split(".")[0] == path[1]


def test_every_edited_number_and_verdict_fails_and_claims_are_named(book, run):
    assert stored_runs.read_run(stored(book, run), book)["claims"] == run["claims"]
    assert_every_edit_fails(run, book, "laptop")
    with pytest.raises(DataError, match=r"00-demo\.json: claims\.gap\.median: is 2\.5, the values give 1\.5"):
        stored_runs.read_run(stored(book, edited(run, ("claims", "gap", "median"))), book)


def test_an_edit_of_every_recorded_result_of_this_book_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_runs, "read_claims", cache(stored_runs.read_claims))  # parsed once, not for every edit
    paths = [p for preset in ("ci", "laptop", "paper") for p in sorted((BOOK / "results" / preset).glob("*.json"))]
    for path in paths:
        run = stored_runs.read_run(path, BOOK)  # as committed, it is valid
        raw = json.loads(path.read_text(encoding="utf-8"))
        copy_of = tmp_path / "results" / path.parent.name / path.name
        copy_of.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "claims").mkdir(exist_ok=True)
        name = f"{run['slug']}.yml"
        (tmp_path / "claims" / name).write_bytes((BOOK / "claims" / name).read_bytes())
        of_each = {where[:2]: where for where in numbers_in(raw)}  # one of every claim, quantity and curve
        for where in of_each.values():
            copy_of.write_text(json.dumps(edited(raw, where)), encoding="utf-8")
            with pytest.raises(DataError) as error:
                stored_runs.read_run(copy_of, tmp_path)
            late = error.value.field.startswith("figures")  # the pictures are not copied
            assert not late, where
    assert {p.name for p in (BOOK / "results").iterdir()} <= {"bench", "ci", "laptop", "paper"}


@pytest.mark.parametrize("field", sorted(stored_runs.FIELDS))
def test_missing_fields_are_named(book, run, field):
    del run[field]
    with pytest.raises(DataError) as error:
        stored_runs.read_run(stored(book, run), book)
    assert error.value.field == field


def test_broken_json_foreign_place_and_unknown_claims_are_refused(book, run):
    path = stored(book, run)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="JSON"):
        stored_runs.read_run(path, book)
    (book / "results" / "paper").mkdir()
    with pytest.raises(DataError, match="slug, preset"):
        stored_runs.read_run(stored(book, run, "paper"), book)
    run["claims"]["invented"] = run["claims"]["gap"]
    with pytest.raises(DataError, match=r"claims\.invented"):
        stored_runs.read_run(stored(book, run), book)


def test_an_exchanged_figure_is_refused(book, run):
    path = stored(book, run)
    (book / "results" / "laptop" / "00-demo-map.png").write_bytes(PNG + b"!")
    with pytest.raises(DataError, match=r"figures\.map\.file"):
        stored_runs.read_run(path, book)


def test_a_changed_criterion_changes_the_verdict_and_a_dropped_claim_leaves(book, run):
    path = stored(book, run)
    text = CLAIMS.replace("reproduced: {min: 1.0}, direction: {min: 0.0}", "reproduced: {min: 2.0}")
    (book / "claims" / "00-demo.yml").write_text(text.replace("id: loss", "id: other"))
    read = stored_runs.read_run(path, book)["claims"]
    assert list(read) == ["gap"]
    assert run["claims"]["gap"]["verdict"] == "direction only"
    assert read["gap"]["verdict"] == "not reproduced"


def test_page_shows_values_provenance_and_the_figure_escaped(book, run):
    stored(book, run)
    text = stored_runs.recorded("00-demo", "laptop", book)._repr_markdown_()
    assert text.startswith(":::{admonition} Recorded run, preset `laptop`\n:class: note")
    assert text.endswith(":::")
    assert "| smallest gap | 1.500 [0.5000, 2.500] dB (n = 3) |" in text
    assert "2026-01-01, 12 s, CPU, Linux x86_64, &lt;b&gt;2 cores&lt;/b&gt;, commit 0123456789, torch 2.13.0" in text
    assert 'alt="A map with &quot;&lt;quotes&gt;&quot;"' in text
    assert "data:image/png;base64,iVBOR" in text
    assert "The code has not changed since this run" in text


def test_page_says_which_verdicts_count_and_shows_absolute_values(book, run):
    run |= {"kept": {"<noise>": {"values": [12.0], "median": 12.0, "min": 12.0, "max": 12.0, "unit": "HU"}}}
    stored(book, run | {"digest": stored_runs.digest({k: v for k, v in run.items() if k != "digest"})})
    text = stored_runs.recorded("00-demo", "laptop", book)._repr_markdown_()
    assert "| &lt;noise&gt; | 12 HU |" in text
    assert "Verdicts of record" not in text
    (book / "results" / "paper").mkdir()
    (book / "results" / "paper" / "00-demo.json").write_text("{}")
    text = stored_runs.recorded("00-demo", "laptop", book)._repr_markdown_()
    assert "Verdicts of record are those of the preset paper" in text


def test_page_says_when_the_code_has_changed(book, run):
    stored(book, run)
    (book / "00-demo.md").write_text(CHAPTER.replace("errors", "linop"))
    assert (
        "**The code has changed since this run**" in stored_runs.recorded("00-demo", "laptop", book)._repr_markdown_()
    )


def test_no_recorded_run_and_unknown_presets(book):
    nothing = stored_runs.recorded("00-demo", "paper", book)
    assert repr(nothing) == "No paper run of 00-demo is recorded yet."
    assert repr(nothing) in nothing._repr_markdown_()
    with pytest.raises(UsageError):
        stored_runs.recorded("00-demo", "papre", book)


def test_ledger_table_has_a_column_for_each_recorded_preset_and_the_verdict_of_the_largest(book, run):
    stored(book, run)
    ledger = Ledger("00-demo", book)
    ledger.check("gap", 3.0)
    text = ledger.table()._repr_html_()
    assert '<th scope="col">recorded laptop</th>' in text
    gap, loss = re.findall(r"<tr><th scope=\"row\">.*?</tr>", text)
    assert "3 dB" in gap
    assert "1.500 [0.5000, 2.500] dB (n = 3)" in gap
    assert re.findall(r"ctlib-verdict ctlib-([a-z-]+)", gap) == ["direction-only"]
    assert "of record, at <code>laptop</code>" in gap
    assert "not measured" in loss
    assert "0.2500" in loss
