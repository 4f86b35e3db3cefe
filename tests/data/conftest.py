"""Nothing a reader does may reach stderr: a chapter's page would show it."""

import os
import signal
import warnings

import pytest

# Tests on real data need a folder of it: readers are tried on whatever is there, and nothing of it is kept.
collect_ignore = [] if os.environ.get("CTLIB_SHARED_DATA") else ["test_real_data.py"]


class Hung(BaseException):
    """Not an Exception, so that no reader can mistake it for a damaged file."""


@pytest.fixture
def silent(capfd):
    """No warning and no output, not even from C libraries, while the test runs."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield
    assert [str(w.message) for w in seen] == []
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def hurry():
    """`hurry(seconds)`: raise unless the test calls it again, or ends, in time."""

    def ring(*_):
        raise Hung

    def wind(seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)

    before = signal.signal(signal.SIGALRM, ring)
    yield wind
    wind(0)
    signal.signal(signal.SIGALRM, before)
