"""`diagram.network` and `diagram.pipeline`: pictures of a method drawn from the code that runs, with tensor shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from ctlib.book.page.dataflow import INPUT, Flow, flow_of
from ctlib.book.page.drawing import Box, Drawing, sizes, wrapped
from ctlib.errors import ArgumentError

IN_A_ROW = 5


def network(net: nn.Module, shape: Sequence[int] | Sequence[Sequence[int]], depth: int | None = None) -> Drawing:
    """A network's blocks and what flows between them, found by running a copy of it once; rows are resolutions.

    shape  of its input with the batch axis, (1, 32, 64, 64), or a list of shapes where it takes several
    depth  how far parts are opened: 1, its own; 2, theirs; None: what gives at least three blocks
    """
    several = len(shape) and not isinstance(shape[0], int)
    inputs = [tuple(s) for s in shape] if several else [tuple(shape)]
    if not isinstance(net, nn.Module) or not inputs or not all(len(s) > 1 and min(s) > 0 for s in inputs):
        raise ArgumentError("net, shape", (type(net).__name__, shape), "a torch module and the shape of its input")
    flow = flow_of(net, inputs, depth)
    if not flow.blocks:
        raise ArgumentError("net", type(net).__name__, "parts with weights")
    return Drawing(*_laid_out(flow), _described(type(net).__name__, flow))


def _laid_out(flow: Flow) -> tuple[list[Box], list[tuple[int, int]]]:
    """Boxes in rows by resolution, on the way down from the left, on the way up from the right; and the arrows."""
    last = len(flow.blocks)
    shapes = [*flow.inputs[:1], *(b.shape for b in flow.blocks), flow.output]
    texts = [("input",), *(_texts(b) for b in flow.blocks), ("output",)]
    rows = _rows(shapes)
    deepest = rows.index(max(rows))
    places = _columns(rows, deepest)
    kinds = ["data", *["learned"] * last, "data"]
    boxes = [
        Box((*text, sizes(shape)), kind, row, column)
        for text, shape, kind, row, column in zip(texts, shapes, kinds, rows, places, strict=True)
    ]
    arrows = [(i if i != INPUT else -1, j) for j, b in enumerate(flow.blocks) for i in b.after]
    arrows += [(i, last) for i in flow.last]
    return boxes, [(i + 1, j + 1) for i, j in arrows]


def _texts(block) -> tuple[str, ...]:
    words = block.name.rpartition(".")
    name = block.name if words[2].isdigit() else words[2]
    times = f" × {block.count}" if block.count > 1 else ""
    kind = wrapped(block.kind + times, 18)
    return (" ".join(name.replace("_", " ").split(".")[-2:]), *kind)


def _rows(shapes: Sequence[tuple[int, ...]]) -> list[int]:
    """Row of every shape: 0 for the finest resolution, one more for each coarser one; texts of vectors come last."""
    extents = [math.prod(s[1:]) ** (1 / max(1, len(s) - 1)) if len(s) > 1 else 0.0 for s in shapes]
    order = sorted({round(e, 6) for e in extents}, reverse=True)
    return [order.index(round(e, 6)) for e in extents]


def _columns(rows: list[int], deepest: int) -> list[float]:
    if max(rows) == 0:  # one resolution: lines of boxes
        rows[:] = [i // IN_A_ROW for i in range(len(rows))]
        return [i % IN_A_ROW for i in range(len(rows))]
    down = [[i for i, r in enumerate(rows) if r == row and i <= deepest] for row in range(max(rows) + 1)]
    up = [[i for i, r in enumerate(rows) if r == row and i > deepest] for row in range(max(rows) + 1)]
    width = max(len(d) + len(u) for d, u in zip(down, up, strict=True))
    columns = [0.0] * len(rows)
    for d, u in zip(down, up, strict=True):
        for k, i in enumerate(d):
            columns[i] = k
        for k, i in enumerate(u):
            columns[i] = width - len(u) + k
    return columns


def _described(name: str, flow: Flow) -> str:
    """The alternative text: every block with what it is and the shape it gives."""
    parts = [f"{' '.join(_texts(b))} gives {sizes(b.shape)}" for b in flow.blocks]
    given = " and ".join(map(sizes, flow.inputs))
    total = f"{flow.weights / 1e6:.2f} million" if flow.weights >= 1e5 else f"{flow.weights}"
    return f"{name}, {total} weights, from {given}: {'; '.join(parts)}; output {sizes(flow.output)}."


def pipeline(stages: Sequence[tuple[str, object]]) -> Drawing:
    """The steps of a method in a row, each run once on what the step before it gave, to know the shapes.

    stages  (label, what) in order. What: a tensor or a shape, new data; a function, operator or network, which is run;
            None for a name of what is there, such as the result
    """
    for stage in stages:
        if not isinstance(stage, (tuple, list)) or len(stage) != 2 or not isinstance(stage[0], str):
            raise ArgumentError("stages", repr(stage)[:60], "pairs of a label and what it is")
    boxes, texts, here = [], [], None
    for number, (label, what) in enumerate(stages):
        here, kind = _step(number, label, what, here)
        where = sizes(here if isinstance(here, tuple) else here.shape)
        boxes.append(Box((*wrapped(label), where), kind, number // IN_A_ROW, number % IN_A_ROW))
        texts.append(f"{label} ({where})")
    if not boxes:
        raise ArgumentError("stages", "no stage", "pairs of a label and what it is")
    arrows = [(i, i + 1) for i in range(len(boxes) - 1)]
    return Drawing(boxes, arrows, f"Pipeline: {', then '.join(texts)}.")


def _step(number: int, label: str, what: object, here):
    """(data or its shape, kind of box) after a stage."""
    if what is None and here is not None:
        return here, "data"
    if isinstance(what, torch.Tensor):
        return what, "data"
    if isinstance(what, (tuple, list)) and all(isinstance(n, int) for n in what):
        return tuple(what), "data"
    if not isinstance(what, Callable) or here is None:
        needed = "data first: a tensor or a shape" if here is None else "a tensor, a shape, a function or None"
        raise ArgumentError(f"stages[{number}]", f"{label}: {type(what).__name__}", needed)
    here = torch.zeros(here) if isinstance(here, tuple) else here
    with torch.no_grad():
        made = what(here)
    trained = isinstance(what, nn.Module) and any(True for _ in what.parameters())
    return made, "learned" if trained else "fixed"
