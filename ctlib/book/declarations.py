"""The parameters cell of a chapter: one line a parameter, `name = default  # meaning [unit] | what it may be`."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ctlib.book import paths, reading, rules
from ctlib.book.project import UsageError

NEEDED = {"truth": "true or false", "whole number": "a whole number", "number": "a number", "text": "a text"}
SHOWN = 60  # letters of a value in a message


@dataclass(frozen=True)
class Parameter:
    """One parameter: default, meaning and rule as the chapter declares them, and its line in the cell."""

    name: str
    default: object
    meaning: str = ""
    rule: str = ""
    line: int = 1

    @cached_property
    def clauses(self) -> list[rules.Clause]:
        return rules.clauses(self.rule)

    @property
    def path(self) -> str:
        """The clause that says what file or folder it names; "" where it names none."""
        return next((c.text for c in self.clauses if c.text in rules.PATHS), "")

    @property
    def depth(self) -> int:
        """0 of one value, 1 of a list, 2 of a list of lists."""
        depth, inner = 0, self.default
        while isinstance(inner, list | tuple):
            depth, inner = depth + 1, inner[0] if inner else None
        return depth

    @property
    def kind(self) -> str:
        """What it is, or its entries are: "truth", "whole number", "number", "text", or "" for anything."""
        said = next((c.text for c in self.clauses if c.text in rules.KINDS), "")
        if said or rules.choices(self.rule) or self.path:
            return said.removesuffix("s") or "text"
        types = {type(v) for v in rules.leaves(self.default)}
        if types == {bool}:
            return "truth"
        if types and types <= {int, float}:
            return "number" if float in types else "whole number"
        return "text" if types == {str} else ""

    @property
    def needed(self) -> str:
        """What it may be, in words."""
        if self.path:
            return f"a {self.path}"
        kind = NEEDED.get(self.kind, "a value")
        if self.depth:
            kind = "a list of " + ("lists of " if self.depth > 1 else "") + f"{self.kind or 'value'}s"
        rule = "" if self.rule in ("any", *rules.KINDS) else self.rule
        if rule == "torch device":
            return "a torch device: cpu, cuda, cuda:1 ..."
        if (self.kind == "text" and rule.startswith("one of")) or rule.startswith(("numbers", "whole numbers")):
            return rule
        return f"{kind}, {rule}" if rule else f"{kind}, like {self.default!r}"

    def read(self, text: str) -> object:
        """A text of the command line as a value of this kind; paths stay texts. ValueError if it is none."""
        if self.path or (self.kind == "text" and not self.depth and not rules.choices(self.rule)):
            return text
        return reading.read(text, self.kind, self.depth) if self.kind else reading.guess(text)

    def typed(self, value: object) -> object:
        """The value in its type, a whole number where one with a fraction is meant; ValueError for another type."""
        return self._typed(value, self.depth) if self.kind or self.depth else value

    def _typed(self, value: object, depth: int) -> object:
        if depth:
            if not isinstance(value, list | tuple):
                raise ValueError("no list")
            return [self._typed(v, depth - 1) for v in value]
        kinds = {"truth": bool, "whole number": int, "number": float, "text": str, "": object}
        if self.kind == "number" and type(value) is int and abs(value) < 1e300:
            value = float(value)
        if self.kind == "whole number" and type(value) is float and value.is_integer() and abs(value) < 1e18:
            value = int(value)
        if not isinstance(value, kinds[self.kind]) or (isinstance(value, bool) and self.kind not in ("truth", "")):
            raise ValueError(f"no {self.kind}")
        return value

    def broken(self, value: object, known: dict, across: bool) -> str | None:
        """What a value of the right type is not, in words; None if it is as declared.

        across  whether to ask the clauses that name other parameters, or the others
        """
        plain = "may be infinite" not in self.rule
        if not across and plain and not rules.finite(value):
            return self.needed if self.rule not in ("", "any") else f"a finite number, like {self.default!r}"
        if not across and self.depth and not value and "may be empty" not in self.rule and self.rule:
            return f"{self.needed}, at least one value"
        for clause in self.clauses:
            if bool(clause.names) == across and not clause.holds(value, known):
                here = f" ({clause.bound.strip()} is {rules.value_of(clause.bound, known):g})" if clause.names else ""
                return self.needed + here
        return None

    def problem(self) -> str | None:
        """What is wrong with the declaration: no rule, one that is not understood, a default that breaks it."""
        try:
            self.clauses  # noqa: B018
        except ValueError as error:
            return f"parameter {self.name}: {error}"
        if not self.rule and self.kind != "truth":
            return f"parameter {self.name}: its comment says no range: `# meaning | >= 1`, or `| any`"
        if not self.kind:
            return f"parameter {self.name}: {self.default!r} has no kind; say `numbers`, `whole numbers` or `texts`"
        return None


def parameters(source: str, slug: str) -> dict[str, Parameter]:
    """The parameters of a cell by name; UsageError for anything but `name = literal` in it."""
    try:
        body, comments = ast.parse(source).body, _comments(source)
    except (SyntaxError, tokenize.TokenError) as error:
        line, text = getattr(error, "lineno", 1), getattr(error, "msg", error)
        raise UsageError(f"{slug}: line {line} of the parameters cell: {text}") from None
    out = {}
    for node in body:
        if not (isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)):
            raise UsageError(f"{slug}: line {node.lineno} of the parameters cell is not `name = literal`")
        name = node.targets[0].id
        try:
            default = ast.literal_eval(node.value)
        except ValueError:
            raise UsageError(f"{slug}: parameter {name} is not a literal") from None
        meaning, _, rule = f" {' '.join(_of(node, comments))}".partition(" | ")
        out[name] = Parameter(name, default, meaning.strip(), rule.strip(), node.lineno)
    return out


def _comments(source: str) -> dict[int, tuple[str, bool]]:
    """{line: text of its comment, whether it stands alone}."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = (t for t in tokens if t.type == tokenize.COMMENT)
    return {t.start[0]: (t.string.lstrip("# ").strip(), not t.line[: t.start[1]].strip()) for t in found}


