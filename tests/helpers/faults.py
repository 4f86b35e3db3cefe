"""A system that fails at one call: the k-th time a file is opened for writing, written, renamed, synced or removed."""

import builtins
import errno
import io
import os
import signal
from contextlib import contextmanager, suppress

CODES = {"full": errno.ENOSPC, "read-only": errno.EROFS, "denied": errno.EACCES, "broken": errno.EIO}


class Faults:
    """Counts the calls that change files below a folder; at number `at` it raises an OSError or ends the process.

    kind    a key of CODES, or "killed"
    lasting whether every later one fails too, as on a full disk
    """

    def __init__(self, folder, at=-1, kind="full", lasting=False):
        self.folder, self.at, self.kind, self.lasting, self.count = str(folder), at, kind, lasting, 0

    def meet(self, path):
        if not str(path).startswith(self.folder):
            return
        here, self.count = self.count, self.count + 1
        if here == self.at or (self.lasting and here > self.at >= 0):
            if self.kind == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(CODES[self.kind], os.strerror(CODES[self.kind]), str(path))


class _Writing(io.FileIO):
    """A file whose writes may fail, some of the bytes written."""

    def __init__(self, faults, name, mode):
        super().__init__(name, mode)
        self._faults = faults

    def write(self, data):
        try:
            self._faults.meet(self.name)
        except OSError:
            super().write(bytes(data)[: len(data) // 2])
            raise
        return super().write(data)


@contextmanager
def injected(faults):
    """Inside, the calls of this process go through `faults`."""
    originals = {"open": builtins.open, "io": io.open}
    system = {name: getattr(os, name) for name in ("open", "replace", "rename", "fsync", "mkdir")}

    def opened(file, mode="r", *args, **kwargs):
        if isinstance(file, int) or not set(mode) & set("wax+"):
            return originals["open"](file, mode, *args, **kwargs)
        path = os.fspath(file)
        faults.meet(path)
        if "+" in mode:
            return originals["open"](file, mode, *args, **kwargs)
        if "b" in mode:
            return io.BufferedWriter(_Writing(faults, path, mode.replace("b", "")))
        encoding = kwargs.get("encoding") or "utf-8"
        return io.TextIOWrapper(io.BufferedWriter(_Writing(faults, path, mode.replace("t", ""))), encoding=encoding)

    def wrapped(name):
        def call(path, *args, **kwargs):
            if name == "open" and not (args and args[0] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                return system[name](path, *args, **kwargs)
            shown = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else path
            faults.meet(os.fspath(shown))
            return system[name](path, *args, **kwargs)

        return call

    builtins.open = io.open = opened
    for name in system:
        setattr(os, name, wrapped(name))
    try:
        yield faults
    finally:
        builtins.open, io.open = originals["open"], originals["io"]
        for name, function in system.items():
            setattr(os, name, function)


def in_child(work, faults):
    """Exit status of a forked child that does the work with these faults; negative for a signal, 1 for an error."""
    pid = os.fork()
    if not pid:
        code = 1
        with suppress(BaseException), injected(faults):
            work()
            code = 0
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
