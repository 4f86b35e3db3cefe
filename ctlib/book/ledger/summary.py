"""What `verify` says of a chapter: how many claims are in which state, the same on every machine."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ctlib.book.ledger.badges import anchor, escaped
from ctlib.book.ledger.claim import Claim
from ctlib.book.ledger.criteria import ERRATUM, SEEN, UNTESTABLE
from ctlib.book.ledger.standing import NOT_MEASURED
from ctlib.book.ledger.verdicts import evidence
from ctlib.book.page.tables import measured

HOLDS, FAILS, RECORDED = "holds", "FAILS", "recorded"
MEANINGS = {
    FAILS: "the page relies on it, and it does not hold",
    NOT_MEASURED: "no cell of this page and no recorded run measured it",
    HOLDS: "the page relies on it; if it ceases to hold, the page does not build",
    RECORDED: "a result, whichever way it falls",
    SEEN: "measured here without a verdict, which only a larger preset can give",
    ERRATUM: "a misprint of the paper, shown by a check",
    UNTESTABLE: "the paper gives too little to test it",
}


@dataclass(frozen=True)
class State:
    """Where one claim stands on a page: a word, and what is wrong, if anything is."""

    claim: Claim
    word: str
    problem: str = ""


def state_of(claim: Claim, record: Mapping | None, preset: str, recorded: Iterable[str]) -> State:
    """The state of one claim.

    record    what this page measured;  preset  of this page
    recorded  presets at which a recorded run measured it
    """
    if claim.not_testable:
        return State(claim, UNTESTABLE)
    if record is None and preset not in claim.only and set(recorded) & set(claim.only):
        return State(claim, f"at {', '.join(claim.only)}")
    if record is None:
        return State(claim, NOT_MEASURED, f"{claim.id}: {NOT_MEASURED}")
    verdict, asked = record["verdict"], claim.expect or ((ERRATUM,) if claim.erratum else ())
    if claim.erratum and verdict in asked:
        return State(claim, ERRATUM)
    if asked and guarded(claim, record) not in asked and not (claim.erratum and verdict == SEEN):
        got = f"{guarded(claim, record)}, expected {' or '.join(asked)}; measured {measured(record, claim.unit)}"
        return State(claim, FAILS, f"{claim.id}: {got}")
    if claim.expect:
        return State(claim, HOLDS)
    return State(claim, SEEN if verdict == SEEN else RECORDED)


def guarded(claim: Claim, record: Mapping) -> str:
    """What `expect` goes by: the verdict or, below `needs`, what the criterion says of values that judge nothing.

    So a small preset guards the direction of an effect whose verdict is left to a larger one.
    """
    return claim.judged(evidence(record)[0]) if record["verdict"] == SEEN else record["verdict"]


def by_word(states: Iterable[State]) -> dict[str, list[str]]:
    """{word: ids}, what is wrong first."""
    found: dict[str, list[str]] = {}
    for state in states:
        found.setdefault(state.word, []).append(state.claim.id)
    order = [*MEANINGS]
    return dict(sorted(found.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def summary_text(states: Iterable[State]) -> str:
    """A paragraph for each word: how many, and which."""
    paragraphs = (f"{len(ids)} {word}: {', '.join(ids)}" for word, ids in by_word(states).items())
    shape = {"width": 88, "subsequent_indent": "  ", "break_long_words": False, "break_on_hyphens": False}
    return "\n".join(textwrap.fill(paragraph, **shape) for paragraph in paragraphs)


def summary_html(states: Iterable[State]) -> str:
    """One line of counts, each of which opens the claims behind it."""
    parts = []
    for word, ids in by_word(states).items():
        here = word in (FAILS, HOLDS, RECORDED, SEEN, ERRATUM)
        links = ", ".join(f'<a href="#{anchor(i)}">{escaped(i)}</a>' if here else escaped(i) for i in ids)
        meaning = MEANINGS.get(word, "too long for this page: a recorded run measured it")
        kind = f"ctlib-state ctlib-state-{word.lower().replace(' ', '-').replace(',', '')}"
        parts.append(
            f'<details class="{kind}"><summary>{len(ids)} {escaped(word)}</summary><p>{meaning}: {links}.</p></details>'
        )
    return f'<div class="ctlib-verify">{"".join(parts)}</div>'
