"""Checkpoint files: written whole or not at all, with a hash, and read without running anything from them."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import torch

from ctlib.errors import DataError

MAGIC = b"ctlib checkpoint 1 "
HEAD = len(MAGIC) + 64 + 1  # magic, SHA-256 of what follows as hexadecimal digits, newline


def save_checkpoint(path: str | Path, state: dict) -> None:
    """Write a dictionary of tensors, numbers, texts, lists and dictionaries; an older file stays until it is whole.

    The bytes reach the disk before the name does, so a process or machine that dies leaves the old file or the new.
    """
    path, stream = Path(path), io.BytesIO()
    torch.save(state, stream)
    payload = stream.getvalue()
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    _sync_folder(path.parent)


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> dict:
    """What `save_checkpoint` wrote; DataError for a file that is missing, cut off, changed, or not of plain data."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(path, "file", f"cannot be read ({error.strerror})") from None
    if len(data) < HEAD or not data.startswith(MAGIC):
        raise DataError(path, "header", "is not that of a checkpoint")
    if hashlib.sha256(data[HEAD:]).hexdigest().encode() != data[len(MAGIC) : HEAD - 1]:
        raise DataError(path, "SHA-256", "does not match the contents: cut off or changed after it was written")
    try:
        return torch.load(io.BytesIO(data[HEAD:]), map_location=device, weights_only=True)
    except Exception as error:  # the unpickler raises what it likes for code that is not weights
        raise DataError(path, "contents", f"are not plain data ({type(error).__name__})") from None


def _sync_folder(folder: Path) -> None:
    """Make a rename last, where folders can be synced."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
