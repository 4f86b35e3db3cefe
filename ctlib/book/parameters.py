"""Parameters of a chapter: what its first cell declares, and the refusal of everything else."""

from __future__ import annotations

import ast
import math
from pathlib import Path

from .project import Project, UsageError, check_preset
from .source import code_cells


def declared(project: Project, slug: str) -> dict[str, object]:
    """Name and default of every parameter: the literal assignments of the one cell tagged `parameters`."""
    cells = [c for c in code_cells(project.source(slug)) if "parameters" in c.tags]
    if len(cells) != 1:
        raise UsageError(f"{slug}: needs exactly one cell tagged `parameters`, has {len(cells)}")
    out = {}
    for node in ast.parse(cells[0].source).body:
        if not (isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)):
            raise UsageError(f"{slug}: line {node.lineno} of the parameters cell is not `name = literal`")
        try:
            out[node.targets[0].id] = ast.literal_eval(node.value)
        except ValueError:
            raise UsageError(f"{slug}: parameter {node.targets[0].id} is not a literal") from None
    return out


def checked(slug: str, name: str, value: object, default: object) -> object:
    """The value in the default's type, or a UsageError that says what is needed."""
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if isinstance(default, (list, tuple)) and isinstance(value, (list, tuple)):
        if default:
            value = [checked(slug, f"{name}[{i}]", v, default[0]) for i, v in enumerate(value)]
        return list(value)
    if default is not None and type(value) is not type(default):
        needed = type(default).__name__
        raise UsageError(f"{slug}: parameter {name} needs a value of type {needed}, like {default!r}; got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{slug}: parameter {name} needs a finite number; got {value!r}")
    return value


def parse_given(pairs: list[tuple[str, str]]) -> dict[str, object]:
    """Command-line pairs as values (YAML); a name twice or a name that is no identifier is refused."""
    import yaml

    out = {}
    for name, text in pairs:
        if not name.isidentifier():
            raise UsageError(f"parameter name {name!r} is not an identifier")
        if name in out:
            raise UsageError(f"parameter {name} is given twice")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        if isinstance(value, str):
            value = _number(value)
            value = str(Path(value).resolve()) if isinstance(value, str) and value and Path(value).exists() else value
        out[name] = value
    return out


def _number(text: str) -> object:
    """YAML 1.1 reads 1e-3 as a string; people mean the number."""
    try:
        return float(text)
    except ValueError:
        return text


def preset_values(project: Project, slug: str, preset: str) -> dict[str, object]:
    """What book/presets/<slug>.yml sets for a preset; `ci` is the notebook's own defaults."""
    check_preset(preset)
    path = project.book / "presets" / f"{slug}.yml"
    if preset == "ci" or not path.is_file():
        return {}
    import yaml

    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get(preset) or {}


def resolve(project: Project, slug: str, preset: str = "ci", given: dict | None = None) -> dict[str, object]:
    """Parameters that differ from the chapter's defaults, checked: preset first, then what was given."""
    defaults = declared(project, slug)
    values = {**preset_values(project, slug, preset), **(given or {})}
    for name in values:
        if not str(name).isidentifier():
            raise UsageError(f"parameter name {name!r} is not an identifier")
        if name not in defaults:
            raise UsageError(f"{slug}: no parameter {name!r}; it has: {', '.join(defaults)}")
    values = {n: checked(slug, n, v, defaults[n]) for n, v in values.items()}
    return {n: v for n, v in sorted(values.items()) if v != defaults[n]}
