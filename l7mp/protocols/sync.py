"""Sync: sessions whose metadata agree meet in one broadcast domain."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field
from twisted.internet.defer import Deferred, fail, succeed

from l7mp.core.registry import Context, Protocol
from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import IStream, Metadata
from l7mp.model import pointer
from l7mp.model.config import EndPoint
from l7mp.model.spec import REMOTE_WORDS, Spec
from l7mp.streams.hub import Room


class SyncClusterSpec(Spec):
    """Connect all sessions for which ``query`` has the same value."""

    tolerates = REMOTE_WORDS

    query: str
    """JSON path of the metadata that tells rooms apart."""
    alone: Literal["drop", "wait"] = "drop"
    """What becomes of what is said in a room with nobody else in it."""
    max_members: Annotated[int, Field(ge=1)] = 1024
    """How many sessions can be in one room; more are refused."""
    max_rooms: Annotated[int, Field(ge=1)] = 4096
    """How many rooms there can be; more are refused."""


def connect(
    context: Context, spec: SyncClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """A place in the session's room."""
    value = pointer.get(metadata, pointer.parse(spec.query), None)
    label = json.dumps(value, sort_keys=True)
    rooms: dict[str, Room] = context.resources.get(context.owner, dict)
    room = rooms.get(label)
    if room is None:
        if len(rooms) >= spec.max_rooms:
            return _full(f"there are {len(rooms)} rooms already")
        waits = spec.alone == "wait"
        room = rooms[label] = Room(lambda: _forget(rooms, label), waits)
    elif len(room.members) >= spec.max_members:
        return _full(f"there are {len(room.members)} in the room already")
    return succeed(room.join())


def _full(what: str) -> Deferred[IStream]:
    return fail(RemoteError(Loss(Reason.REFUSED, what)))


def _forget(rooms: dict[str, Room], label: str) -> None:
    rooms.pop(label, None)


protocol = Protocol(
    name="Sync",
    kind=None,
    summary="Broadcasts among all sessions whose metadata agree.",
    cluster=SyncClusterSpec,
    connect=connect,
    virtual=True,
    balanced=False,
)
