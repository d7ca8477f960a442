"""One session: a source, the route it takes, and the ring made of them."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from l7mp.core.events import (
    AttemptFailed,
    Born,
    Connected,
    Destroyed,
    Ended,
    Event,
    Faulted,
    Noted,
    Observer,
    Piped,
    Refused,
    Routed,
    StageConnected,
    StageLost,
    StageRestored,
    Warned,
)
from l7mp.core.lifecycle import Hooks, lifecycle
from l7mp.core.ring import Ring
from l7mp.core.router import decide
from l7mp.core.stage import Stage, World, connect
from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import IStream, Metadata, Note
from l7mp.model.config import Listener
from l7mp.model.declared import Retry
from l7mp.model.edit import Ref
from l7mp.model.framing import Framing
from l7mp.model.hops import hops_of
from l7mp.model.lint import complaints
from l7mp.model.members import closure, flow_in
from l7mp.model.retry import Event as RetryEvent
from l7mp.model.retry import retries
from l7mp.model.spec import FlowOf
from l7mp.streams.framed import framed

NEVER_TRIED = Loss(Reason.LOCAL, "never tried")


class Session:
    """What the proxy does for one peer."""

    def __init__(
        self,
        name: str,
        listener: Listener,
        source: IStream,
        metadata: Metadata,
        world: World,
        observe: Observer,
    ) -> None:
        self.name = name
        self.listener = listener
        self.metadata = {**metadata, "name": name}
        self.refs: set[Ref] = {("listener", listener.name)}
        """The objects that this session is made of."""
        self.warnings: list[str] = []
        self.loss: Loss | None = None
        """Why the session ended, None while it lives."""
        self.stages = [Stage("source", listener.name)]
        self.stages[0].fill(source)
        self.stages[0].protocol = listener.spec.protocol
        self.stages[0].spec = listener.spec
        self.stages[0].framing = listener.framing
        self.retry = Retry(retry_on="never")
        self._framing: Framing | None = None
        """The route's, for those stages that have none of their own."""
        self._world, self._observe = world, observe
        self._ring: Ring | None = None
        self._ended: set[int] = set()
        """Stages that were told that nothing more will be written to them."""
        self._owed: set[int] = set()
        """Those of which whatever takes their place has to be told so again."""
        self._missing: set[int] = set()
        """Stages that were lost and are being connected again."""
        self._attempts: dict[int, Deferred[None]] = {}
        self._life = lifecycle(Hooks(self._wind_up, self._bury))

    # -- for others -------------------------------------------------------------

    @property
    def status(self) -> str:
        """INIT, CONNECTED, DISCONNECTED, FINALIZING or DESTROYED."""
        return self._life.status()

    @property
    def traffic(self) -> int:
        """A number that changes when data moves in either direction."""
        source = self.stages[0].stream
        return source.messages_in + source.messages_out  # type: ignore[union-attr]

    def end(self, loss: Loss) -> None:
        """End the session; what was written is still delivered."""
        self._life.finish(loss)

    def disconnect(self, endpoint: str, loss: Loss) -> None:
        """Take away the stages that use ``endpoint``; the retry policy follows."""
        for index, stage in enumerate(self.stages):
            if stage.endpoint is not None and stage.endpoint.name == endpoint:
                self._forget_end(index)
                if stage.stream is not None:
                    stage.stream.abort(loss)

    def run(self) -> None:
        """Find the route, connect every stage, and let the data flow."""
        self._say(Born(self.name, self.listener.name, self.listener.spec.protocol))
        self._watch(0)
        self._hear(self.stages[0])
        try:
            self._route()
        except LocalError as error:
            reason = Reason.NO_ROUTE if error.status == 404 else Reason.LOCAL
            self._refuse(Loss(reason, str(error)))
            return
        for index in range(1, len(self.stages)):
            if self.loss is None:  # else one of them was refused at once
                self._attempt(index, "connect-failure", NEVER_TRIED)

    # -- setting up ---------------------------------------------------------------

    def _route(self) -> None:
        config = self._world.config
        decision = decide(config, self.listener.rules, self.metadata)
        route = decision.route
        self.metadata = decision.metadata
        self.metadata.setdefault("name", self.name)
        self.retry, self._framing = route.retry, route.framing
        for role, names in (
            ("ingress", route.ingress),
            ("destination", (route.destination,)),
            ("egress", route.egress),
        ):
            self.stages.extend(Stage(role, name) for name in names)
        self.refs.update(("rulelist", name) for name in decision.passed)
        self.refs.update({("rule", decision.rule), ("route", route.name)})
        stages = [stage.origin for stage in self.stages[1:]]
        self.refs.update(("cluster", name) for name in closure(config, stages))
        self._say(Routed(self.name, decision.rulelist, decision.rule, route.name))

    def _attempt(self, index: int, event: RetryEvent, cause: Loss) -> None:
        attempt = Deferred.fromCoroutine(self._connect(index, event, cause))
        if not attempt.called:
            self._attempts[index] = attempt
        attempt.addErrback(self._fault)

    async def _connect(self, index: int, event: RetryEvent, cause: Loss) -> None:
        stage = self.stages[index]

        def failed(loss: Loss) -> None:
            if self.loss is not None:
                raise CancelledError  # whatever the protocol called it
            self._say(AttemptFailed(self.name, stage.origin, loss))

        try:
            stream = await connect(
                self._world, stage, self.metadata, self.retry, event, cause, failed
            )
        except RemoteError as error:
            self._attempts.pop(index, None)
            self._refuse(error.loss)
            return
        self._attempts.pop(index, None)
        self._arrived(index, stream)

    def _fault(self, failure: Failure) -> None:
        """A cancelled attempt, or a bug; the latter costs the session."""
        if not failure.check(CancelledError):
            error = failure.value or RuntimeError(str(failure))
            self._say(Faulted(self.name, error))
            self._life.finish(Loss(Reason.LOCAL, failure.getErrorMessage()))

    def _arrived(self, index: int, stream: IStream) -> None:
        if self.loss is not None:
            stream.abort(self.loss)
            return
        stage = self.stages[index]
        self._missing.discard(index)
        left = stage.stream.unsent() if stage.stream is not None else []
        stage.fill(stream)
        if self._ring is not None:
            stream = self._frame(index, self._framings()[index])
        endpoint = stage.endpoint.name if stage.endpoint else ""
        self._say(StageConnected(self.name, stage.origin, stage.protocol, endpoint))
        self._hear(stage)
        if self._ring is not None:
            for data in left:
                stream.write(data)
            self._ring.mend(index, stream)
            stage.status = "READY"
            self._say(StageRestored(self.name, stage.origin))
            self._watch(index)
            self._life.restored(index)
            self._say_if_connected()
            if index in self._owed:
                self._owed.discard(index)
                self._ended.add(index)
                stream.end()
            self._ring.settle()
        elif all(stage.stream is not None for stage in self.stages):
            self._close_ring()

    def _close_ring(self) -> None:
        for index, framing in enumerate(self._framings()):
            self._frame(index, framing)
        streams = list(self._streams())
        self._warn_of_lost_boundaries()
        self._ring = Ring(streams, self._read_ended)
        for index, stream in enumerate(streams):
            self.stages[index].status = "READY"
            self._say(Piped(self.name, streams[index - 1], stream))
        self._life.connected()
        self._say_if_connected()
        streams[0].established()
        self._ring.open()
        for index in range(1, len(streams)):
            self._watch(index)
        self._ring.settle()

    def _hear(self, stage: Stage) -> None:
        """Pass on what the stream of a stage says about itself."""

        def noted(note: Note) -> None:
            self._say(Noted(self.name, stage.origin, note))

        assert stage.stream is not None, "nobody to hear"
        stage.stream.tell(noted)

    def _say_if_connected(self) -> None:
        if self.status == "CONNECTED":
            self._say(Connected(self.name))

    def _framings(self) -> tuple[Framing | None, ...]:
        stops = [stage.stop for stage in self.stages]
        return hops_of(stops, self._framing, self._flow_of).framings

    @property
    def _flow_of(self) -> FlowOf:
        return flow_in(self._world.config, self._world.vocabulary.flow_of)

    def _frame(self, index: int, framing: Framing | None) -> IStream:
        """Let a stage carry messages, if there is a framing that says how."""
        stage = self.stages[index]
        assert stage.stream is not None, "framed before it was there"
        if framing is not None:
            name, most = framing.format, framing.max_message
            stage.stream = framed(stage.stream, name, most)
            if index == 0:
                self._watch(0)  # in place of what is inside
        return stage.stream

    def _warn_of_lost_boundaries(self) -> None:
        stops = [stage.stop for stage in self.stages]
        for warning in complaints(stops, self._framing, self._flow_of):
            if warning not in self.warnings:
                self.warnings.append(warning)
                self._say(Warned(f"session {self.name}", warning))

    # -- the life of the ring -------------------------------------------------------

    def _watch(self, index: int) -> None:
        stream = self.stages[index].stream
        assert stream is not None, "watched before it was there"

        def gone(loss: Loss) -> None:
            if self.stages[index].stream is stream:
                self._gone(index, loss)

        stream.when_lost().addCallback(gone).addErrback(self._fault)

    def _read_ended(self, index: int) -> None:
        """Nothing more will come from this stage, though it still takes data."""
        if self.loss is not None:
            return
        early = index not in self._ended and not self._is_complete(index)
        if index and early and retries(self.retry, "disconnect"):
            self._reconnect(index, Loss(Reason.FIN, "the peer ended the stream"))
        else:
            self._pass_end(index)

    def _is_complete(self, index: int) -> bool:
        stream = self.stages[index].stream
        return stream is not None and stream.is_complete

    def _forget_end(self, index: int) -> None:
        """What takes the place of a stage has not been told the end yet."""
        if index in self._ended:
            self._ended.discard(index)
            self._owed.add(index)

    def _let_go(self, index: int) -> None:
        """Part with a stage whose peer has ended, keeping what it did not take."""
        stream = self.stages[index].stream
        if stream is None or stream.loss is not None:
            return
        if stream.unsent():
            stream.abort(Loss(Reason.FIN))
        else:
            stream.close(Loss(Reason.FIN))

    def _pass_end(self, index: int) -> None:
        """The end of the data at one stage is the end of what the next is written."""
        assert self._ring is not None, "an end before the ring"
        following = (index + 1) % len(self.stages)
        if following not in self._ended:
            self._ended.add(following)
            self._ring.after(index).end()

    def _gone(self, index: int, loss: Loss) -> None:
        """The stream of a stage is lost."""
        stage = self.stages[index]
        if self.loss is not None:
            stage.status = "END"
            self._vanish()
        elif index and self._is_to_be_replaced(index, loss):
            self._reconnect(index, loss)
        else:
            stage.status = "END"
            self._say(StageLost(self.name, stage.origin, loss))
            if loss.reason is Reason.FIN and self._ring is not None:
                self._pass_end(index)
            if index == 0 or not self._is_winding_down(index, loss):
                self._life.finish(loss)

    def _is_to_be_replaced(self, index: int, loss: Loss) -> bool:
        if self._is_winding_down(index, loss) or self._is_complete(index):
            return False
        return self._ring is None or retries(self.retry, "disconnect")

    def _is_winding_down(self, index: int, loss: Loss) -> bool:
        """Whether the stage was told that nothing more would come, and went in peace."""
        return index in self._ended and loss.reason is Reason.FIN

    def _reconnect(self, index: int, loss: Loss) -> None:
        stage = self.stages[index]
        if index in self._missing:
            return
        self._missing.add(index)
        stage.status = "DISCONNECTED"
        self._say(StageLost(self.name, stage.origin, loss))
        self._forget_end(index)
        if self._ring is not None:
            self._ring.remove(index)
        self._life.lost(index)
        self._let_go(index)
        self._attempt(index, "disconnect", loss)

    # -- the end ----------------------------------------------------------------------

    def _refuse(self, loss: Loss) -> None:
        if self.loss is None:
            self._say(Refused(self.name, loss))
            self._life.finish(loss)

    def _wind_up(self, loss: Loss) -> None:
        self.loss = loss
        self._say(Ended(self.name, loss))
        attempts, self._attempts = self._attempts, {}
        for attempt in attempts.values():
            attempt.cancel()
        for stage in self.stages:
            if stage.stream is None or stage.stream.loss is not None:
                stage.status = "END"
            elif loss.orderly:
                stage.stream.close(loss)
            else:
                stage.stream.abort(loss)
        self._vanish()

    def _vanish(self) -> None:
        if all(stream.loss is not None for stream in self._streams()):
            self._life.vanished()

    def _bury(self) -> None:
        assert self.loss is not None, "buried alive"
        self._say(Destroyed(self.name, self.loss))

    def _streams(self) -> Iterator[IStream]:
        return (stage.stream for stage in self.stages if stage.stream is not None)

    def _say(self, event: Event) -> None:
        self._observe(event)
