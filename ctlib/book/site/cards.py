"""The cards of the front page: figure, finding and verdicts of every chapter, from what its page opens with."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ctlib.book.page.opening import Opening, pills
from ctlib.book.project import Project
from ctlib.book.site.first_screen import opening_of_build

MARK = re.compile(r"^<!-- cards: ([\w -]+) -->$", re.M)
TITLE = re.compile(r"^# (.+)$", re.M)


def with_cards(text: str, project: Project, notebooks: Mapping[str, Mapping]) -> tuple[str, dict[str, bytes]]:
    """A page with its line `<!-- cards: SLUG SLUG -->` replaced by a grid of cards; and the pictures, by file name."""
    pictures: dict[str, bytes] = {}

    def grid(found: re.Match) -> str:
        cards = [_card(project, slug, notebooks.get(slug), pictures) for slug in found[1].split()]
        return "\n".join([":::::{grid} 1 2 2 3", ":gutter: 3", ":class-container: ctlib-cards", "", *cards, ":::::"])

    return MARK.sub(grid, text), pictures


def _card(project: Project, slug: str, nb: Mapping | None, pictures: dict[str, bytes]) -> str:
    """One card; of a chapter without an opening its title alone."""
    title = TITLE.search(project.source(slug).read_text(encoding="utf-8"))[1]
    head, link = f"::::{{grid-item-card}} {title}", [f":link: {slug}", ":link-type: doc"]
    if not (project.book / "openings" / f"{slug}.yml").is_file():
        return "\n".join([head, *link, "::::"])
    opening = opening_of_build(project, slug, nb)
    footer = [":::{card-footer}", pills(opening.counts), ":::"]
    return "\n".join([head, *_picture(opening, slug, pictures), *link, "", opening.finding, *footer, "::::"])


def _picture(opening: Opening, slug: str, pictures: dict[str, bytes]) -> list[str]:
    if opening.picture is None:
        return []
    pictures[name := f"cards/{slug}.png"] = opening.picture.png
    return [f":img-top: {name}", f":img-alt: {opening.picture.alt}"]
