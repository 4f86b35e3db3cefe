"""What must be true of the rendered pages: all there, nothing loaded from a network, every image described."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

from ctlib.book.project import Project

LOADS = {  # tag: attribute by which a browser fetches something
    **dict.fromkeys(("audio", "embed", "iframe", "img", "input", "script", "source", "track", "video"), "src"),
    "link": "href",
    "object": "data",
}
NOT_LOADED = {"canonical", "author", "license", "next", "prev", "search", "index", "genindex"}  # rel of plain links
REMOTE = re.compile(r"\s*(https?:)?//", re.I)
CSS_REMOTE = re.compile(r"(?:url\(|@import)\s*[\"']?\s*((?:https?:)?//[^\s\"')]+)", re.I)
JS_REMOTE = re.compile(r"\bimport\b[^;\n]*?[\"']((?:https?:)?//[^\"']+)")
WIDGETS = "application/vnd.jupyter.widget-state+json"


class Page(HTMLParser):
    """Problems of one page, collected while parsing; the pictures inside widgets are looked at too."""

    def __init__(self, text: str):
        super().__init__()
        self.problems: list[str] = []
        self._inside, self._held = "", []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        given = {k: v or "" for k, v in attrs}
        if tag in ("script", "style"):
            self._inside = given.get("type", "script") if tag == "script" else "style"
        url = given.get(LOADS.get(tag, ""), "")
        plain_link = tag == "link" and set(given.get("rel", "").split()) & NOT_LOADED
        urls = [] if plain_link else [url, *given.get("srcset", "").split(",")]
        self.problems += [f"loads {u.strip()} from the network" for u in urls if REMOTE.match(u)]
        self._remote(CSS_REMOTE, given.get("style", ""))
        if tag == "img":
            alt = given.get("alt", "").strip()
            if not alt or alt.lower().endswith((".png", ".jpg", ".jpeg", ".svg", ".gif")):
                self.problems.append(f"image without a real alternative text: {url[:60]}")

    def handle_data(self, data):
        if self._inside:
            self._held.append(data)  # comes in pieces

    def handle_endtag(self, tag):
        if tag not in ("script", "style"):
            return
        text, inside = "".join(self._held), self._inside
        self._inside, self._held = "", []
        if inside == "style":
            self._remote(CSS_REMOTE, text)
        elif inside in ("module", "script", "text/javascript"):
            self._remote(JS_REMOTE, text)
        elif inside == WIDGETS:
            for part in json.loads(text)["state"].values():
                if isinstance(html := part["state"].get("value"), str) and "<" in html:
                    self.problems += [f"widget: {p}" for p in Page(html).problems]

    def _remote(self, pattern: re.Pattern, text: str) -> None:
        self.problems += [f"loads {url} from the network" for url in pattern.findall(text)]


def toc_pages(project: Project) -> list[str]:
    """Every page of _toc.yml, the root first."""
    import yaml

    def files(node):
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("file", "root"):
                    yield value
                else:
                    yield from files(value)
        elif isinstance(node, list):
            for item in node:
                yield from files(item)

    return list(files(yaml.safe_load((project.root / "_toc.yml").read_text(encoding="utf-8"))))


def problems(project: Project, html: Path) -> list[str]:
    """One line per problem of the rendered book; empty when all is well."""
    pages = toc_pages(project)
    out = [f"missing page: {name}.html" for name in pages if not (html / f"{name}.html").is_file()]
    for path in sorted(html.rglob("*.html")):
        found = Page(path.read_text(encoding="utf-8")).problems
        out += [f"{path.relative_to(html).as_posix()}: {p}" for p in dict.fromkeys(found)]
    for path in sorted(html.rglob("*.css")):
        found = CSS_REMOTE.findall(path.read_text(encoding="utf-8", errors="replace"))
        out += [f"{path.relative_to(html).as_posix()}: loads {url} from the network" for url in found]
    unlisted = {f"book/{slug}" for slug in project.chapters()} - set(pages)
    return out + [f"not in _toc.yml: {name}" for name in sorted(unlisted)]
