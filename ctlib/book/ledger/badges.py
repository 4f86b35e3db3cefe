"""How claims look: the badge below a check, a value, a verdict that says at which preset it was earned."""

from __future__ import annotations

import html
from collections.abc import Mapping

from ctlib.book.ledger.claim import Claim
from ctlib.book.ledger.criteria import SEEN
from ctlib.book.ledger.standing import Verdict
from ctlib.book.ledger.verdicts import evidence
from ctlib.book.page.tables import badge, digits, measured


def anchor(claim_id: str) -> str:
    """The id of the badge of a claim on its chapter's page."""
    return f"claim-{claim_id}"


def claim_badge(claim: Claim, record: Mapping, preset: str, standing: Verdict) -> str:
    """HTML of one check: what is claimed, what was measured here, what the paper says, and the verdict that counts.

    standing  the verdict of record, which a larger recorded preset may have given
    """
    facts = [f"{escaped(claim.quantity)}: <b>{escaped(measured(record, claim.unit))}</b>"]
    if standing.preset not in ("", preset):
        facts.append(f"at <code>{standing.preset}</code>: <b>{escaped(measured(standing.record, claim.unit))}</b>")
    facts.append(f"paper: {escaped(claim.paper)}")
    facts += evidence_texts(claim, record)
    facts += [f"misprint: {escaped(claim.erratum)}"] if claim.erratum else []
    kind = standing.verdict.replace(" ", "-")
    statement = f"<span>{escaped(claim.statement)} <small>({escaped(claim.where)})</small></span>"
    return (
        f'<div class="ctlib-claim ctlib-{kind}" id="{html.escape(anchor(claim.id), quote=True)}">'
        f'<span class="ctlib-claim-head">{statement} <span>{verdict_badge(claim, standing, preset)}</span></span>'
        f'<span class="ctlib-claim-facts">{" · ".join(facts)}</span></div>'
    )


def verdict_badge(claim: Claim, standing: Verdict, preset: str = "") -> str:
    """HTML of the verdict of record, with the preset that gave it where that is not `preset`."""
    if standing.verdict == SEEN:
        return f"{badge(SEEN)} <small>no verdict below preset <code>{claim.needs}</code></small>"
    if standing.preset in ("", preset):
        return badge(standing.verdict)
    return f"{badge(standing.verdict)} <small>of record, at <code>{standing.preset}</code></small>"


def evidence_texts(claim: Claim, record: Mapping) -> list[str]:
    """What stands behind a verdict besides the value: how flat the curves are, how sure the tests of equivalence."""
    values, curves = evidence(record)
    numbers, out = [*map(float, record["values"])], []
    if claim.equivalence and isinstance(values, Mapping):
        p_value = max(map(claim.equivalence.p_value, values.values()))
        out.append(f"largest p-value of {len(values)} rows {p_value:.2g}, allowed {claim.equivalence.level:g}")
    if claim.settles and curves:
        gain, allowed = max(map(claim.settles.gain, curves.values())), claim.settles.allowed(numbers)
        told = f"{len(curves)} validation curves gain at most {digits(gain)} in their last third"
        out.append(f"{told}, allowed {digits(allowed)}")
    elif claim.settles:
        out.append("no validation curve recorded")
    return out


def escaped(text: str) -> str:
    """Text as HTML, with quotation marks as they are."""
    return html.escape(text, quote=False)
