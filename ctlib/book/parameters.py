"""Parameters of a chapter: what its first cell declares, and the refusal of everything else."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path

from ctlib.book.chapter import code_cells
from ctlib.book.project import PRESETS, Project, UsageError, check_preset

FILE_LIKE = re.compile(r"[/\\]|\.[A-Za-z]\w{0,5}(\.gz)?$")  # a folder in it, or a suffix at its end


def declared(project: Project, slug: str) -> dict[str, object]:
    """Name and default of every parameter: the literal assignments of the one cell tagged `parameters`."""
    cells = [c for c in code_cells(project.source(slug)) if "parameters" in c.tags]
    if len(cells) != 1:
        raise UsageError(f"{slug}: needs exactly one cell tagged `parameters`, has {len(cells)}")
    return literals(cells[0].source, slug)


def literals(source: str, slug: str) -> dict[str, object]:
    """Name and value of every assignment of a parameters cell; UsageError for anything else in it."""
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise UsageError(f"{slug}: line {error.lineno} of the parameters cell: {error.msg}") from None
    out = {}
    for node in body:
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
        kinds = {type(d) for d in default}
        if len(kinds) == 1 or kinds == {int, float}:
            like = next((d for d in default if isinstance(d, float)), default[0])
            value = [checked(slug, f"{name}[{i}]", v, like) for i, v in enumerate(value)]
        return list(value)
    if default is not None and type(value) is not type(default):
        needed = type(default).__name__
        raise UsageError(f"{slug}: parameter {name} needs a value of type {needed}, like {default!r}; got {value!r}")
    finite = not isinstance(default, float) or math.isfinite(default)
    if finite and isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{slug}: parameter {name} needs a finite number; got {value!r}")
    return value


def known(slug: str, name: str, defaults: dict) -> object:
    """The default of a parameter; UsageError when the chapter does not declare the name."""
    if not str(name).isidentifier():
        raise UsageError(f"parameter name {name!r} is not an identifier")
    if name not in defaults:
        raise UsageError(f"{slug}: no parameter {name!r}; it has: {', '.join(defaults)}")
    return defaults[name]


def parse(project: Project, slug: str, name: str, text: str) -> object:
    """A command-line text as a value of the parameter's type: YAML, or the text itself where a text is wanted."""
    default = known(slug, name, declared(project, slug))
    if isinstance(default, str):
        return text if text == default else _file(project, slug, name, text)
    import yaml

    try:
        value = _numbers(yaml.safe_load(text))
    except yaml.YAMLError:
        raise UsageError(f"{slug}: parameter {name}: {text!r} is not a value") from None
    if isinstance(value, str) and default is None:
        value = _file(project, slug, name, value)
    return checked(slug, name, value, default)


def _numbers(value: object) -> object:
    """YAML 1.1 reads 1e-3 as a text; people mean the number."""
    if isinstance(value, list):
        return [_numbers(v) for v in value]
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _file(project: Project, slug: str, name: str, text: str) -> str:
    """A text that names a file as its full path: the notebook runs in another folder than the command."""
    if not FILE_LIKE.search(text):
        return text
    for folder in (Path.cwd(), project.book):
        if (folder / text).exists():
            return str((folder / text).resolve())
    if ":" in text:  # `scheme:name`, which the chapter resolves
        return text
    raise UsageError(f"{slug}: parameter {name}: no such file: {text}")


def parse_given(project: Project, slug: str, pairs: list[tuple[str, str]]) -> dict[str, object]:
    """Command-line pairs as values; a name twice is refused."""
    out = {}
    for name, text in pairs:
        if name in out:
            raise UsageError(f"parameter {name} is given twice")
        out[name] = parse(project, slug, name, text)
    return out


def presets(project: Project, slug: str) -> dict[str, dict]:
    """Values by preset: `ci` is the notebook's own defaults, the others stand in book/presets/<slug>.yml."""
    path, found = project.book / "presets" / f"{slug}.yml", {}
    if path.is_file():
        import yaml

        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except yaml.YAMLError as error:
            raise UsageError(f"{path}: {' '.join(str(error).split())}") from None
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
    defaults = declared(project, slug)
    values = {**preset_values(project, slug, preset), **(given or {})}
    return differing(slug, values, defaults)


def differing(slug: str, values: dict, defaults: dict) -> dict[str, object]:
    """The values, checked, that are not the chapter's defaults."""
    values = {n: checked(slug, n, v, known(slug, n, defaults)) for n, v in values.items()}
    return {n: v for n, v in sorted(values.items()) if v != checked(slug, n, defaults[n], defaults[n])}


def kernel_preset(project: Project, slug: str, preset: str, values: dict) -> str:
    """What the ledger is told: `custom`, where expectations do not raise, unless the values are the preset's own."""
    return preset if values == resolve(project, slug, preset) else "custom"
