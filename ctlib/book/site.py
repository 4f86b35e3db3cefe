"""What must be true of the rendered pages: all there, nothing loaded from a network, every image described."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from .project import Project

LOADS = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
}
NOT_LOADED = {"canonical", "author", "license", "next", "prev", "search", "index", "genindex"}  # rel of plain links


class Page(HTMLParser):
    """Problems of one page, collected while parsing."""

    def __init__(self):
        super().__init__()
        self.problems: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        url = given.get(LOADS.get(tag, ""), "") or ""
        plain_link = tag == "link" and set((given.get("rel") or "").split()) & NOT_LOADED
        if url.startswith(("http:", "https:", "//")) and not plain_link:
            self.problems.append(f"loads {url} from the network")
        if tag == "img":
            alt = (given.get("alt") or "").strip()
            if not alt or alt.lower().endswith((".png", ".jpg", ".svg")):
                self.problems.append(f"image without a real alternative text: {url[:60]}")


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
    out = []
    for name in toc_pages(project):
        path = html / f"{name}.html"
        if not path.is_file():
            out.append(f"missing page: {name}.html")
            continue
        page = Page()
        page.feed(path.read_text(encoding="utf-8"))
        out += [f"{name}.html: {p}" for p in page.problems]
    unlisted = set(f"book/{s}" for s in project.chapters()) - set(toc_pages(project))
    return out + [f"not in _toc.yml: {name}" for name in sorted(unlisted)]
