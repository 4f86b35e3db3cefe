"""Listings without argument checks: what is left out, and what never is."""

import inspect
import textwrap

from ctlib import contract
from ctlib.book.page.checks import without_checks
from ctlib.book.page.listing import show
from ctlib.errors import ArgumentError


def shrink(v, tau, steps=1):
    v = contract.tensor("v", v)
    tau, steps = contract.number("tau", tau, above=0), contract.count("steps", steps, 1)
    num = contract.count("num", steps * 2)
    contract.choice("kind", "a", ("a",))
    # said twice
    if tau > 9:
        raise ArgumentError("tau", tau, "at most 9")
    if tau > 8:
        tau = 8
        raise ArgumentError("tau", tau, "at most 8")
    with contract.full_precision(v):
        if num > 3:
            raise ArgumentError("num", num, "at most 3")
        v = v * (1 - tau / v.abs().clamp_min(tau))
    return contract.tensor("v", v)


def only_checks(x):
    contract.tensor("x", x)


SHOWN = """
def shrink(v, tau, steps=1):
    num = contract.count("num", steps * 2)
    if tau > 8:
        tau = 8
        raise ArgumentError("tau", tau, "at most 8")
    with contract.full_precision(v):
        v = v * (1 - tau / v.abs().clamp_min(tau))
    return contract.tensor("v", v)
"""


def test_a_listing_is_the_idea_without_the_checks():
    assert show(shrink).source == SHOWN.strip()
    compile(show(shrink).source, "listing", "exec")


def test_a_body_of_checks_alone_stays():
    source = textwrap.dedent(inspect.getsource(only_checks)).rstrip()
    assert without_checks(source) == source
