"""Typed errors: each names the argument, what was given and what is needed."""


class CtlibError(Exception):
    """Base of every error raised on purpose by ctlib."""


class ArgumentError(CtlibError, ValueError):
    """An argument has a wrong shape, value or combination."""

    def __init__(self, argument: str, given: object, needed: str):
        self.argument = argument
        super().__init__(f"{argument}: got {given}, needs {needed}")


class DataError(CtlibError, ValueError):
    """A file does not hold what its format promises: names the file and the field."""

    def __init__(self, path: object, field: str, problem: str):
        self.path, self.field = path, field
        super().__init__(f"{path}: {field}: {problem}")


class MissingDependency(CtlibError, ImportError):
    """An optional package is not installed: names it and how to get it."""

    def __init__(self, package: str, needed_for: str):
        super().__init__(f"{package} is needed for {needed_for}: pip install {package}")


class ConvergenceError(CtlibError, RuntimeError):
    """An iteration diverged or produced a non-finite value."""


class IncompleteScanWarning(UserWarning):
    """Some lines through the object were never measured: names how many, and the gaps in the angles."""


class TruncationWarning(UserWarning):
    """The object reaches beyond the detector: names the side."""
