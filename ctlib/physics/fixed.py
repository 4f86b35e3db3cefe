"""Objects that do not change: what was computed from one stays true."""

from __future__ import annotations

from ctlib.errors import ArgumentError


class Fixed:
    """Attributes are set once, by `_set`; `replace` of the class makes a changed copy."""

    def _set(self, **values) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value) -> None:
        kind = type(self).__name__
        raise ArgumentError(name, "an assignment", f"a new {kind}: a {kind} does not change, .replace({name}=...) does")

    def __delattr__(self, name: str) -> None:
        raise ArgumentError(name, "a deletion", f"to stay: a {type(self).__name__} does not change")
