"""Sliders that work live and in the published page, without a kernel and without a network."""

from __future__ import annotations

import base64
import html
import io
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from ctlib.book.page.output import in_kernel
from ctlib.errors import ArgumentError

MAX_STATES = 60
MIN_WIDTH = 384  # CSS pixels to which small arrays are enlarged


def to_png(image: object) -> bytes:
    """PNG bytes of a figure, of PNG bytes, or of a 2-D array with values in [0, 1] (black to white)."""
    from ctlib.book.page import figures

    if isinstance(image, bytes):
        return image
    if hasattr(image, "savefig"):
        import matplotlib.pyplot as plt

        data = figures.png(image, colors=128)
        plt.close(image)
        return data
    from PIL import Image

    gray = np.clip(np.nan_to_num(figures.as_array(image)), 0, 1) * 255 + 0.5
    out = io.BytesIO()
    Image.fromarray(gray.astype(np.uint8)).save(out, format="png", optimize=True)
    return out.getvalue()


def shown_width(data: bytes, pixelated: bool, width: int) -> int:
    """CSS pixels: a figure at most in its own size, a small array enlarged by a whole factor, neither above `width`."""
    native = int.from_bytes(data[16:20], "big")  # the PNG header holds the width there
    return min(width, native * max(1, -(-MIN_WIDTH // native)) if pixelated else native)


def state_html(image: object, caption: str, alt: str, width: int) -> str:
    """One state as an HTML figure; every text is escaped."""
    data = to_png(image)
    pixelated = not isinstance(image, bytes) and not hasattr(image, "savefig")
    style = "width:100%;height:auto" + (";image-rendering:pixelated" if pixelated else "")
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return (
        f'<figure class="ctlib-explore" style="margin:0;max-width:{shown_width(data, pixelated, width)}px">'
        f'<img style="{style}" alt="{html.escape(alt, quote=True)}" src="{source}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def text_of(value: object) -> str:
    """A slider's value as people read it: 10000.0 is 10000."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def states(render: Callable, axes: dict[str, Sequence], width: int) -> dict[tuple[int, ...], str]:
    """HTML of every state, by its index along each axis; `render(**point)` gives (image, caption)."""
    count = math.prod(len(v) for v in axes.values())
    if not axes or count < 1 or count > MAX_STATES:
        raise ArgumentError(
            "axes", f"{count} states", f"at least one axis and 1 to {MAX_STATES} states: a page holds all"
        )
    out = {}
    for index in itertools.product(*(range(len(v)) for v in axes.values())):
        point = {name: values[i] for (name, values), i in zip(axes.items(), index, strict=True)}
        image, caption = render(**point)
        if not str(caption).strip():
            raise ArgumentError("caption", "an empty text", "one line that says what this state shows")
        where = ", ".join(f"{k} = {text_of(v)}" for k, v in point.items())
        out[index] = state_html(image, str(caption), f"{caption} ({where})", width)
    return out


def explore(render: Callable, width: int = 640, **axes: Sequence):
    """Sliders over a grid of precomputed states, linked in the browser.

    render  called once per state as render(**point); gives (figure | PNG bytes | 2-D array in [0, 1], caption)
    axes    name=values, one slider each; at most 60 states
    """
    axes = {name: list(values) for name, values in axes.items()}
    if not in_kernel():
        print(f"explore: {' x '.join(f'{len(v)} {k}' for k, v in axes.items())} (needs Jupyter)")
        return None
    pictures = states(render, axes, width)
    from IPython.display import HTML, display

    first = next(iter(pictures.values()))
    display(HTML(f"<noscript>{first}</noscript>"))
    return box(pictures, axes)


def box(pictures: dict[tuple[int, ...], str], axes: dict[str, list]):
    """Widget of nested stacks: slider i selects in every Stack of level i by a link that runs in the browser."""
    import ipywidgets as w

    sliders = [
        w.SelectionSlider(
            options=[text_of(v) for v in values], description=name, tooltip=name, layout=w.Layout(width="95%")
        )
        for name, values in axes.items()
    ]

    def level(prefix: tuple[int, ...]):
        depth = len(prefix)
        if depth == len(sliders):
            return w.HTML(pictures[prefix])
        children = [level((*prefix, i)) for i in range(len(sliders[depth].options))]
        stack = w.Stack(children, selected_index=0)
        w.jslink((sliders[depth], "index"), (stack, "selected_index"))
        return stack

    root = level(())
    note = f"{len(pictures)} states, computed when this page ran. Drag, or focus a slider and use the arrow keys."
    return w.VBox([*sliders, root, w.HTML(f"<small>{note}</small>")])
