"""What a parameter may be, as its line in the parameters cell says behind the bar: clauses between commas.

    n = 48          # image size [pixels] | 16 to 4096, multiple of 2**(depth + 1)
    lr = 0.003      # learning rate of Adam | > 0
    task = "sr"     # what is degraded | one of denoise, sr, inpaint
    seeds = [1, 2]  # of the noise | >= 0, different
    data = ""       # your own scan | file to read

Bounds may name other parameters. In a list they hold for every number.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from ctlib.book.reading import split, unquoted

COMPARISONS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
OPERATIONS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: lambda a, b: a ** min(b, 64),
}  # fmt: skip
KINDS = ("whole numbers", "numbers", "texts")  # of the entries of a list, where its default is empty
PATHS = ("file to read", "folder to read", "file or folder to read", "word or file to read", "folder to write")
DEVICE = re.compile(r"cpu|(cuda|xpu|mps)(:\d{1,2})?")
WORDS = {  # clauses of one form: what they ask of a value
    "any": lambda v: True,
    "odd": lambda v: all(n % 2 for n in leaves(v)),
    "even": lambda v: not any(n % 2 for n in leaves(v)),
    "rising": lambda v: all(a < b for a, b in pairwise(v)),
    "different": lambda v: all(v.count(a) == 1 for a in v),
    "pairs": lambda v: all(len(inner) == 2 for inner in v),
    "may be empty": lambda v: True,
    "may be infinite": lambda v: True,
    "torch device": lambda v: bool(DEVICE.fullmatch(v)),
    **dict.fromkeys((*KINDS, *PATHS), lambda v: True),  # asked elsewhere: by type, by the files
}
BOUND = r"[\w+\-*/%() .,]+?"


@dataclass(frozen=True)
class Clause:
    """One clause: its words, whether a value fulfills it, the parameters it names, and its bound as a text."""

    text: str
    holds: Callable[[object, dict], bool]
    names: frozenset[str] = frozenset()
    bound: str = ""


def clauses(rule: str) -> list[Clause]:
    """The clauses of a rule; ValueError for one that is not understood."""
    if not rule:
        return []
    head, choice, names = rule.partition("one of ")
    found = [_clause(text) for text in split(head) if text]
    if choice:
        known = choices(rule)
        found.append(Clause(choice + names, lambda v, _: all(a in known for a in leaves(v))))
    return found


def choices(rule: str) -> list[str]:
    """The names behind `one of`, if the rule has any."""
    names = rule.partition("one of ")[2]
    return [unquoted(name) for name in split(names)] if names else []


def _clause(text: str) -> Clause:
    if text in WORDS:
        return Clause(text, lambda v, _: WORDS[text](v))
    if m := re.fullmatch(rf"(>=|<=|>|<) ({BOUND})", text):
        return _bounded(text, m[2], lambda n, bound: COMPARISONS[m[1]](n, bound))
    if m := re.fullmatch(rf"multiple of ({BOUND})", text):
        return _bounded(text, m[1], lambda n, bound: n % bound == 0)
    if m := re.fullmatch(r"containing (.+)", text):
        return Clause(text, lambda v, _: all(float(number) in v for number in m[1].split(" and ")))
    if m := re.fullmatch(r"as many as (\w+)", text):
        return Clause(text, lambda v, known: len(v) == len(known[m[1]]), frozenset({m[1]}), f"len({m[1]})")
    if m := re.fullmatch(r"(at least )?(\d+) values?", text):
        return Clause(text, lambda v, _: len(v) >= int(m[2]) if m[1] else len(v) == int(m[2]))
    if m := re.fullmatch(rf"({BOUND}) to ({BOUND})", text):
        low, high = _bounded("", m[1], operator.ge), _bounded("", m[2], operator.le)
        return Clause(text, lambda v, known: low.holds(v, known) and high.holds(v, known), low.names | high.names, m[2])
    raise ValueError(f"{text!r} is no clause of a rule")


def _bounded(text: str, bound: str, fulfilled: Callable[[float, float], bool]) -> Clause:
    names = frozenset(n.id for n in ast.walk(_parsed(bound)) if isinstance(n, ast.Name)) - {"len", "max", "min"}
    return Clause(text, lambda v, known: all(fulfilled(n, value_of(bound, known)) for n in leaves(v)), names, bound)


def _parsed(bound: str) -> ast.expr:
    try:
        return ast.parse(bound.strip(), mode="eval").body
    except SyntaxError:
        raise ValueError(f"{bound!r} is no bound") from None


def value_of(bound: str, known: dict) -> float:
    """A bound as a number: arithmetic, names of parameters, and len, max, min over their values."""
    return _value(_parsed(bound), known)


def _value(node: ast.expr, known: dict) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name) if name in known:
            return known[name]
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner, known)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATIONS:
            return OPERATIONS[type(op)](_value(left, known), _value(right, known))
        case ast.Call(func=ast.Name(id="len"), args=[inner]):
            return len(_value(inner, known))
        case ast.Call(func=ast.Name(id="max" | "min" as name), args=args) if args:
            return {"max": max, "min": min}[name](n for a in args for n in leaves(_value(a, known)))
    raise ValueError(f"{ast.unparse(node)!r} is no bound")


def leaves(value: object) -> Iterator:
    """The entries of a list of lists; a value that is no list itself."""
    if isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


def finite(value: object) -> bool:
    """Whether no number in it is infinite or none."""
    return all(math.isfinite(n) for n in leaves(value) if isinstance(n, float))
