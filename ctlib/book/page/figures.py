"""One figure style for the book: shared windows and scales, stated units, difference maps with their own scale."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np

from ctlib.book.page.output import COLLECTOR, emit_png
from ctlib.errors import ArgumentError

WIDTH_IN = 7.0  # the book's text column: 700 px at 100 dpi
HU_WINDOWS = {  # name: (low, high) in HU
    "abdomen": (-160, 240),
    "soft": (-100, 300),
    "brain": (0, 80),
    "lung": (-1350, 150),
    "bone": (-450, 1050),
    "full": (-1000, 1000),
}
COLORS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)  # Okabe and Ito, color-blind safe
DASHES = ("-", "--", "-.", ":")
STYLE = {
    "figure.figsize": (WIDTH_IN, 3.6),
    "figure.dpi": 100,
    "savefig.dpi": 120,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.size": 11,  # 8 CSS pixels on a phone
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "lines.linewidth": 1.6,
    "legend.framealpha": 0.8,
    "legend.edgecolor": "none",
    "image.cmap": "gray",
    "image.origin": "upper",
}


def use_style() -> None:
    """Set matplotlib's defaults to the book's figure style."""
    import matplotlib as mpl
    from cycler import cycler

    mpl.rcParams.update(STYLE)
    mpl.rcParams["axes.prop_cycle"] = cycler(color=COLORS)


def as_array(image: object, name: str = "image") -> np.ndarray:
    """A 2-D image (tensor on any device or array) as float64 array, (Y, X)."""
    if hasattr(image, "detach"):
        image = image.detach().cpu()
    array = np.asarray(image, dtype=float)
    if array.ndim != 2:
        raise ArgumentError(name, f"shape {array.shape}", "a 2-D image (Y, X)")
    return array


def _range(window: str | tuple[float, float]) -> tuple[float, float]:
    low, high = HU_WINDOWS.get(window, (np.nan, np.nan)) if isinstance(window, str) else window
    if not low < high:
        raise ArgumentError("window", repr(window), f"(low, high) with low < high, or one of {', '.join(HU_WINDOWS)}")
    return float(low), float(high)


def _panels(arrays: Sequence[np.ndarray], titles: Sequence[str], ncols: int | None):
    import matplotlib.pyplot as plt

    if len(titles) != len(arrays):
        raise ArgumentError("titles", f"{len(titles)} titles", f"one for each of the {len(arrays)} images")
    ncols = ncols or {1: 1, 2: 2, 4: 2}.get(len(arrays), 4 if len(arrays) in (7, 8) else 3)
    nrows = -(-len(arrays) // ncols)
    aspect = max(a.shape[0] / a.shape[1] for a in arrays)
    panel = (WIDTH_IN - 0.9) / ncols
    height = nrows * (panel * min(aspect, 2.0) + 0.3)
    fig, axes = plt.subplots(nrows, ncols, figsize=(WIDTH_IN, height), squeeze=False, layout="constrained")
    for ax in axes.flat:
        ax.set_axis_off()
    return fig, list(axes.flat)


def _scale_bar(ax, shape: tuple[int, int], pixel_mm: float) -> None:
    """White bar of a round length, about a quarter of the image wide, at the lower left."""
    target = shape[1] * pixel_mm / 4
    decade = 10 ** np.floor(np.log10(target))
    length = max(s * decade for s in (1, 2, 5) if s * decade <= target)
    x, y, pixels = 0.05 * shape[1], 0.94 * shape[0], length / pixel_mm
    ax.plot([x, x + pixels], [y, y], color="black", linewidth=4, solid_capstyle="butt")
    ax.plot([x, x + pixels], [y, y], color="white", linewidth=2, solid_capstyle="butt")
    style = {"facecolor": "black", "alpha": 0.5, "pad": 1, "linewidth": 0}
    ax.text(x + pixels / 2, y - 0.03 * shape[0], f"{length:g} mm", color="white", ha="center", fontsize=11, bbox=style)


def images(
    panels: Sequence,
    titles: Sequence[str],
    *,
    window: str | tuple[float, float],
    unit: str,
    pixel_mm: float | None = None,
    ncols: int | None = None,
    cmap: str = "gray",
    label: str = "",
):
    """Images side by side in one stated window with one shared bar; returns the figure.

    panels    2-D images (Y, X), all in `unit`
    window    (low, high) in `unit`, or a name of HU_WINDOWS
    pixel_mm  pixel size: draws a scale bar into the first panel
    """
    arrays = [as_array(p, f"panels[{i}]") for i, p in enumerate(panels)]
    low, high = _range(window)
    fig, axes = _panels(arrays, titles, ncols)
    for ax, array, title in zip(axes, arrays, titles, strict=False):
        shown = ax.imshow(array, cmap=cmap, vmin=low, vmax=high)
        ax.set_title(title)
    if pixel_mm:
        _scale_bar(axes[0], arrays[0].shape, pixel_mm)
    fig.colorbar(shown, ax=axes, label=f"{label} [{unit}]".strip(), fraction=0.05, pad=0.02, aspect=25)
    return fig


def difference(
    panels: Sequence,
    reference: object,
    titles: Sequence[str],
    *,
    limit: float | None = None,
    unit: str,
    pixel_mm: float | None = None,
    ncols: int | None = None,
):
    """Maps of image minus reference in one symmetric scale [-limit, limit], which the bar states; returns the figure.

    limit  default: the largest 99.5 % quantile of |difference| over the panels, so that one hot pixel does not set it
    """
    ref = as_array(reference, "reference")
    arrays = [as_array(p, f"panels[{i}]") - ref for i, p in enumerate(panels)]
    limit = limit or max(float(np.quantile(np.abs(a), 0.995)) for a in arrays) or 1.0
    label = f"image - reference, scale ±{limit:.2g}"
    return images(
        arrays, titles, window=(-limit, limit), unit=unit, pixel_mm=pixel_mm, ncols=ncols, cmap="RdBu_r", label=label
    )


def curves(series: Mapping[str, tuple], *, xlabel: str, ylabel: str, log: str = ""):
    """Curves in one pair of axes, told apart by color and dash; returns the figure.

    series  {label: (x, y)}; a 2-D y, (seeds, points), is drawn as its median with the range over seeds shaded
    log     axes on a logarithmic scale: "", "x", "y" or "xy"
    """
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(WIDTH_IN, 3.6), layout="constrained")
    for i, (label, (x, y)) in enumerate(series.items()):
        y = np.atleast_2d(np.asarray(y, dtype=float))
        look = {"color": COLORS[i % len(COLORS)], "linestyle": DASHES[i % len(DASHES)]}
        ax.plot(x, np.median(y, axis=0), label=label, **look)
        if len(y) > 1:
            ax.fill_between(x, y.min(axis=0), y.max(axis=0), alpha=0.2, linewidth=0, color=look["color"])
    ax.set(
        xlabel=xlabel, ylabel=ylabel, xscale="log" if "x" in log else "linear", yscale="log" if "y" in log else "linear"
    )
    ax.legend()
    return fig


def png(fig, colors: int = 256) -> bytes:
    """A figure as a small PNG: reduced to a palette where Pillow is installed."""
    raw = io.BytesIO()
    fig.savefig(raw, format="png", bbox_inches="tight")
    return shrink(raw.getvalue(), colors)


def shrink(data: bytes, colors: int = 256) -> bytes:
    """The same PNG with a palette of `colors`, if that is smaller."""
    try:
        from PIL import Image
    except ImportError:
        return data
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").quantize(colors).save(out, format="png", optimize=True)
    return min(data, out.getvalue(), key=len)


def keep(name: str, fig, alt: str) -> None:
    """Show a figure and mark it for `record`: a recorded run stores it under `name` with this alternative text."""
    import matplotlib.pyplot as plt

    if not name.replace("-", "").replace("_", "").isalnum():
        raise ArgumentError("name", repr(name), "letters, digits, - and _ only: it becomes a file name")
    if not alt.strip():
        raise ArgumentError("alt", repr(alt), "a sentence that says what the figure shows")
    data = png(fig)
    plt.close(fig)
    if (collector := COLLECTOR.get()) is not None:
        collector.figures[name] = (data, alt)
    emit_png(f"figure {name}: {alt}", data, {"ctlib": {"keep": name, "alt": alt}})
