"""Sync: sessions whose metadata agree meet in one broadcast domain."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred, succeed

from l7mp.core.registry import Context, Protocol
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


def connect(
    context: Context, spec: SyncClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """A place in the session's room."""
    value = pointer.get(metadata, pointer.parse(spec.query), None)
    label = json.dumps(value, sort_keys=True)
    rooms: dict[str, Room] = context.resources.get(context.owner, dict)
    room = rooms.get(label)
    if room is None:
        room = rooms[label] = Room(lambda: _forget(rooms, label))
    return succeed(room.join())


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
