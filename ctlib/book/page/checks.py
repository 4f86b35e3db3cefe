"""Source of a function as an idea: without the lines that only check its arguments."""

from __future__ import annotations

import ast
from collections.abc import Iterator

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def without_checks(source: str) -> str:
    """Python source without argument checks, with the comments right above them.

    A check is a call of `contract` alone, one that binds the function's own arguments again, and an `if` that does
    nothing but raise ArgumentError. A body that holds nothing else stays.
    """
    lines, tree = source.splitlines(), ast.parse(source)
    for function in sorted((n for n in ast.walk(tree) if isinstance(n, FUNCTIONS)), key=lambda n: -n.lineno):
        given = {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)}
        for body in _bodies(function):
            checks = [s for s in body if _is_check(s, given)]
            if len(checks) < len(body):
                for check in reversed(checks):
                    _cut(lines, check)
    return "\n".join(lines)


def _bodies(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The blocks of a function from the last to the first, those of functions inside it left out."""
    inner = [s for s in node.body if not isinstance(s, (*FUNCTIONS, ast.ClassDef)) and hasattr(s, "body")]
    for statement in reversed(inner):
        if not getattr(statement, "orelse", None):
            yield from _bodies(statement)
    yield node.body


def _is_check(statement: ast.stmt, given: set[str]) -> bool:
    match statement:
        case ast.Expr(value=value):
            return _from_contract(value)
        case ast.Assign(targets=[target], value=value):
            names = {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
            plain = isinstance(target, ast.Name | ast.Tuple) and not any(
                isinstance(n, ast.Attribute | ast.Subscript) for n in ast.walk(target)
            )
            return plain and names <= given and _from_contract(value)
        case ast.If(body=[ast.Raise(exc=ast.Call(func=ast.Name(id="ArgumentError")))], orelse=[]):
            return True
    return False


def _from_contract(value: ast.expr) -> bool:
    """Whether every part of a value is what a function of `contract` gives back."""
    match value:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="contract"))):
            return True
        case ast.Tuple(elts=parts):
            return all(map(_from_contract, parts))
        case ast.GeneratorExp(elt=part):
            return _from_contract(part)
    return False


def _cut(lines: list[str], statement: ast.stmt) -> None:
    """Remove a statement's lines, and comments right above it."""
    start = statement.lineno - 1
    while start and lines[start - 1].lstrip().startswith("#"):
        start -= 1
    del lines[start : statement.end_lineno]
