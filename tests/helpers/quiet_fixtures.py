"""Nothing a reader of files does may reach stderr, for a chapter's page would show it, nor may it hang."""

import signal
import warnings

import pytest


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
