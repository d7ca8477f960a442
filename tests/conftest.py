"""What holds for every test: it ends in time, and it leaves nothing behind."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, cast

import pytest
import pytest_twisted
from hypothesis import HealthCheck, settings
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.process import reapProcessHandlers
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure

# -- hypothesis -------------------------------------------------------------

# No deadline: how long one example takes says more about the machine than about us.
settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=2000,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev")
)


# -- in time ----------------------------------------------------------------

# The share of pytest-timeout's limit after which an async test is cancelled. The
# cancellation fails that one test where it waits; the limit itself ends the run.
PATIENCE = 0.75

AsyncTest = Callable[..., Coroutine[Deferred[Any], Any, Any]]


def _limit(item: pytest.Function) -> float:
    """The seconds that pytest-timeout allows ``item``."""
    marker = item.get_closest_marker("timeout")
    if marker is not None and marker.args:
        return float(marker.args[0])
    told = item.config.getoption("timeout") or item.config.getini("timeout")
    return float(told or 60)


def _impatient(test: AsyncTest, seconds: float) -> AsyncTest:
    """``test``, cancelled after ``seconds``: its traceback shows what it waited for."""

    @functools.wraps(test)
    async def within(**kwargs: Any) -> Any:
        from twisted.internet import reactor

        running = Deferred.fromCoroutine(test(**kwargs))
        call = reactor.callLater(seconds, running.cancel)
        try:
            return await running
        except CancelledError as cancelled:
            if call.active():
                raise
            raise TimeoutError(f"still waiting after {seconds} s") from cancelled
        finally:
            if call.active():
                call.cancel()

    return within


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_pyfunc_call(
    pyfuncitem: pytest.Function,
) -> Iterator[None]:
    """Give an async test, drawn by hypothesis or not, its time limit."""
    holder = getattr(pyfuncitem.obj, "hypothesis", None)
    owner, name = (holder, "inner_test") if holder else (pyfuncitem, "obj")
    test = getattr(owner, name)
    if getattr(test, "_pytest_twisted_mark", None) == "async_test":
        setattr(owner, name, _impatient(test, PATIENCE * _limit(pyfuncitem)))
    return (yield)


# -- leaving nothing behind -------------------------------------------------

GRACE = 1.0  # seconds for sockets to close and processes to be reaped
STEP = 0.01


def _watched() -> set[Any]:
    """What the reactor watches on behalf of somebody: descriptors and children."""
    from twisted.internet import reactor

    descriptors = {*reactor.getReaders(), *reactor.getWriters()}
    own = set(getattr(reactor, "_internalReaders", ()))  # the reactor's own wakers
    return (descriptors - own) | set(reapProcessHandlers.values())


def _calls() -> list[Any]:
    from twisted.internet import reactor

    return [call for call in reactor.getDelayedCalls() if call.active()]


def _collect() -> None:
    """
    Let Deferreds report what nobody handled, for they do so when they die.

    What survives is put out of the collector's sight, so that it need not be looked
    through after each of the tests to come: they would take twice the time.
    """
    gc.collect()
    gc.freeze()


def _settle(known: set[Any]) -> None:
    """Let the reactor run until nothing is left, for as long as the grace lasts."""
    from twisted.internet import reactor

    for _ in range(int(GRACE / STEP)):
        if not _calls() and _watched() <= known:
            return
        pytest_twisted.blockon(deferLater(reactor, STEP))


def _sweep(known: set[Any]) -> list[str]:
    """Remove what is left, so that one test's dirt is not the next one's, and name it."""
    from twisted.internet import reactor

    found = []
    for call in _calls():
        found.append(f"delayed call {call}")
        call.cancel()
    for watched in _watched() - known:
        found.append(f"watched {watched!r}")
        if IProcessTransport.providedBy(watched):
            watched.signalProcess("KILL")
        else:
            reactor.removeReader(watched)
            reactor.removeWriter(watched)
            watched.connectionLost(Failure(error.ConnectionAborted()))
    return found


@pytest.fixture(autouse=True)
def logged_failures() -> Iterator[list[Failure]]:
    """
    Fail a test that leaves an unhandled failure or a dirty reactor behind.

    The value is the list of failures logged so far: a test that provokes one on
    purpose asks for this fixture and takes its failure out.
    """
    failures: list[Failure] = []

    def note(event: LogEvent) -> None:
        if "log_failure" in event:
            failures.append(event["log_failure"])

    known = _watched()
    observer = cast(ILogObserver, note)  # which is no more than a callable
    globalLogPublisher.addObserver(observer)
    try:
        yield failures
        _settle(known)
        _collect()
    finally:
        globalLogPublisher.removeObserver(observer)
        left = _sweep(known)
    unhandled = [failure.getTraceback() for failure in failures]
    if unhandled:
        pytest.fail("unhandled: " + "\n".join(unhandled), pytrace=False)
    if left:
        pytest.fail("dirty reactor: " + "; ".join(left), pytrace=False)
