"""Functions and networks in words: what a loss depends on, and the code behind it."""

from __future__ import annotations

import ast
import dis
import functools
import hashlib
import importlib.util
import inspect
import types
from pathlib import PurePath

import numpy as np
import torch
from torch import Tensor, nn

from ctlib.compiled import imported
from ctlib.train.sketch import form, sketch

PLAIN = (int, float, complex, str, bytes, bool, type(None), np.generic, PurePath, torch.dtype, torch.device)
FOREIGN = ("torch", "numpy", "builtins")  # packages whose functions are known by name


def states(net: nn.Module) -> list[Tensor]:
    """Weights and statistics of a network, in their order."""
    return [t for t in net.state_dict().values() if isinstance(t, Tensor)]


def layers(net: nn.Module) -> str:
    """Classes, shown options and plain attributes of every layer, the shapes of its state, and which weights rest."""
    plain = lambda m: {k: v for k, v in vars(m).items() if k[0] != "_" and k != "training" and is_plain(v)}  # noqa: E731
    found = [(name, name_of(type(m)), m.extra_repr(), sorted(plain(m).items())) for name, m in net.named_modules()]
    frozen = [name for name, p in net.named_parameters() if not p.requires_grad]
    state = [(k, tuple(t.shape), str(t.dtype)) for k, t in net.state_dict().items()]
    return repr((found, state, frozen) if frozen else (found, state))


def is_plain(value: object) -> bool:
    return isinstance(value, PLAIN) or (isinstance(value, tuple) and all(map(is_plain, value)))


def described(value: object, depth: int = 0) -> str:
    """A function with all it depends on, as text: name, code, defaults, what it closes over; of numbers, their values.

    Lists are left out: a function may keep its own records in them.
    """
    name, inner = name_of(type(value)), lambda v: described(v, depth + 1)
    if depth > 6 or isinstance(value, (list, types.ModuleType)):
        return name
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, (Tensor, np.ndarray)):
        return f"{form(value)} {[[f'{v:.4g}' for v in row] for row in sketch(value.reshape(1, -1)).tolist()]}"
    if isinstance(value, (tuple, frozenset)):
        return f"{name}{[inner(v) for v in value]}"
    if isinstance(value, dict):
        return f"{name}{[(str(k), inner(v)) for k, v in value.items()]}"
    if isinstance(value, functools.partial):
        return f"partial({inner(value.func)}, {inner(value.args)}, {inner(value.keywords)})"
    if inspect.ismethod(value):
        return f"{name_of(value.__func__)} of {inner(value.__self__)}"
    if inspect.isfunction(value):
        if value.__module__.partition(".")[0] in FOREIGN:
            return name_of(value)
        own = [*cells(value), *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        read = [(k, described(v, depth + 2)) for k, v in _read(value)]
        return f"{name_of(value)} {_code(value.__code__, value.__doc__)} {[inner(v) for v in own]}{read or ''}"
    if isinstance(value, type) or inspect.isbuiltin(value):
        return name_of(value)
    if isinstance(value, nn.Module):
        return f"{name} {layers(value)} {[inner(t) for t in states(value)]}"
    code = "".join(_code(f.__code__) for n, f in vars(type(value)).items() if n == "__call__" and inspect.isfunction(f))
    kept = {k: v for k, v in getattr(value, "__dict__", {}).items() if k[0] != "_" and not isinstance(v, (list, dict))}
    return f"{name} {code} {[(k, inner(v)) for k, v in kept.items()]}"


def code_of(*values: object) -> str:
    """Digest of the modules in which functions and classes are defined, and of what these import from their package.

    Comments, docstrings and layout do not count, nor what happens to be imported by now.
    """
    waiting, found = {m for value in values for m in _modules(value) if m.partition(".")[0] not in FOREIGN}, {}
    while waiting:
        name = waiting.pop()
        found[name], imported = _stripped(name)
        waiting |= imported - found.keys()
    return digest(*(f"{name} {code}" for name, code in sorted(found.items()) if code))


def sources(*modules: str) -> dict[str, str]:
    """Digests of modules alone, without what they import: {"code of ctlib.losses": digest}; as `code_of` reads them."""
    return {f"code of {name}": _stripped(name)[0] for name in sorted(set(modules))}


def _modules(value: object) -> set[str]:
    if isinstance(value, functools.partial):
        return set().union(*map(_modules, (value.func, *value.args, *value.keywords.values())))
    if inspect.ismethod(value):
        return _modules(value.__func__) | _modules(value.__self__)
    if inspect.isfunction(value):
        return {value.__module__}.union(*(_modules(v) for v in cells(value) if callable(v)))
    if isinstance(value, nn.Module):
        return {type(m).__module__ for m in value.modules()}
    return {(value if isinstance(value, type) else type(value)).__module__}


@functools.lru_cache(maxsize=1024)
def _stripped(module: str) -> tuple[str, frozenset[str]]:
    """(digest of a module as a syntax tree without docstrings, "" for what is none; what it imports of its package)."""
    try:
        spec = importlib.util.find_spec(module)
        tree = ast.parse(spec.loader.get_source(spec.name) or "")
        package = module if spec.submodule_search_locations is not None else module.rpartition(".")[0]
    except (ImportError, AttributeError, ValueError, OSError, SyntaxError):
        return "", frozenset()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            del node.body[0]
    return digest(ast.dump(tree)), imported(tree, package, module)


def _code(code: types.CodeType, doc: str | None = None) -> str:
    """Digest of compiled code but for its docstring, wherever it stands in its file."""
    consts = code.co_consts[1:] if doc is not None and code.co_consts[:1] == (doc,) else code.co_consts
    inner = [_code(c) if isinstance(c, types.CodeType) else repr(c) for c in consts]
    return digest(code.co_code.hex(), *inner, repr((code.co_names, code.co_varnames, code.co_freevars)))


def cells(function: types.FunctionType) -> list:
    """What a function closes over, as far as it is there yet."""
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:
            continue
    return found


def _read(function: types.FunctionType) -> list[tuple[str, object]]:
    """Globals that a function of a notebook or a script reads: data and functions; `code_of` knows those of modules."""
    if _stripped(function.__module__)[0]:
        return []
    codes, names = [function.__code__], set()
    while codes:
        code = codes.pop()
        names |= {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]
    kinds, known = (*PLAIN, Tensor, np.ndarray, tuple, dict, types.FunctionType), function.__globals__
    return [(n, known[n]) for n in sorted(names) if isinstance(known.get(n, ...), kinds) and known[n] is not function]


def name_of(value: object) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"


def digest(*texts: str) -> str:
    """sha256 of texts, shortened."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]
