"""The chapters' code is formatted and checked as code; what only a notebook may hold survives."""

import json

import pytest

from ctlib.book.cli import main
from ctlib.book.lint import formatted, problems

MESSY = """

```{code-cell} ipython3
%matplotlib inline
import os, math
values = {'a':1,
   'b':math.pi}
text = [f"{name} is {value:.3f}" for name, value in values.items() if value is not None and value > 0]
values
```

```{code-cell} ipython3
%%time
total=sum( values.values() )
```

```{code-cell} ipython3
:tags: [remove-input]

show(ArgumentError)
```
"""
TIDY = """

```{code-cell} ipython3
%matplotlib inline
import math
import os

values = {"a": 1, "b": math.pi}
text = [
    f"{name} is {value:.3f}"
    for name, value in values.items()
    if value is not None and value > 0
]
values
```

```{code-cell} ipython3
%%time
total = sum(values.values())
```

```{code-cell} ipython3
:tags: [remove-input]

show(ArgumentError)
```
"""


def with_cells(mini, text):
    """The miniature chapter, with more code at its end; the line at which that starts."""
    path = mini.source("01-alpha")
    before = path.read_text()
    path.write_text(before.rstrip("\n") + text)
    return before.rstrip("\n").count("\n") + 1


def with_code(mini, *cells):
    """The miniature chapter with further code cells; the lines at which these start."""
    lines = []
    for cell in cells:
        lines.append(with_cells(mini, f"\n\n```{{code-cell}} ipython3\n{cell}\n```\n") + 3)
    return lines


def found(mini):
    return [(p.line, p.rule) for p in problems(mini, "01-alpha")]


def test_cells_are_formatted_and_what_only_notebooks_hold_survives(mini):
    with_cells(mini, MESSY)
    text = formatted(mini, "01-alpha")
    assert text.endswith(TIDY)
    mini.source("01-alpha").write_text(text)
    assert formatted(mini, "01-alpha") == text


def test_the_table_of_parameters_keeps_its_columns(mini):
    text = formatted(mini, "01-alpha")
    assert 'name = "plain"    # of the input | word or file to read\nflag = False      # whether to' in text


def test_formatting_leaves_the_text_between_the_cells(mini):
    with_cells(mini, "\n\nA long line " + "and on " * 40 + "with $x  =  1$.\n")
    mini.source("01-alpha").write_text(formatted(mini, "01-alpha"))
    assert "and on with $x  =  1$.\n" in mini.source("01-alpha").read_text()


BROKEN = {
    "a long line": ("E501", "text = '" + "x" * 90 + "'"),
    "an unknown name": ("F821", "total = unknown + 1"),
    "an unused import": ("F401", "import os"),
    "an equality with None": ("E711", "total = flag == None"),
    "no Python": ("SYNTAX", "total = = 1"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_rule_is_told_at_its_line_of_the_chapter(mini, what):
    rule, code = BROKEN[what]
    (line,) = with_code(mini, code)
    assert (line, rule) in found(mini)


def test_a_name_of_an_earlier_cell_is_known_and_an_import_may_be_used_later(mini):
    with_code(mini, "import math", "half = n * rate", "print(math.floor(half))", "half")
    assert found(mini) == []


REBOUND = {
    "assignment": "total = 2",
    "several at once": "other, (total, *rest) = 1, (2, 3)",
    "augmented": "total += 1",
    "annotated": "total: int = 1",
    "a loop": "for total in range(3):\n    print(total)",
    "with": 'with open("x") as total:\n    total.read()',
    "def": "def total():\n    return 1",
    "class": "class total:\n    pass",
    "import": "import json as total\n\nprint(total)",
    "a part of a module": "import total.part\n\nprint(total)",
    "a walrus in a comprehension": "print([total := v for v in sizes])",
    "except": "try:\n    pass\nexcept ValueError as total:\n    print(total)",
    "in a branch": "if flag:\n    total = 2",
    "match": "match n:\n    case total:\n        print(total)",
}


@pytest.mark.parametrize("how", REBOUND)
def test_a_name_bound_in_two_cells_is_told(mini, how):
    first, second = with_code(mini, "total = 1", REBOUND[how])
    (told,) = [p for p in problems(mini, "01-alpha") if p.rule == "BOUND"]
    assert second <= told.line <= second + 3
    assert told.text == f"`total` is already bound at line {first}: one name, one cell"


def test_what_a_cell_makes_to_be_seen_must_come_last(mini):
    first, *_ = with_code(mini, "show(ArgumentError)\ntable([], [])\nprint(1)", "print(2)\nshow(ArgumentError)", "")
    told = [(p.line - first, p.text) for p in problems(mini, "01-alpha") if p.rule == "UNSEEN"]
    assert told == [
        (k, f"`{name}` is not last in its cell: nobody sees it") for k, name in enumerate(("show", "table"))
    ]


OWN = {
    "in a function": "def f():\n    total = 2\n    return total",
    "an argument": "def f(total=1):\n    return total",
    "in a lambda": "print((lambda total: total)(1))",
    "in a comprehension": "print([total for total in sizes])",
    "an item": "sizes[0] = 2",
    "an attribute": "ledger.total = 2",
    "a use": "print(total)",
    "thrown away": "for _ in sizes:\n    print(1)",
}


@pytest.mark.parametrize("how", OWN)
def test_what_binds_no_name_of_the_chapter_is_fine(mini, how):
    with_code(mini, "total = 1\n_, total = 2, 3\ntotal += 1", OWN[how])
    assert not [p for p in problems(mini, "01-alpha") if p.rule == "BOUND"]


def test_a_parameter_is_bound_in_its_cell_alone(mini):
    with_code(mini, "rate = 2 * rate")
    assert [p.text for p in problems(mini, "01-alpha")] == ["`rate` is already bound at line 20: one name, one cell"]


def test_lint_names_file_and_line_and_ends_with_1(mini, capsys):
    root = ["--root", str(mini.root)]
    assert main(["lint", "alpha", *root]) == 0
    (line,) = with_code(mini, "import os")
    assert main(["lint", "alpha", *root]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"book/01-alpha.md:{line}: F401 `os` imported but unused", "1 problem"
    ]  # fmt: skip
    assert main(["lint", "beta", *root]) == 0


def test_lint_tells_where_a_chapter_is_not_formatted(mini, capsys):
    (line,) = with_code(mini, "total = [ 1 ]")
    assert found(mini) == [(line, "FORMAT")]
    assert main(["fmt", "alpha", "--root", str(mini.root)]) == 0
    assert found(mini) == []


def test_the_notebook_that_ruff_sees_has_the_cells_alone(mini):
    from ctlib.book.chapter import code_cells
    from ctlib.book.lint import _notebook

    sources = [c.source for c in code_cells(mini.source("01-alpha"))]
    assert ["".join(c["source"]) for c in json.loads(_notebook(sources))["cells"]] == sources