def _of(node: ast.stmt, comments: dict[int, tuple[str, bool]]) -> Iterator[str]:
    """The comment of a line, with those that go on below it."""
    for line in range(node.lineno, node.end_lineno + 1):
        yield comments.get(line, ("", True))[0]
    line = node.end_lineno + 1
    while comments.get(line, ("", False))[1]:
        yield comments[line][0]
        line += 1


def checked(found: dict[str, Parameter], values: dict[str, object], slug: str) -> dict[str, object]:
    """These values in their types, if they and the defaults of the others are as declared; UsageError otherwise."""
    out = {name: typed(found[name], value, slug) for name, value in values.items()}
    for across in (False, True):
        known = {**{name: p.default for name, p in found.items()}, **out}
        for p in found.values():
            if (across or p.name in out) and (needed := p.broken(known[p.name], known, across)):
                others = {name for c in p.clauses for name in c.names & out.keys()} if p.name not in out else ()
                raise refusal(slug, p, known[p.name], needed, {name: out[name] for name in others})
    return out


def typed(p: Parameter, value: object, slug: str) -> object:
    """The value in the parameter's type; UsageError for another type."""
    try:
        return p.typed(value)
    except ValueError:
        raise refusal(slug, p, value) from None


def read(p: Parameter, text: str, slug: str, folders: list) -> object:
    """A text of the command line as a value of this parameter; a path is looked for in these folders."""
    try:
        return paths.found(text, p.path, folders) if p.path and text else p.read(text)
    except paths.NotThere as error:
        raise refusal(slug, p, text, f"{p.needed}: {error}") from None
    except ValueError:
        raise refusal(slug, p, text) from None


def refusal(slug: str, p: Parameter, value: object, needed: str = "", beside: dict | None = None) -> UsageError:
    """One line: which parameter, what was given, what is needed; a default may not go with what others are given."""
    given = repr(value)
    given = given if len(given) <= SHOWN else given[:SHOWN] + "..."
    if beside:
        given += f", the default, beside {', '.join(f'{name} = {v!r}' for name, v in sorted(beside.items()))}"
    return UsageError(f"{slug}: parameter {p.name}: got {given}, needs {needed or p.needed}")
