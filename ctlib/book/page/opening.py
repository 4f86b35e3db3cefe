"""How a page opens: the finding, verdicts counted, the central figure, its paper and where to go on."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from ctlib.book.page.output import emit

MARK = "opening"  # in the metadata of the outputs
PILLS = {  # verdict: (color, text for one, text for several)
    "reproduced": ("good", "reproduced", "reproduced"),
    "direction only": ("part", "in direction", "in direction"),
    "not reproduced": ("bad", "not reproduced", "not reproduced"),
    "erratum": ("mute", "erratum", "errata"),
    "unsettled": ("mute", "unsettled", "unsettled"),
    "seen": ("mute", "seen, not judged", "seen, not judged"),
    "not testable": ("mute", "not testable", "not testable"),
    "not measured": ("mute", "not measured yet", "not measured yet"),
}


def pills(counts: Mapping[str, int]) -> str:
    """Numbers of claims by verdict as small badges, in one line of HTML; verdicts without a claim are left out."""
    shown = [
        (kind, counts[v], one if counts[v] == 1 else more) for v, (kind, one, more) in PILLS.items() if counts.get(v)
    ]
    spans = (f'<span class="ctlib-pill ctlib-{kind}">{count} {text}</span>' for kind, count, text in shown)
    return f'<div class="ctlib-pills">{" ".join(spans)}</div>'


@dataclass(frozen=True)
class Picture:
    """The central figure: PNG bytes, alternative text, and the sentence that says where it was computed."""

    png: bytes
    alt: str
    computed: str


@dataclass(frozen=True)
class Opening:
    """What stands above everything else on a page; texts are Markdown.

    counts   claims by verdict of record
    picture  None where no run has kept the figure yet
    run      HTML anchor of the place where a reader starts to run the page; empty: no link
    """

    slug: str
    finding: str
    counts: Mapping[str, int]
    caption: str
    paper: str
    minutes: int
    picture: Picture | None = None
    run: str = ""

    def bundles(self) -> list[tuple[dict, dict]]:
        """(MIME bundle, metadata) of each output, in order."""
        head = f'<div class="ctlib-finding">\n\n{self.finding}\n\n</div>\n\n{pills(self.counts)}'
        out = [self._text(self.finding, head)]
        if self.picture:
            data = {"image/png": base64.b64encode(self.picture.png).decode(), "text/plain": self.picture.alt}
            figure = {"caption": self.full_caption, "name": f"fig-{self.slug}-opening"}
            out.append((data, {"ctlib": {"part": MARK, "alt": self.picture.alt, "figure": figure}}))
            caption = f'<div class="ctlib-caption">\n\n{self.full_caption}\n\n</div>'
            out.append(self._text(self.caption, caption, "caption"))  # where Sphinx does not set it
        out.append(self._text(self.paper, f'<div class="ctlib-about">\n\n{self._about()}\n\n</div>'))
        return out

    @property
    def full_caption(self) -> str:
        """The caption with where the figure was computed."""
        return f"{self.caption} {self.picture.computed}".strip() if self.picture else self.caption

    def show(self) -> None:
        """Display it in a kernel, print its finding elsewhere."""
        for number, (data, metadata) in enumerate(self.bundles()):
            rich = {mime: value for mime, value in data.items() if mime != "text/plain"}
            if number == 0 or rich:
                emit(data["text/plain"], rich, metadata)

    def _about(self) -> str:
        links = [f'<a href="#{self.run}">run it yourself</a>'] if self.run else []
        links.append("[all claims](scoreboard.md)")
        return f"{self.paper} · {self.minutes} minutes to read · {' · '.join(links)}"

    def _text(self, plain: str, markdown: str, part: str = MARK) -> tuple[dict, dict]:
        return {"text/markdown": markdown, "text/plain": plain}, {"ctlib": {"part": part}}
