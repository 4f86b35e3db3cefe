"""numba's `njit` for the compiled loops of this library: what it stores on disk is as fresh as all of its sources.

numba compiles a stored function again when the file it stands in changes; a loop made of helpers from other files would
go on with the old ones. Here the files that a module imports from its own package count too.
"""

import ast
import hashlib
import sys
from functools import lru_cache
from importlib.util import resolve_name


def njit(function=None, /, *, cache: bool = False, **options):
    """`numba.njit`, bare or with its options; cache=True stores the result until one of its `sources` changes."""
    if function is None:
        return lambda function: njit(function, cache=cache, **options)
    import numba

    compiled = numba.njit(cache=cache, **options)(function)
    file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)  # none without a cache, or NUMBA_DISABLE_JIT
    if file is not None:
        file._source_stamp = file._source_stamp, stamp(function.__module__)  # kept in the index, compared when loading
    return compiled


def stamp(module: str) -> str:
    """Digest of a module's sources."""
    parts = (f"{name}\n{_source(name)}\n" for name in sorted(sources(module)))
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def sources(module: str) -> set[str]:
    """A module and what it imports from its own package, directly or not: names of modules imported by now."""
    found, waiting = set(), {module}
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= {m for m in _imported(name) if m in sys.modules} - found
    return found


def _source(name: str) -> str:
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
    """What the module imports from its own package, and the names it takes from there, which may be modules."""
    package, found = getattr(sys.modules[name], "__package__", None) or name, set()
    for node in ast.walk(ast.parse(_source(name))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return frozenset(m for m in found if m.partition(".")[0] == name.partition(".")[0])
