"""A recorded run as a research object: an RO-Crate 1.1 with its files, what made them and what they show.

The crate is one zip archive, the same bytes whenever the same run is packed.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import ctlib
from ctlib.book.ledger.badges import anchor
from ctlib.book.ledger.claim import Claim
from ctlib.book.ledger.claimfile import BOOK
from ctlib.book.ledger.collected import ChapterLedger
from ctlib.book.ledger.export import crate_name
from ctlib.book.page.tables import measured

VERSION = "1.1"  # of RO-Crate: what archives read today
METADATA = "ro-crate-metadata.json"
LICENSE = "https://spdx.org/licenses/BSD-3-Clause"
DESCRIPTION = (
    "Numbers and figures of the chapter {slug} of a book that reproduces papers on computed tomography, with "
    "verdicts on the claims of {paper}. Figures may show slices of public collections, under licenses that the "
    "chapter names."
)
WHEN = (1980, 1, 1, 0, 0, 0)  # of every file in the archive, so that its bytes do not depend on the clock
PNG, JSON, YAML = "image/png", "application/json", "application/yaml"


def crates(chapters: list[ChapterLedger], book: Path | str = BOOK) -> dict[str, bytes]:
    """{path below _static: zip archive} of every recorded run."""
    recorded = ((c, preset) for c in chapters for preset in c.runs if preset != c.built)
    return {crate_name(c.slug, preset): crate(c, preset, Path(book)) for c, preset in recorded}


def crate(chapter: ChapterLedger, preset: str, book: Path) -> bytes:
    """The archive of one recorded run: its JSON, figures and claims file, and ro-crate-metadata.json."""
    files = _files(chapter, preset, book)
    metadata = json.dumps(_metadata(chapter, preset, files), indent=1, sort_keys=True, ensure_ascii=False)
    packed = {METADATA: metadata.encode(), **{name: path.read_bytes() for name, (path, _) in files.items()}}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in packed.items():
            archive.writestr(zipfile.ZipInfo(name, WHEN), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _files(chapter: ChapterLedger, preset: str, book: Path) -> dict[str, tuple[Path, dict]]:
    """{name in the crate: (path, properties)}."""
    slug, folder = chapter.slug, book / "results" / preset
    about = "parameters, claims with values and verdicts, kept values and curves, versions, machine"
    run = {"name": f"Run of {slug} at preset {preset}", "encodingFormat": JSON, "description": about}
    claims = {"name": f"Claims of {slug}", "encodingFormat": YAML, "description": "what counts as reproduced, and why"}
    found = {f"{slug}.json": (folder / f"{slug}.json", run), "claims.yml": (book / "claims" / f"{slug}.yml", claims)}
    for name, figure in chapter.runs[preset]["figures"].items():
        about = {"name": f"Figure {name}", "encodingFormat": PNG, "description": figure["alt"]}
        found[figure["file"]] = (folder / figure["file"], about)
    return found


def _metadata(chapter: ChapterLedger, preset: str, files: dict[str, tuple[Path, dict]]) -> dict:
    """The JSON-LD: files, the run that made them with its parameters, and a measured variable for every claim."""
    from rocrate.rocrate import ROCrate

    run, made = chapter.runs[preset], ROCrate(version=VERSION)
    made.name = f"{chapter.title}: recorded run at preset {preset}"
    made.description = DESCRIPTION.format(slug=chapter.slug, paper=chapter.paper)
    root = made.root_dataset
    root["license"] = _add(made, LICENSE, "CreativeWork", name="BSD-3-Clause")
    root["author"] = _add(made, "#authors", "Organization", name="The ctlib authors")
    root["datePublished"] = run["date"]
    entities = [made.add_file(str(path), name, properties=about) for name, (path, about) in files.items()]
    claims = {c.id: c for c in chapter.claims}
    root["variableMeasured"] = [_variable(made, claims[name], record) for name, record in run["claims"].items()]
    about = {"name": f"python -m ctlib.book record {chapter.slug} --preset {preset}", "endTime": run["date"]}
    about["description"] = f"{run['seconds']:.0f} s on {run['device']}, {run['machine']}"
    given = [_parameter(made, name, value) for name, value in run["parameters"].items()]
    made.add_action(_library(made, run), "#run", [*given, entities[1]], [entities[0], *entities[2:]], about)
    return made.metadata.generate()


def _add(made, identifier: str, kind: str, **properties):
    """One entity of the crate that is no file."""
    from rocrate.model import ContextEntity

    return made.add(ContextEntity(made, identifier, {"@type": kind, **properties}))


def _library(made, run: Mapping):
    """The library at the commit of the run, with the packages it needed."""
    packages = [f"{name} {version}" for name, version in run["versions"].items()]
    about = {"version": run["commit"], "softwareVersion": ctlib.__version__, "softwareRequirements": packages}
    return _add(made, "#ctlib", "SoftwareApplication", name="ctlib", **about)


def _parameter(made, name: str, value: object):
    text = value if isinstance(value, (str, int, float, bool)) else json.dumps(value)
    return _add(made, f"#parameter-{name}", "PropertyValue", name=name, value=text)


def _variable(made, claim: Claim, record: Mapping):
    """One claim: what was measured for it, the median, and the verdict at this preset."""
    told = f"{claim.statement} ({claim.where}). {measured(record, claim.unit)}: {record['verdict']}."
    about = {"propertyID": claim.id, "name": claim.quantity, "description": told, "unitText": claim.unit}
    numbers = {"value": record["median"], "minValue": record["min"], "maxValue": record["max"]}
    return _add(made, f"#{anchor(claim.id)}", "PropertyValue", **about, **numbers)
