"""Openings: the verdicts of record choose the sentence, and a mistake in the file names file and field."""

import hashlib
import json

import pytest
import yaml

from ctlib.book.ledger import openings
from ctlib.book.ledger.openings import opening_of, read_opening
from ctlib.book.ledger.staleness import inputs_sha256
from ctlib.book.ledger.stored_runs import digest
from ctlib.book.ledger.verdicts import record_of
from ctlib.errors import DataError

GOOD = {
    "paper": "{cite:t}`nobody`",
    "minutes": 5,
    "figure": "board",
    "caption": "A board: look at\nits squares.",
    "finding": [
        {"when": {"alpha-sum": "reproduced"}, "say": "It is large."},
        {"when": {"alpha-sum": ["not reproduced", "direction only"]}, "say": "It is not."},
        {"say": "A sum."},
    ],
}
PNG = b"\x89PNG of the record"


@pytest.fixture
def write(mini):
    """write(key=value, ...): the opening of the miniature chapter with these keys changed; its path."""

    def call(**changes):
        path = mini.book / "openings" / "01-alpha.yml"
        path.parent.mkdir(exist_ok=True)
        kept = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
        path.write_text(yaml.safe_dump(kept, allow_unicode=True))
        return path

    return call


def claim_of(mini):
    from ctlib.book.ledger.claimfile import read_claims

    return read_claims(mini.book / "claims" / "01-alpha.yml")[1][0]


def record(mini, value, preset="laptop"):
    """A recorded run of the miniature chapter with one value of its claim."""
    folder = mini.book / "results" / preset
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "01-alpha-board.png").write_bytes(PNG)
    figure = {"file": "01-alpha-board.png", "alt": "A board", "sha256": hashlib.sha256(PNG).hexdigest()}
    texts = dict.fromkeys(("commit", "sources_sha256", "machine"), "m") | {"device": "CPU", "date": "2026-01-02"}
    run = {"slug": "01-alpha", "preset": preset, "parameters": {}, "versions": {}, "seconds": 1.0, **texts}
    run |= {"figures": {"board": figure}, "claims": {"alpha-sum": record_of(claim_of(mini), [value], preset)}}
    run["digest"] = digest(run)
    (folder / "01-alpha.json").write_text(json.dumps(run))


def test_the_verdicts_of_record_choose_the_sentence(mini, write):
    write()
    assert opening_of("01-alpha", mini.book).finding == "A sum.", "nothing is measured"
    page = {"alpha-sum": record_of(claim_of(mini), [3.0], "ci")}
    found = opening_of("01-alpha", mini.book, page)
    assert (found.finding, dict(found.counts), found.picture) == ("It is not.", {"not reproduced": 1}, None)
    record(mini, 20.0)
    found = opening_of("01-alpha", mini.book, page)
    assert (found.finding, dict(found.counts)) == ("It is large.", {"reproduced": 1}), "the larger preset counts"
    assert found.picture.png == PNG
    assert found.full_caption == "A board: look at its squares. Recorded at preset `laptop`, 2026-01-02, on m."


def test_outside_a_kernel_the_finding_is_printed(mini, write, capsys):
    write()
    openings.opening("01-alpha", mini.book)
    assert capsys.readouterr().out.splitlines()[0] == "A sum."


def test_a_page_depends_on_its_opening_and_on_its_record(mini, write):
    write()
    before = inputs_sha256("01-alpha", mini)
    write(caption="Another.")
    after = inputs_sha256("01-alpha", mini)
    assert after != before
    record(mini, 20.0)
    assert inputs_sha256("01-alpha", mini) != after


WRONG = {
    "top level: needs exactly the keys": {"caption": None},
    "top level: needs exactly the keys paper": {"more": 1},
    "minutes: got 0, needs a number of minutes": {"minutes": 0},
    "minutes: got 'ten', needs a number of minutes": {"minutes": "ten"},
    "paper: got '', needs a text": {"paper": ""},
    "finding: got .., needs a list of at least one sentence": {"finding": []},
    "finding: the last sentence, and no other, has no `when`": {"finding": [{"say": "a"}, {"say": "b"}]},
    "finding.0.: needs a text `say`": {"finding": [{"when": {}}]},
    "finding.0..when: needs .claim id: verdict": {"finding": [{"when": "x", "say": "a"}, {"say": "b"}]},
    "finding.0..when: 'beta' is no claim": {"finding": [{"when": {"beta": "reproduced"}, "say": "a"}, {"say": "b"}]},
    "minutes: got True, needs a number": {"minutes": True},
    "finding.0..when.alpha-sum: got ..'reproduced'..": {
        "finding": [{"when": {"alpha-sum": [["reproduced"]]}, "say": "a"}, {"say": "b"}]
    },
    "finding.0..when.alpha-sum: got 'good', needs verdicts of": {
        "finding": [{"when": {"alpha-sum": "good"}, "say": "a"}, {"say": "b"}]
    },
}


@pytest.mark.parametrize("says", WRONG)
def test_a_mistake_names_the_file_and_the_field(write, says):
    with pytest.raises(DataError, match=rf"01-alpha\.yml: {says}"):
        read_opening(write(**WRONG[says]), ["alpha-sum"])


def test_a_file_that_is_missing_or_no_yaml_is_told(write, tmp_path):
    with pytest.raises(DataError, match="file: does not exist"):
        read_opening(tmp_path / "no.yml", [])
    path = write()
    for text, says in (
        (b"paper: [", "YAML"),
        (b"minutes: 3\nminutes: 4\n", "minutes: given twice"),
        (b"\xff", "UTF-8"),
    ):
        path.write_bytes(text)
        with pytest.raises(DataError, match=says):
            read_opening(path, [])
