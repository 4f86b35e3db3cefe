"""The public functions of ctlib that take a tensor or a number, found by reading the package, and their example calls.

Examples live in `tests/contract/examples/<room>.py`, one dictionary of valid calls a file:

    EXAMPLES = {
        # a function: its keyword arguments
        "ctlib.units.hu_from_mu": lambda: dict(mu=rand(3, 4)),
        # a constructor, a bound method, and the products of an operator (`call` may be any callable)
        "ctlib.physics.spectrum.Spectrum": lambda: dict(edges_kev=..., weights=...),
        "ctlib.physics.spectrum.Spectrum.rebinned": lambda: dict(call=spectrum().rebinned, bin_kev=2.0),
        "ctlib.projector.Projector.__call__": lambda: dict(call=A, x=rand(4, 4)),
        "ctlib.projector.Projector.T": lambda: dict(call=A.T, y=rand(3, 5)),
    }
    SKIP = {"ctlib.x.inner.*": "why nothing here is walked"}   # a name, or all names below a prefix
    ALLOW = {"ctlib.x.function": {"nan": "why a NaN rightly vanishes"}}   # a mutation, or "argument: mutation"

Every example makes its arguments anew, takes milliseconds, is float64 where a tensor is a real one, gives the arguments
that are to be tried (also optional ones), and passes tensors of different values for different arguments. A method
is listed with `call`, its arguments by keyword. A random stream is made in the example, so that two calls agree.
"""

import importlib
import importlib.util
import inspect
import pkgutil
import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import torch

import ctlib
from ctlib.linop import LinearOperator

TAKES = re.compile(r"\b(Tensor|ndarray|float|int)\b")
FUNCTIONS = re.compile(r"Callable\[\[.*?\][^\]]*\]")
NO_VALUES = {"A", "callback", "cls", "device", "generator", "geometry", "net", "path", "self"}  # where not annotated
OUTSIDE = re.compile(r"ctlib\.book\b|\.(cpu|gpu)\b|\._")  # what knows notebooks, compiled loops, private modules


def modules():
    for info in pkgutil.walk_packages(ctlib.__path__, "ctlib."):
        if not OUTSIDE.search(info.name):
            yield importlib.import_module(info.name)


def takes_values(function) -> bool:
    """Whether a parameter is annotated as a tensor or a number, or is not annotated and may be one."""
    for p in inspect.signature(function).parameters.values():
        bare = p.annotation is p.empty and p.name not in NO_VALUES and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        if bare or (p.annotation is not p.empty and TAKES.search(FUNCTIONS.sub("", str(p.annotation)))):
            return True
    return False


def of_class(name, kind):
    """A class's constructor and its public methods; records without checks of their own are those of NamedTuple."""
    if issubclass(kind, (BaseException, torch.autograd.Function)) or getattr(kind, "_is_protocol", False):
        return
    if not issubclass(kind, tuple) and "__init__" in vars(kind) and takes_values(kind):
        yield name
    for attribute, value in vars(kind).items():
        value = getattr(value, "__func__", value)
        shown = not attribute.startswith("_") or attribute == "__call__"
        if shown and inspect.isfunction(value) and takes_values(value):
            yield f"{name}.{attribute}"
    if issubclass(kind, LinearOperator):
        yield from (f"{name}.__call__", f"{name}.T")


@cache
def discovered() -> tuple[str, ...]:
    """Dotted names of everything public, defined outside `ctlib.book`, that takes a tensor or a number."""
    names = set()
    for module in modules():
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isclass(value):
                names.update(of_class(f"{module.__name__}.{name}", value))
            elif inspect.isfunction(value) and takes_values(value):
                names.add(f"{module.__name__}.{name}")
    return tuple(sorted(names))


@cache
def example_files() -> dict:
    """{file: its module}."""
    found = {}
    for path in sorted((Path(__file__).parent / "examples").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"contract_examples_{path.stem}", path)
        found[path.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found[path.name])
    return found


@cache
def collected(what: str) -> dict:
    """All entries of EXAMPLES, SKIP or ALLOW; a name may stand in one file alone."""
    found = {}
    for file, module in example_files().items():
        entries = getattr(module, what, {})
        assert not entries.keys() & found.keys(), f"{file}: {entries.keys() & found.keys()} stands elsewhere too"
        found |= entries
    return found


def skipped(name: str) -> str | None:
    """Why a function is not walked, if it is not."""
    return next((reason for pattern, reason in collected("SKIP").items() if fnmatch(name, pattern)), None)


def resolve(name: str):
    """The callable of a dotted name; None where there is none."""
    parts = name.split(".")
    for size in range(len(parts) - 1, 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:size]))
        except ImportError:
            continue
        for part in parts[size:]:
            value = getattr(value, part, None)
        return value
    return None


def example(name: str):
    """The callable and its keyword arguments, freshly made."""
    kwargs = collected("EXAMPLES")[name]()
    call = resolve(name)
    if inspect.isclass(resolve(name.rpartition(".")[0])) or "call" not in inspect.signature(call).parameters:
        call = kwargs.pop("call", call)
    return call, kwargs
