"""Everything a chapter has computed so far, in one file: the names of its cells, streams and settings of libraries.

`torch.save` stores a tensor that several names share once; `pickling` takes the place of `pickle` there. Read back by
the same version of the code alone.
"""

from __future__ import annotations

import importlib
import io
import pickle
import random
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch

from ctlib.book.project import BookError
from ctlib.book.runner import pickling, private
from ctlib.errors import CtlibError, DataError
from ctlib.files import replacing

DAMAGE = (zipfile.BadZipFile, pickle.UnpicklingError, EOFError)


class NotStorable(CtlibError, TypeError):
    """Names of cells hold what cannot be written to a file; `names` says which, and why."""

    def __init__(self, names: dict[str, str]):
        super().__init__(", ".join(f"`{name}` ({why})" for name, why in names.items()))
        self.names = names


def save(path: Path, names: dict[str, object], extra: dict[str, object]) -> None:
    """Write the names of the cells and what goes with them, whole or not at all; NotStorable says what cannot be."""
    kept = {name: value for name, value in names.items() if name != "__builtins__"}
    token = pickling.NAMES.set(names)
    try:
        with replacing(path) as part:
            part.touch(0o600)
            torch.save({"names": kept, "extra": extra, "libraries": libraries()}, part, pickling)
    except OSError:
        raise
    except Exception as error:
        refused = {name: why for name, value in kept.items() if (why := refusal(value))}
        if not refused:
            raise
        raise NotStorable(refused) from error
    finally:
        pickling.NAMES.reset(token)


def load(path: Path, names: dict[str, object]) -> dict[str, object]:
    """Read the names back into this dictionary, set streams and settings, give what went with them.

    DataError for a file that is cut off or changed. BookError where a file cannot be restored here and now (a device
    that is missing or full, a disk), or must not be. Either leaves file, names, streams and settings as they were.
    """
    if why := private.refusal(path):
        raise BookError(f"{path} is not read, since reading it runs what it holds: {why}; make it yours, or remove it")
    token, before = pickling.NAMES.set(names), libraries()
    try:
        if not whole(path):
            raise zipfile.BadZipFile("cut off or changed")
        state = torch.load(path, pickle_module=pickling, weights_only=False)
        set_libraries(state["libraries"])
    except BaseException as error:
        set_libraries(before)
        if isinstance(error, DAMAGE):
            raise DataError(path, "contents", f"cannot be read ({told(error)})") from None
        if isinstance(error, Exception):  # what is read back raises what it likes
            ways = "run again where it can, or remove it to start at the first cell"
            raise BookError(f"{path} is kept but cannot be restored here ({told(error)}): {ways}") from error
        raise
    finally:
        pickling.NAMES.reset(token)
    names.update(state["names"])
    return state["extra"]


def whole(path: Path) -> bool:
    """Whether the file holds what was written, by its checksums: `torch.load` takes changed bytes for numbers."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (*DAMAGE, ValueError, RuntimeError):  # RuntimeError: what is said to be encrypted, or packed in other ways
        return False


def told(error: BaseException) -> str:
    """Type and first line."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def refusal(value: object) -> str:
    """Why a value cannot be written; "" if it can."""
    try:
        torch.save(value, io.BytesIO(), pickling)
    except Exception as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return ""


def libraries() -> dict[str, object]:
    """Random streams that belong to nobody, numbers of threads, matplotlib's defaults: what cells change elsewhere."""
    found = {
        "random": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002  the stream that belongs to nobody
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
    }
    if "numba" in sys.modules:
        found["numba"] = sys.modules["numba"].get_num_threads()
    if "matplotlib" in sys.modules:
        found["matplotlib"] = dict(sys.modules["matplotlib"].rcParams)
    return found


def set_libraries(found: dict[str, object]) -> None:
    """What `libraries` gave."""
    random.setstate(found["random"])
    np.random.set_state(found["numpy"])  # noqa: NPY002
    torch.set_rng_state(found["torch"])
    if found["cuda"]:
        torch.cuda.set_rng_state_all(found["cuda"])
    torch.set_default_dtype(found["dtype"])
    torch.set_num_threads(found["threads"])
    if "numba" in found:
        numba = importlib.import_module("numba")
        numba.set_num_threads(min(found["numba"], numba.config.NUMBA_NUM_THREADS))  # this process may have fewer
    if "matplotlib" in found:
        dict.update(importlib.import_module("matplotlib").rcParams, found["matplotlib"])
