"""YAML files of the book, read so that nothing in them is lost without a word."""

from __future__ import annotations

from pathlib import Path

from ctlib.errors import DataError


def read_yaml(path: Path) -> object:
    """The file as YAML; DataError for what is none, and for a key given twice, which PyYAML alone would accept."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(path, "file", "does not exist") from None
    except UnicodeDecodeError as error:
        raise DataError(path, "text", f"is not UTF-8 ({error})") from None
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node, deep=False):
            keys = [self.construct_object(k, deep=True) for k, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    raise DataError(path, str(key), f"given twice (line {node.start_mark.line + 1})")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise DataError(path, "YAML", " ".join(str(error).split())) from None
