"""Boxes and arrows as SVG in HTML: colors that a style sheet may change for a dark page, and an alternative text."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, GAP, ROW_GAP, MARGIN = 112, 22, 34, 10  # pixels
LINE = 15  # height of a line of text
COLORS = {"data": ("#eef3fa", "#5b7db1"), "learned": ("#fdf0e3", "#c77f2e"), "fixed": ("#e6f5ee", "#2f9c73")}
MEANING = {"data": "data", "learned": "trained", "fixed": "fixed"}
ARROW = "#7d8590"


@dataclass(frozen=True)
class Box:
    """A box at (row, column) of a grid; columns may be halves. `lines` are its texts, the last one small."""

    lines: tuple[str, ...]
    kind: str
    row: int
    column: float


class Drawing:
    """Boxes, and arrows (from, to) between them; in a notebook and on the page SVG, elsewhere its text."""

    def __init__(self, boxes: Sequence[Box], arrows: Sequence[tuple[int, int]], alt: str):
        self.boxes, self.arrows, self.alt = list(boxes), list(arrows), alt
        self.height = 12 + LINE * max(len(b.lines) for b in boxes)

    def __repr__(self) -> str:
        return self.alt

    def _repr_html_(self) -> str:
        rows = 1 + max(b.row for b in self.boxes)
        lanes = self._lanes()
        top = MARGIN + 9 * max(lanes.values(), default=0)
        width = round(2 * MARGIN + (1 + max(b.column for b in self.boxes)) * (WIDTH + GAP) - GAP)
        kinds = [k for k in COLORS if any(b.kind == k for b in self.boxes)]
        height = round(top + rows * (self.height + ROW_GAP) - ROW_GAP + MARGIN + (22 if len(kinds) > 1 else 0))
        parts = [self._arrow(pair, top, lane) for pair, lane in lanes.items()]
        parts += [self._box(b, top) for b in self.boxes]
        if len(kinds) > 1:
            parts += [_legend(kinds, height - 6)]
        size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        alt = html.escape(self.alt, quote=True)
        font = 'font-family="sans-serif" font-size="12" text-anchor="middle"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{alt}" {font}>'
        return f'<div class="ctlib-diagram ctlib-scroll">{head}{_tip()}{"".join(parts)}</svg></div>'

    def _lanes(self) -> dict[tuple[int, int], int]:
        """Arrows that pass over boxes of their own row, by how many lanes above it they run; the others at 0."""
        found, used = {}, {}
        for pair in sorted(self.arrows, key=lambda p: abs(self.boxes[p[1]].column - self.boxes[p[0]].column)):
            a, b = (self.boxes[i] for i in pair)
            between = [c for c in self.boxes if c.row == a.row == b.row and a.column < c.column < b.column]
            found[pair] = used[a.row] = used.get(a.row, 0) + 1 if between else 0
            if not between:
                used[a.row] = used.get(a.row, 0)
        return found

    def _corner(self, box: Box, top: float) -> tuple[float, float]:
        return MARGIN + box.column * (WIDTH + GAP), top + box.row * (self.height + ROW_GAP)

    def _box(self, box: Box, top: float) -> str:
        x, y = self._corner(box, top)
        fill, stroke = COLORS[box.kind]
        look = f'width="{WIDTH}" height="{self.height}" rx="5" fill="{fill}" stroke="{stroke}"'
        middle, start = x + WIDTH / 2, y + self.height / 2 - LINE * (len(box.lines) - 1) / 2 + 4
        texts = [
            f'<text x="{middle:g}" y="{start + LINE * i:g}"{_small(i, len(box.lines))}>{html.escape(line)}</text>'
            for i, line in enumerate(box.lines)
        ]
        return f'<rect class="{box.kind}" x="{x:g}" y="{y:g}" {look}/>{"".join(texts)}'

    def _arrow(self, pair: tuple[int, int], top: float, lane: int) -> str:
        (a, b), h = (self.boxes[i] for i in pair), self.height
        (ax, ay), (bx, by) = self._corner(a, top), self._corner(b, top)
        middle = WIDTH / 2
        if lane:  # over the boxes between them
            up = ay - 9 * lane
            path = f"M{ax + middle + 14:g} {ay:g}V{up:g}H{bx + middle - 14:g}V{by:g}"
        elif a.row == b.row:
            path = f"M{ax + WIDTH:g} {ay + h / 2:g}H{bx:g}"
        elif a.row < b.row and bx >= ax + WIDTH:  # down, then in from the left
            path = f"M{ax + middle:g} {ay + h:g}V{by + h / 2:g}H{bx:g}"
        elif a.row > b.row and bx + middle >= ax + WIDTH:  # to the right, then up
            path = f"M{ax + WIDTH:g} {ay + h / 2:g}H{bx + middle:g}V{by + h:g}"
        elif a.row < b.row:
            path = f"M{ax + middle:g} {ay + h:g}V{by - ROW_GAP / 2:g}H{bx + middle:g}V{by:g}"
        else:
            path = f"M{ax + middle:g} {ay:g}V{by + h + ROW_GAP / 2:g}H{bx + middle:g}V{by + h:g}"
        return f'<path class="arrow" d="{path}" fill="none" stroke="{ARROW}" marker-end="url(#ctlib-tip)"/>'


def _small(i: int, count: int) -> str:
    return ' class="shape" font-size="11"' if i == count - 1 else ""


def _tip() -> str:
    shape = f'<path class="tip" d="M0 0L7 3.5L0 7z" fill="{ARROW}"/>'
    where = 'viewBox="0 0 7 7" refX="7" refY="3.5" markerWidth="7" markerHeight="7" orient="auto"'
    return f'<defs><marker id="ctlib-tip" {where}>{shape}</marker></defs>'


def _legend(kinds: Sequence[str], y: float) -> str:
    parts, x = [], MARGIN
    for kind in kinds:
        fill, stroke = COLORS[kind]
        place = f'x="{x}" y="{y - 10:g}" width="11" height="11" rx="2"'
        square = f'<rect class="{kind}" {place} fill="{fill}" stroke="{stroke}"/>'
        parts.append(f'{square}<text x="{x + 16}" y="{y:g}" font-size="11" text-anchor="start">{MEANING[kind]}</text>')
        x += 32 + 7 * len(MEANING[kind])
    return "".join(parts)


def wrapped(text: str, letters: int = 16) -> tuple[str, ...]:
    """A text in lines of about so many letters, broken between words."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > letters:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return tuple(lines)


def sizes(shape: Sequence[int]) -> str:
    """A shape as people read it: 16 × 64 × 64."""
    return " × ".join(map(str, shape)) or "a number"
