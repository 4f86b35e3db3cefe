"""One word for one thing, in signatures and in spelling: the table of CONTRIBUTING, held."""

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = sorted((ROOT / "ctlib").rglob("*.py"))
TEXTS = [
    *LIBRARY,
    *(p for p in sorted((ROOT / "tests").rglob("*.py")) if p != Path(__file__)),
    *sorted(
        p for p in (ROOT / "book").glob("**/*.md") if ".ipynb_checkpoints" not in p.parts
    ),  # what JupyterLab leaves
    *sorted((ROOT / "book" / "claims").glob("*.yml")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", "pyproject.toml")),
]
NOT_AS_ARGUMENTS = {
    "learning_rate": "lr", "step_size": "lr", "iters": "num_iters", "n_iter": "num_iters", "n_iters": "num_iters",
    "max_iter": "max_iters", "num_steps": "steps", "n_steps": "steps", "optimiser": "optimizer",
}  # fmt: skip

BRITISH = re.compile(
    "|".join(
        (
            r"(?<![a-z])(?:optim|normal|initial|regular|minim|maxim|standard|quant|linear|discret|parametr|penal)is(?=e|ing|ation)",
            "neighb" + "our", "col" + "our", "behavi" + "our", "grey" + r"(?![a-z])", "cent" + r"re(?![a-z]|-)",
            "center" + r"d\b",
            "met" + r"re(?=s?\b)", "modell" + "ed", "labell" + "ed", "artef" + "act", "licen" + r"ce(?!d)",
        )
    ),
    re.I,
)  # fmt: skip


def parameters(path: Path):
    """(line, name) of every argument of a function and every field of a class."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
                yield node.lineno, a.arg
        elif isinstance(node, ast.ClassDef):
            yield from ((s.lineno, s.target.id) for s in node.body if isinstance(s, ast.AnnAssign))


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_arguments_have_the_one_name_of_their_thing(path):
    found = [
        f"{line}: {name}, say {NOT_AS_ARGUMENTS[name]}" for line, name in parameters(path) if name in NOT_AS_ARGUMENTS
    ]
    assert found == []


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_generators_are_random_streams(path):
    """An argument of this name is annotated as one, or not at all."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.arg) and node.arg == "generator" and node.annotation is not None:
            assert "torch.Generator" in ast.unparse(node.annotation), f"{path.name}:{node.lineno}"


@pytest.fixture(scope="module")
def identifiers():
    """Names of claims, which recorded results hold on to."""
    files = (ROOT / "book" / "claims").glob("*.yml")
    return [c["id"] for f in files for c in yaml.safe_load(f.read_text(encoding="utf-8"))["claims"]]


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_the_spelling_is_american(path, identifiers):
    kept = re.compile("|".join(map(re.escape, sorted(identifiers, key=len, reverse=True))))
    lines = enumerate(kept.sub("", path.read_text(encoding="utf-8")).splitlines(), 1)
    assert [f"{i}: {m[0]}" for i, line in lines for m in BRITISH.finditer(line)] == []
