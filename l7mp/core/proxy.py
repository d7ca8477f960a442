"""The proxy: one configuration, the listeners that run, the sessions that live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, succeed

from l7mp.core.events import (
    Configured,
    Destroyed,
    Event,
    Faulted,
    Forgotten,
    Listening,
    Observer,
    StoppedListening,
    Warned,
)
from l7mp.core.idle import IdleWatch
from l7mp.core.registry import Context
from l7mp.core.session import Session
from l7mp.core.stage import dial
from l7mp.errors import LocalError, Loss, NotStarted, Reason
from l7mp.interfaces import IListening, IStream, Metadata
from l7mp.model import lint
from l7mp.model.config import Config, Listener
from l7mp.model.edit import Change
from l7mp.model.plan import Step, Verb, plan

GRACE = 3.0
"""Seconds that sessions get to deliver what is under way when the proxy stops."""

Edit = Callable[[Config], Change]


@dataclass
class _Running:
    """A listener as it runs; its rules and options may change while it does."""

    listener: Listener
    listening: IListening | None = None
    early: list[tuple[IStream, Metadata, str]] | None = field(default_factory=list)
    """Streams accepted before the configuration was in effect; None afterwards."""
    is_over: bool = False
    """Whether it was stopped; who was shaking hands may still come."""

    def refuse(self) -> None:
        """Let in nobody any more, nor whoever waits."""
        self.is_over = True
        early, self.early = self.early, None
        for stream, _, _ in early or ():
            stream.abort(Loss(Reason.RECONFIGURED))


class Proxy(Service):
    """Owns everything that runs; see ``docs/architecture``."""

    name = "l7mp"

    def __init__(self, context: Context, observers: Sequence[Observer] = ()) -> None:
        self.context = replace(context, observe=self.observe, dial=self._dial)
        self.vocabulary = context.registry.vocabulary()
        self.config = Config()
        self.sessions: dict[str, Session] = {}
        """By name, in order of birth; ended ones too while they are tracked."""
        self._observers = list(observers)
        self._running: dict[str, _Running] = {}
        self._editing = DeferredLock()
        self._idle = IdleWatch(context.reactor)
        self._serial = 0
        self._branches: dict[str, set[IStream]] = {}
        """Streams that are no stages of their own, by the names of their endpoints."""
        self._timers: dict[str, Any] = {}
        self._quiet: Deferred[None] | None = None

    # -- observers ------------------------------------------------------------

    def subscribe(self, observer: Observer) -> None:
        """Let ``observer`` hear everything from now on."""
        self._observers.append(observer)

    def observe(self, event: Event) -> None:
        """Tell everybody; an observer that fails does not disturb the others."""
        for observer in self._observers:
            try:
                observer(event)
            except Exception as error:  # noqa: BLE001  # others still listen
                if not isinstance(event, Faulted):
                    self.observe(Faulted("observer", error))
        if isinstance(event, Destroyed):
            self._destroyed(event.session)

    # -- configuration ----------------------------------------------------------

    def edit(self, edit: Edit, spare: str = "") -> Deferred[Change]:
        """
        Make the next configuration and carry it out, one edit after another.

        Fires when the change is effective; fails, with nothing changed, with whatever
        ``edit`` raises or with the ``LocalError`` of the step that did not work.  The
        session called ``spare`` (the one that asks) is not ended.
        """
        return self._editing.run(self._edit, edit, spare)

    def _edit(self, edit: Edit, spare: str) -> Deferred[Change]:
        return Deferred.fromCoroutine(self._carry_out(edit, spare))

    async def _carry_out(self, edit: Edit, spare: str) -> Change:
        change = edit(self.config)
        old, done = self.config, []
        steps = list(plan(old, change.config))
        try:
            for step in steps:
                await self._try(step)
                done.append(step)
        except Exception:
            for step in reversed(done):
                await self._undo(step.inverse(old))
            self._admit()
            raise
        self.config = change.config
        self.observe(Configured(self.config))
        self._admit()
        self._warn_of_ignored(old)
        self._warn_of_losses(old)
        self._sever(change, spare)
        return change

    async def _try(self, step: Step) -> None:
        what = "listener" if isinstance(step.what, Listener) else "cluster"
        try:
            await self._do(step)
        except LocalError as error:
            raise NotStarted(what, step.what.name, error) from error

    async def _do(self, step: Step) -> None:
        what = step.what
        if not isinstance(what, Listener):
            if step.verb is Verb.STOP:
                self.context.resources.forget_all(("cluster", what.name))
            else:
                self.context.on_behalf_of("cluster", what.name).prepare(what.spec)
        elif step.verb is Verb.START:
            await self._start(what)
        elif step.verb is Verb.STOP:
            await self._stop(what.name)
        else:
            self._running[what.name].listener = what

    async def _undo(self, step: Step) -> None:
        try:
            await self._do(step)
        except Exception as error:  # noqa: BLE001  # undo the rest
            self.observe(Faulted("undoing a change that failed", error))

    async def _start(self, listener: Listener) -> None:
        running = _Running(listener)

        def accept(stream: IStream, metadata: Metadata, words: str) -> None:
            if running.is_over:
                stream.close(Loss(Reason.DELETED, f"{listener.name} has gone"))
            elif running.early is not None:
                running.early.append((stream, metadata, words))
            else:
                self._accept(running.listener, stream, metadata, words)

        context = self.context.on_behalf_of("listener", listener.name)
        try:
            running.listening = await context.listen(listener.spec, accept)
        except Exception:
            running.refuse()
            raise
        self._running[listener.name] = running
        self.observe(Listening(listener.name, running.listening.address()))

    def _admit(self) -> None:
        """The configuration is in effect: let in who came while it was carried out."""
        for running in list(self._running.values()):
            early, running.early = running.early, None
            for arrival in early or ():
                self._accept(running.listener, *arrival)

    async def _stop(self, name: str) -> None:
        running = self._running.pop(name)
        assert running.listening is not None, "stopped before it was started"
        running.is_over = True
        await running.listening.stop()
        running.refuse()
        self.observe(StoppedListening(name))

    def _warn_of_ignored(self, old: Config) -> None:
        """Tell of words that the original took and that mean nothing."""
        for table in ("listeners", "clusters"):
            before = getattr(old, table)
            for name, it in getattr(self.config, table).items():
                if it.spec.ignored and name not in before:
                    words = ", ".join(it.spec.ignored)
                    what = f"{words}: means nothing to {it.spec.protocol}, ignored"
                    self.observe(Warned(f"{table[:-1]} {name}", what))

    def _warn_of_losses(self, old: Config) -> None:
        """Tell of routes that lose boundaries, when they are declared."""
        flow_of = self.vocabulary.flow_of
        if (old.listeners, old.routes, old.clusters) == (
            self.config.listeners,
            self.config.routes,
            self.config.clusters,
        ):
            return
        before = lint.route_warnings(old, flow_of)
        for route, warnings in lint.route_warnings(self.config, flow_of).items():
            for warning in warnings:
                if warning not in before.get(route, ()):
                    self.observe(Warned(f"route {route}", warning))

    def _sever(self, change: Change, spare: str) -> None:
        if not change.severed:
            return
        endpoints = [name for kind, name in change.severed if kind == "endpoint"]
        loss = Loss(Reason.DELETED, "what it ran through was deleted or changed")
        for session in list(self.sessions.values()):
            if session.name != spare and session.refs & change.severed:
                session.end(loss)
            for endpoint in endpoints:
                session.disconnect(endpoint, Loss(Reason.DELETED, endpoint))
        for endpoint in endpoints:
            for stream in tuple(self._branches.get(endpoint, ())):
                stream.abort(Loss(Reason.DELETED, endpoint))

    # -- sessions -----------------------------------------------------------------

    def _accept(
        self, listener: Listener, stream: IStream, metadata: Metadata, words: str
    ) -> None:
        protocol = self.context.registry.protocols[listener.spec.protocol]
        name = (
            f"{protocol.tag or protocol.name}:{words or listener.name}-{self._serial}"
        )
        self._serial += 1
        session = Session(name, listener, stream, metadata, self, self.observe)
        self.sessions[name] = session
        try:
            session.run()
        except Exception as error:  # noqa: BLE001  # a bug costs one session
            self.observe(Faulted(name, error))
            session.end(Loss(Reason.LOCAL, str(error)))
        self._watch_idle(session, stream)

    def _watch_idle(self, session: Session, source: IStream) -> None:
        options = session.listener.options
        timeout = source.idle_timeout
        if options is not None and options.idle_timeout is not None:
            timeout = options.idle_timeout
        if timeout and session.loss is None:
            loss = Loss(Reason.IDLE, f"nothing moved for {timeout:g} s")
            self._idle.watch(session, timeout, lambda: session.end(loss))

    def _destroyed(self, name: str) -> None:
        session = self.sessions.get(name)
        if session is None:
            return
        self._idle.forget(session)
        options = session.listener.options
        track = options.track if options is not None else 0
        if track and not self._quiet:
            self._timers[name] = self.context.reactor.callLater(
                track, self._forget, name
            )
        else:
            self._forget(name)

    def _forget(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None and timer.active():
            timer.cancel()
        if self.sessions.pop(name, None) is not None:
            self.observe(Forgotten(name))
        if self._quiet is not None and not self.sessions:
            quiet, self._quiet = self._quiet, None
            quiet.callback(None)

    def _dial(self, cluster: str, metadata: Metadata) -> Deferred[IStream]:
        return Deferred.fromCoroutine(dial(self, cluster, metadata, self._dialled))

    def _dialled(self, endpoint: str, stream: IStream) -> None:
        """Remember what is no stage of a session, as long as it lives."""
        streams = self._branches.setdefault(endpoint, set())
        streams.add(stream)

        def gone(_: Loss) -> None:
            streams.discard(stream)
            if not streams:
                self._branches.pop(endpoint, None)

        stream.when_lost().addCallback(gone)

    # -- the service ----------------------------------------------------------------

    def stopService(self) -> Deferred[None]:
        """Accept nothing more, end every session in order, let go of everything."""
        super().stopService()
        return Deferred.fromCoroutine(self._shut_down())

    async def _shut_down(self) -> None:
        for name in list(self._running):
            await self._stop(name)
        for name in list(self._timers):
            self._forget(name)
        await self._end_sessions(Loss(Reason.SHUTDOWN, "the proxy stops"))
        self.context.resources.close()

    def _end_sessions(self, loss: Loss) -> Deferred[None]:
        if not self.sessions:
            return succeed(None)
        quiet = self._quiet = Deferred()
        for session in list(self.sessions.values()):
            session.end(loss)

        def late(*_: object) -> None:
            self._quiet = None

        return quiet.addTimeout(GRACE, self.context.reactor, late).addErrback(late)
