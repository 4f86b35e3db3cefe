"""Parameters of a chapter: what its first cell declares, and the refusal of everything else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ctlib.book import declarations, paths
from ctlib.book.chapter import code_cells
from ctlib.book.declarations import Parameter
from ctlib.book.paths import FILE_LIKE
from ctlib.book.project import PRESETS, Project, UsageError, check_preset
from ctlib.book.yamlfile import read_yaml
from ctlib.errors import DataError, MissingDependency


def declarations_of(project: Project, slug: str) -> dict[str, Parameter]:
    """The parameters of a chapter by name: the lines of the one cell tagged `parameters`."""
    cells = [c for c in code_cells(project.source(slug)) if "parameters" in c.tags]
    if len(cells) != 1:
        raise UsageError(f"{slug}: needs exactly one cell tagged `parameters`, has {len(cells)}")
    found = declarations.parameters(cells[0].source, slug)
    for p in found.values():
        try:
            p.clauses  # noqa: B018
        except ValueError as error:
            raise UsageError(f"{slug}: parameter {p.name}: {error}") from None
    return found


def declared(project: Project, slug: str) -> dict[str, object]:
    """Name and default of every parameter."""
    return {name: p.default for name, p in declarations_of(project, slug).items()}


def known(slug: str, name: str, found: dict) -> Parameter:
    """The parameter of this name; UsageError when the chapter does not declare it."""
    if not str(name).isidentifier():
        raise UsageError(f"parameter name {name!r} is not an identifier")
    if name not in found:
        raise UsageError(f"{slug}: no parameter {name!r}; it has: {', '.join(found)}")
    return found[name]


def parse(project: Project, slug: str, name: str, text: str) -> object:
    """A command-line text as a value of the parameter: as its rule allows, paths in full."""
    found = declarations_of(project, slug)
    p = known(slug, name, found)
    value = declarations.typed(p, declarations.read(p, text, slug, [Path.cwd(), project.book]), slug)
    if needed := p.broken(value, {}, across=False):
        raise declarations.refusal(slug, p, value, needed)
    return value


def parse_given(project: Project, slug: str, pairs: Iterable[tuple[str, str]]) -> dict[str, object]:
    """Command-line pairs as values; a name twice is refused."""
    out = {}
    for name, text in pairs:
        if name in out:
            raise UsageError(f"parameter {name} is given twice")
        out[name] = parse(project, slug, name, text)
    return out


def inputs(project: Project, slug: str, values: dict) -> dict[str, Path]:
    """{parameter: file or folder} of what a run with these values reads besides its code."""
    found = declarations_of(project, slug)
    named = {name: values.get(name, p.default) for name, p in found.items() if "to read" in p.path}
    words = {name for name, p in found.items() if p.path.startswith("word")}
    isnt = {n for n, v in named.items() if not v or (n in words and not FILE_LIKE.search(v))}
    return {name: project.book / value for name, value in named.items() if name not in isnt}


def prepare(project: Project, slug: str, values: dict, here: bool = True) -> None:
    """Make the folders that a run with these values writes into; ask for its device, if it runs here."""
    found = declarations_of(project, slug)
    if here:
        check_devices(found, values, slug)
    make_folders(found, values, slug)


def make_folders(found: dict[str, Parameter], values: dict, slug: str) -> None:
    """Make the folders that a run with these values writes into; UsageError for one that cannot be made."""
    for p in found.values():
        if p.path == "folder to write" and values.get(p.name):
            try:
                paths.make(values[p.name])
            except paths.NotThere as error:
                raise declarations.refusal(slug, p, values[p.name], f"{p.needed}: {error}") from None


def check_devices(found: dict[str, Parameter], values: dict, slug: str) -> None:
    """UsageError for a device that this machine does not have; torch is loaded only to ask for another than the CPU."""
    for p in found.values():
        if "torch device" in p.rule and values.get(p.name, "cpu") != "cpu":
            import torch

            kind, _, number = values[p.name].partition(":")
            room = getattr(torch, kind, None)
            if room is None or not room.is_available() or int(number or 0) >= room.device_count():
                raise declarations.refusal(
                    slug, p, values[p.name], f"a device of this machine; torch {torch.__version__} sees none"
                )


def presets(project: Project, slug: str) -> dict[str, dict]:
    """Values by preset: `ci` is the notebook's own defaults, the others stand in book/presets/<slug>.yml."""
    path, found = project.book / "presets" / f"{slug}.yml", {}
    if path.is_file():
        try:
            found = read_yaml(path) or {}
        except ImportError:
            raise MissingDependency("PyYAML", "presets and claims") from None
        except DataError as error:
            raise UsageError(str(error)) from None
        if not isinstance(found, dict) or not all(isinstance(v or {}, dict) for v in found.values()):
            raise UsageError(f"{path}: needs `preset: {{name: value}}`")
        if wrong := [k for k in found if k not in PRESETS[1:]]:
            raise UsageError(f"{path}: {wrong[0]!r} is no preset that a file can set; those are {PRESETS[1:]}")
    return {"ci": {}, **{k: v or {} for k, v in found.items()}}


def preset_values(project: Project, slug: str, preset: str) -> dict[str, object]:
    """What a preset sets; UsageError when the chapter does not have it."""
    found = presets(project, slug)
    if check_preset(preset) not in found:
        raise UsageError(f"{slug}: no preset {preset!r}; it has: {', '.join(found)}")
    return found[preset]


def resolve(project: Project, slug: str, preset: str = "ci", given: dict | None = None) -> dict[str, object]:
    """Parameters that differ from the chapter's defaults, checked: preset first, then what was given."""
    return differing(slug, {**preset_values(project, slug, preset), **(given or {})}, declarations_of(project, slug))


def differing(slug: str, values: dict, found: dict[str, Parameter]) -> dict[str, object]:
    """The values, checked by themselves and beside each other, that are not the chapter's defaults."""
    for name in values:
        known(slug, name, found)
    values = declarations.checked(found, values, slug)
    return {n: v for n, v in sorted(values.items()) if v != found[n].typed(found[n].default)}


def kernel_preset(project: Project, slug: str, preset: str, values: dict) -> str:
    """What the ledger is told: `custom`, where expectations do not raise, unless the values are the preset's own."""
    return preset if values == resolve(project, slug, preset) else "custom"


def problems(project: Project, slug: str) -> list[tuple[int, str]]:
    """(line of the cell, text) of every declaration that is not in order."""
    cell = next(c for c in code_cells(project.source(slug)) if "parameters" in c.tags)
    found = declarations.parameters(cell.source, slug)
    told = [(p.line, text) for p in found.values() if (text := p.problem())]
    if told:
        return told
    names = {name for p in found.values() for c in p.clauses for name in c.names} - found.keys()
    if names:
        return [(1, f"a rule names {min(names)}, which is no parameter")]
    for p in found.values():
        try:
            declarations.checked(found, {p.name: p.default}, slug)
        except UsageError as error:
            return [(p.line, f"a default breaks its own rule: {error}")]
        except (ValueError, TypeError, ZeroDivisionError) as error:
            return [(p.line, f"parameter {p.name}: its rule cannot be asked of {p.default!r}: {error}")]
    return []
