"""numba's `njit` for the compiled loops of this library: stored as fresh as all of their sources, serial after a fork.

numba compiles a stored function again when the file it stands in changes; a loop made of helpers from other files would
go on with the old ones. Here the files that a module imports from its own package count too. A store that cannot be
read or written costs time, not the result: the loop is compiled in every process.

GNU OpenMP ends a forked process that starts its threads, so a parallel loop is compiled a second time, without
threads, where the process is a fork (a worker of `multiprocessing` or of torch's DataLoader).
"""

import ast
import functools
import hashlib
import os
import sys
import types
import warnings
from functools import lru_cache
from importlib.util import resolve_name
from pathlib import Path


def njit(function=None, /, *, cache: bool = False, **options):
    """`numba.njit`, bare or with its options; cache=True stores the result until one of its `sources` changes."""
    if function is None:
        return lambda function: njit(function, cache=cache, **options)
    compiled = _stored(function, options) if cache else _njit()(function, **options)
    return Parallel(compiled, function, cache, options) if options.get("parallel") else compiled


def _njit():
    import numba

    return numba.njit


class Parallel:
    """A loop in parallel, to be called from Python; in a forked process the same loop without threads."""

    def __init__(self, compiled, function, cache: bool, options: dict):
        functools.update_wrapper(self, function)
        self._compiled, self._options = compiled, {**options, "cache": cache, "parallel": False}

    def __call__(self, *args):
        return (self._compiled if os.getpid() == PROCESS else self._serial)(*args)

    def __getattr__(self, name):  # what numba's dispatchers tell about themselves
        return getattr(self.__dict__.get("_compiled"), name)

    def __reduce__(self) -> str:
        return self.__qualname__  # pickled as functions are, by name

    @functools.cached_property
    def _serial(self):
        f = self.__wrapped__
        twin = types.FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__, f.__closure__)
        twin.__module__, twin.__qualname__ = f.__module__, f"{f.__qualname__}_serial"  # names its files in the store
        return njit(twin, **self._options)


PROCESS = os.getpid()  # that imported this module: another one is a fork of it, without its threads


def _forked() -> None:
    """What a forked process does first: torch's threads are those of the same OpenMP."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _stored(function, options: dict):
    """The function compiled by numba and kept on disk, where there is a place for it."""
    try:
        compiled = _njit()(cache=True, **options)(function)
    except RuntimeError as error:
        if "locator" not in str(error):
            raise
        _tell_once()
        return _njit()(function, **options)
    cache = getattr(compiled, "_cache", None)
    if hasattr(cache, "_cache_file"):  # none with NUMBA_DISABLE_JIT
        cache._cache_file._source_stamp = cache._cache_file._source_stamp, stamp(function.__module__)
        cache._cache_file.save = functools.partial(_save, cache._cache_file)
        cache.load_overload = functools.partial(_or_none, cache.load_overload)
        cache.save_overload = functools.partial(_or_none, cache.save_overload, told=True)
    return compiled


def _save(file, key: tuple, data: object) -> None:
    """numba's saving, with files named by what they hold: two processes at once cannot take the same name."""
    stem, path = file._data_name_pattern.partition("{")[0], Path(file._cache_path)
    try:
        overloads = file._load_index()
    except Exception:  # cut off, of another version
        overloads = {}
    overloads[key] = f"{stem}{hashlib.sha256(repr((file._source_stamp, key)).encode()).hexdigest()[:16]}.nbc"
    file._save_data(overloads[key], data)
    file._save_index(overloads)
    for old in path.glob(f"{stem}*.nbc"):
        if old.name not in overloads.values():
            old.unlink(missing_ok=True)


def _or_none(call, *args, told: bool = False):
    """What the call gives, None where the store is damaged, full or not ours."""
    try:
        return call(*args)
    except Exception:  # reading a damaged file raises anything
        if told:
            _tell_once()


@lru_cache(maxsize=1)
def _tell_once() -> None:
    """One warning a process."""
    warnings.warn(
        "compiled loops cannot be stored, each process compiles them again; NUMBA_CACHE_DIR may name a folder for them",
        RuntimeWarning,
        stacklevel=2,
    )


def stamp(module: str) -> str:
    """Digest of a module's sources."""
    parts = (f"{name}\n{source(name)}\n" for name in sorted(sources(module)))
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def sources(module: str) -> set[str]:
    """A module and what it imports from its own package, directly or not: names of modules imported by now."""
    found, waiting = set(), {module}
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= {m for m in _imported(name) if m in sys.modules} - found
    return found


def source(name: str) -> str:
    """Source text, from whatever the module was loaded from: a folder, a zip; "" where there is none."""
    spec = getattr(sys.modules[name], "__spec__", None)  # its name is the module's, where `python -m` calls it __main__
    if not hasattr(getattr(spec, "loader", None), "get_source"):
        return ""
    try:
        return spec.loader.get_source(spec.name) or ""
    except (ImportError, OSError):
        return ""


@lru_cache(maxsize=256)
def _imported(name: str) -> frozenset[str]:
    return imported(ast.parse(source(name)), getattr(sys.modules[name], "__package__", None) or name, name)


def imported(tree: ast.Module, package: str, name: str) -> frozenset[str]:
    """What a module imports from its own package, and the names it takes from there, which may be modules."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return frozenset(m for m in found if m.partition(".")[0] == name.partition(".")[0])
