"""What a chapter says leaves through here: a display in a kernel, plain print elsewhere, a collector if one is set."""

from __future__ import annotations

import base64
from contextvars import ContextVar
from dataclasses import dataclass, field

CLAIM_MIME = "application/vnd.ctlib.claim+json"


@dataclass
class Collector:
    """What a chapter measured when it runs by plain `exec` (no kernel): claim records, kept figures, numbers."""

    claims: dict[str, dict] = field(default_factory=dict)  # id -> {"values", "median", "min", "max", "verdict"}
    figures: dict[str, tuple[bytes, str]] = field(default_factory=dict)  # name -> (PNG bytes, alt text)
    numbers: dict[str, str] = field(default_factory=dict)  # name -> rounded text
    kept: dict[str, dict] = field(default_factory=dict)  # name -> {"values", "median", "min", "max", "unit"}
    curves: dict[str, dict] = field(default_factory=dict)  # name -> {"steps", "values", "unit"}
    said: dict[str, int] = field(default_factory=dict)  # sentence that the numbers chose -> which case it was


COLLECTOR: ContextVar[Collector | None] = ContextVar("ctlib_collector", default=None)


def in_kernel() -> bool:
    """True when code runs in IPython, so that a display output has somewhere to go."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return get_ipython() is not None


def emit(text: str, bundle: dict | None = None, metadata: dict | None = None) -> None:
    """Show one output: the MIME `bundle` with `text` as its plain form in a kernel, `text` printed elsewhere."""
    if not in_kernel():
        print(text)
        return
    from IPython.display import display

    display({**(bundle or {}), "text/plain": text}, raw=True, metadata=metadata or {})


def emit_png(text: str, png: bytes, metadata: dict | None = None) -> None:
    """Show a PNG image in a kernel, `text` elsewhere."""
    emit(text, {"image/png": base64.b64encode(png).decode()}, metadata)


def tell(text: str, mark: dict) -> None:
    """Leave a mark for `record` in the notebook's outputs, which shows nothing there; print `text` elsewhere."""
    if not in_kernel():
        print(text)
        return
    from IPython.display import display

    display({}, raw=True, metadata={"ctlib": mark})


def for_page(nb: dict) -> None:
    """Make an executed notebook fit for Sphinx, in place: claim records and marks out, alt texts where it reads them.

    Sphinx warns about MIME types it does not know, and takes alternative texts from the cell metadata alone.
    """
    for cell in nb["cells"]:
        if "outputs" in cell:
            cell["outputs"] = [o for o in cell["outputs"] if o.get("data", True)]
        for out in cell.get("outputs", []):
            out.get("data", {}).pop(CLAIM_MIME, None)
            alt = out.get("metadata", {}).get("ctlib", {}).get("alt")
            if alt:
                image = cell["metadata"].setdefault("mystnb", {}).setdefault("image", {})
                image.setdefault("alt", alt)
