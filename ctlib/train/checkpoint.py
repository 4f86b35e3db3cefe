"""Checkpoint files: written whole or not at all, with a hash, and read without running anything from them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import torch

from ctlib.errors import ArgumentError, DataError
from ctlib.files import why, write_whole

MAGIC = b"ctlib checkpoint 1 "
HEAD = len(MAGIC) + 64 + 1  # magic, SHA-256 of what follows as hexadecimal digits, newline


def save_checkpoint(path: str | Path, state: dict) -> None:
    """Write a dictionary of tensors, numbers, texts, lists and dictionaries; an older file stays until it is whole.

    Numbers of NumPy become Python's. ArgumentError for what `load_checkpoint` would not read; `Unwritable` when the
    system refuses.
    """
    stream = io.BytesIO()
    torch.save(plain(state), stream)
    payload = stream.getvalue()
    try:
        torch.load(io.BytesIO(payload), map_location="meta", weights_only=True)
    except Exception as error:  # as below
        told = str(error).splitlines()[0]
        raise ArgumentError("state", told, "tensors, numbers, texts, lists and dictionaries alone") from None
    write_whole(path, MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)


def plain(value: object) -> object:
    """The same with Python's numbers in place of NumPy's, in dictionaries, lists and tuples."""
    if isinstance(value, np.generic):
        return value.item()
    if type(value) is dict:
        return {plain(k): plain(v) for k, v in value.items()}
    return type(value)(map(plain, value)) if type(value) in (list, tuple) else value


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> dict:
    """What `save_checkpoint` wrote; DataError for a file that is missing, cut off, changed, or not of plain data."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(path, "file", f"cannot be read ({why(error)})") from None
    if len(data) < HEAD or not data.startswith(MAGIC):
        raise DataError(path, "header", "is not that of a checkpoint")
    if hashlib.sha256(data[HEAD:]).hexdigest().encode() != data[len(MAGIC) : HEAD - 1]:
        raise DataError(path, "SHA-256", "does not match the contents: cut off or changed after it was written")
    try:
        return torch.load(io.BytesIO(data[HEAD:]), map_location=device, weights_only=True)
    except Exception as error:  # the unpickler raises what it likes for code that is not weights
        raise DataError(path, "contents", f"are not plain data ({type(error).__name__})") from None
