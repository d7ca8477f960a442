"""
The composition root: the only place that knows every room of the house.

``twistd l7mp`` and ``twist l7mp`` come here through the plugin, the ``l7mp`` command
through ``cli.run``.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any, cast

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.python import usage
from twisted.python.failure import Failure

import l7mp.protocols
from l7mp.admin.api import resource
from l7mp.core.proxy import Proxy
from l7mp.core.registry import Context, Registry
from l7mp.errors import LocalError, NotStarted
from l7mp.model import declared, edit
from l7mp.model.base import validate
from l7mp.model.config import Config
from l7mp.model.document import Document
from l7mp.model.lint import unreachable_clusters
from l7mp.model.load import decode, parse
from l7mp.model.problem import Invalid, pointer_to
from l7mp.observers.exposure import exposed_controllers
from l7mp.observers.journal import Journal
from l7mp.observers.log import LEVELS, LogWriter, open_log
from l7mp.observers.metrics import Metrics


class Options(usage.Options):
    """The command line, the original's."""

    synopsis = "[options] -c FILE"
    document = Document({})
    """What the configuration was read from, once it was."""

    longdesc = (
        "A multiprotocol proxy: pipes any protocol to any other, and is reconfigured"
        " while it runs."
    )
    optParameters = [
        ["config", "c", None, "Configuration: YAML if it ends in .yaml or .yml, else"
         " JSON; - reads standard input"],
        ["log-level", "l", None, f"How much to log: {', '.join(LEVELS)}"],
    ]  # fmt: skip
    optFlags = [["strict", "s", "Check everything strictly (which is always done)"]]
    compData = usage.Completions(
        optActions={
            "config": usage.CompleteFiles("*.(yaml|yml|json)"),
            "log-level": usage.CompleteList(LEVELS),
        }
    )

    def opt_version(self) -> None:
        """Display the version of l7mp."""
        print(f"l7mp {l7mp.__version__}")  # noqa: T201  # what was asked for
        raise SystemExit(0)

    opt_V = opt_version

    def postOptions(self) -> None:
        """Check what can be checked at once."""
        if self["config"] is None:
            raise usage.UsageError("no configuration: give one with -c FILE")
        if self["log-level"] not in (None, *LEVELS):
            raise usage.UsageError(
                f'unknown log level "{self["log-level"]}", it is one of'
                f" {', '.join(LEVELS)}"
            )


def read(name: str) -> Document:
    """The document called ``name``; raises ``LocalError`` or ``Invalid``."""
    if name == "-":
        return _parse_standard_input(sys.stdin.buffer.read())
    try:
        with open(name, "rb") as file:
            data = file.read()
    except OSError as error:
        raise LocalError(f"{name}: cannot read it: {error.strerror}") from error
    return parse(decode(data, name), name)


def _parse_standard_input(data: bytes) -> Document:
    """JSON if it begins like it, YAML otherwise."""
    text = decode(data, "<stdin>")
    suffix = ".json" if text.lstrip().startswith("{") else ".yaml"
    return replace(parse(text, f"<stdin>{suffix}"), source="<stdin>")


def configuration(options: Options, registry: Registry) -> Config:
    """What the file says, with the command line's say over it."""
    document = options.document = read(options["config"])
    words = registry.vocabulary()
    value = document.value
    if value is None:
        document = replace(document, value={})
    said = validate(declared.Config, document, words)
    given: dict[str, Any] = {}
    if options["log-level"] is not None:
        given["log_level"] = options["log-level"]
    if options["strict"]:
        given["strict"] = True
    said = said.model_copy(update={"admin": said.admin.model_copy(update=given)})
    try:
        return edit.build(words, said)
    except Invalid as error:
        raise Invalid(document.located(error.problems)) from error


class L7mp(Service):
    """The proxy with its first configuration, and its observers."""

    name = "l7mp"

    def __init__(
        self, proxy: Proxy, first: Config, log: LogWriter, document: Document
    ) -> None:
        self.proxy, self._first, self.log = proxy, first, log
        self._document = document
        self._observer = cast(ILogObserver, log.twisted)
        self.failed: str | None = None
        """Why it could not be started."""

    def startService(self) -> None:
        """Apply the first configuration, or end the process with a message."""
        super().startService()
        globalLogPublisher.addObserver(self._observer)
        self.proxy.startService()
        starting = self.proxy.edit(lambda _: edit.Change(self._first))
        starting.addCallbacks(self._started, self._refused)
        if self.failed is not None:
            raise SystemExit(1)

    def _started(self, change: edit.Change) -> None:
        registry = self.proxy.context.registry
        for warning in exposed_controllers(change.config, registry.governing()):
            self.log.write("warn", "admin", warning)
        for warning in unreachable_clusters(change.config):
            self.log.write("warn", "config", warning)
        self.log.write("notice", "l7mp", f"l7mp {l7mp.__version__} is up")

    def _refused(self, failure: Failure) -> None:
        error = failure.value
        self.failed = failure.getErrorMessage()
        if isinstance(error, NotStarted):
            path = place_of(error, self._document.value)
            self.failed = str(self._document.problem(path, self.failed))
        sys.stderr.write(f"l7mp: {self.failed}\n")
        if self.proxy.context.reactor.running:
            self.proxy.context.reactor.stop()

    def stopService(self) -> Deferred[None]:
        """End in order; see ``Proxy.stopService``."""
        super().stopService()
        stopping = self.proxy.stopService()
        return stopping.addBoth(self._stopped)

    def _stopped(self, result: None) -> None:
        globalLogPublisher.removeObserver(self._observer)
        return result


def place_of(error: NotStarted, document: Any) -> str:
    """The pointer to the declaration of what could not be started; "" if unknown."""
    section = f"{error.what}s"
    entries = document.get(section) if isinstance(document, dict) else None
    for index, entry in enumerate(entries or ()):
        if entry.get("name") == error.name:
            return pointer_to([section, index])
    return ""


def compose(
    config: Config, registry: Registry, reactor: Any, document: Document | None = None
) -> L7mp:
    """
    Wire everything together; nothing is started yet.

    ``document`` is where ``config`` is from, for messages about what does not start.
    """
    log = LogWriter(config.admin.log_level, open_log(config.admin.log_file))
    metrics = Metrics()
    services: dict[str, Any] = {"metrics": metrics}
    context = Context(reactor=reactor, registry=registry, services=services)
    journal = Journal()
    proxy = Proxy(context, [log, journal, metrics])
    services["controller"] = resource(proxy, journal)
    return L7mp(proxy, config, log, document or Document({}))


def makeService(options: Options) -> IService:
    """What twistd runs; raises ``UsageError``, which it shows, for a bad file."""
    from twisted.internet import reactor

    registry = Registry.discover(l7mp.protocols)
    try:
        config = configuration(options, registry)
        return compose(config, registry, reactor, options.document)
    except LocalError as error:
        raise usage.UsageError(f"\n{error}") from error
