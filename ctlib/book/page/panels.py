"""Several plots of curves in one figure, with levels to pass, points to see and one curve to find."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from ctlib.book.page.figures import COLORS, WIDTH_IN, as_array
from ctlib.errors import ArgumentError


def curve_panels(
    panels: Mapping[str, Mapping[str, tuple]],
    *,
    xlabel: str,
    ylabel: str,
    ncols: int = 2,
    log: str = "",
    levels: Mapping[str, Mapping[str, float]] | None = None,
    dots: Mapping[str, Mapping[str, tuple[float, float]]] | None = None,
    thick: Collection[tuple[str, str]] = (),
    image: object = None,
):
    """Plots side by side, a label of one color in all of them, named once above them where all have the same.

    panels  {title: {label: (x, y)}}; a 2-D y, (seeds, points), is drawn as its median with the range shaded
    levels  {title: {label: y}}: dashed lines in the label's color;  dots  {title: {label: (x, y)}}: points
    thick   (title, label) of curves to find;  image: shown first, values in [0, 1], black to white
    """
    import matplotlib.pyplot as plt

    if not panels:
        raise ArgumentError("panels", "none", "at least one plot")
    labels = list(dict.fromkeys(label for series in panels.values() for label in series))
    shared = len(panels) > 1 and len(labels) > 2 and all(list(series) == labels for series in panels.values())
    first = int(image is not None)
    ncols = min(ncols, len(panels) + first)
    nrows, size = -(-(len(panels) + first) // ncols), 8 if ncols > 2 else 9
    fig, axes = plt.subplots(
        nrows, ncols, figsize=(WIDTH_IN, max(3.3, 2.3 * nrows)), squeeze=False, layout="constrained"
    )
    for ax in [*axes.flat[:first], *axes.flat[first + len(panels) :]]:
        ax.set_axis_off()
    if first:
        axes.flat[0].imshow(as_array(image), vmin=0, vmax=1, cmap="gray")
    for ax, (title, series) in zip(axes.flat[first:], panels.items(), strict=False):
        for label, (x, y) in series.items():
            color, y = COLORS[labels.index(label) % len(COLORS)], np.atleast_2d(np.asarray(y, dtype=float))
            width = 2.8 if (title, label) in thick else 1.3
            ax.plot(x, np.median(y, axis=0), label=label, color=color, linewidth=width)
            if len(y) > 1:
                ax.fill_between(x, y.min(axis=0), y.max(axis=0), alpha=0.2, linewidth=0, color=color)
            if label in (levels or {}).get(title, {}):
                ax.axhline(levels[title][label], color=color, linestyle="--", linewidth=1)
            if label in (dots or {}).get(title, {}):
                ax.plot(*dots[title][label], "o", color=color, markersize=5)
        ax.set_title(title, fontsize=size + 1)
        ax.tick_params(labelsize=size)
        ax.set(xscale="log" if "x" in log else "linear", yscale="log" if "y" in log else "linear")
        for axis in (a for name, a in (("x", ax.xaxis), ("y", ax.yaxis)) if name in log):
            _log_ticks(axis)
        if not shared:
            ax.legend(fontsize=size - 1)
    if shared:
        named, fit = axes.flat[first].get_legend_handles_labels(), 125 // (max(map(len, labels)) + 6)
        fig.legend(*named, loc="outside upper center", ncols=max(1, min(len(labels), fit)), fontsize=size - 1)
    fig.supxlabel(xlabel, fontsize=size + 1)
    fig.supylabel(ylabel, fontsize=size + 1)
    return fig


def _log_ticks(axis) -> None:
    """Numbers that do not run into each other: powers of ten, or a few in between where there are hardly any."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_minor_formatter(NullFormatter())
    if high < 30 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
