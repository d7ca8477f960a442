"""
Sockets of unix(7): their names, binding and connecting them, and who is there.

A name that begins with ``@`` is abstract: it is no file, and goes with its socket.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from typing import Any, cast

from twisted.internet.task import deferLater

from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import Metadata
from l7mp.streams.access import Access, Made, kind_at
from l7mp.streams.descriptor import loss_of

BUFFER = 1 << 19
"""Bytes that may be on their way: room for the longest message that is allowed."""

MAX_NAME = 107
"""Bytes of the longest path; an abstract name may have as many, its @ included."""

CREDENTIALS = struct.Struct("@iII")
"""The process, user and group at the other end (struct ucred)."""

CREDENTIALS_SPACE = socket.CMSG_SPACE(CREDENTIALS.size)
"""
Room for exactly these in ancillary data.

The kernel gives them first, so that nothing is left for descriptors that a peer
might send: it closes them instead of opening them here.
"""

AGAIN = 0.02
"""Seconds until somebody whose queue is full is asked again."""

TYPES = {
    "stream": socket.SOCK_STREAM,
    "dgram": socket.SOCK_DGRAM,
    "seqpacket": socket.SOCK_SEQPACKET,
}

_REASONS = {
    errno.ENOENT: Reason.UNREACHABLE,
    errno.ENOTDIR: Reason.UNREACHABLE,
    errno.EPROTOTYPE: Reason.REFUSED,
    errno.EPERM: Reason.REFUSED,
    errno.ENAMETOOLONG: Reason.LOCAL,
}

_DETAILS = {
    errno.EPROTOTYPE: "the socket there is of another type",
    errno.EPERM: "the socket there listens to somebody else only",
}


# -- names -----------------------------------------------------------------------


def raw(name: str) -> bytes:
    """The address of a name that a user gave."""
    packed = os.fsencode(name)
    return b"\0" + packed[1:] if is_abstract(name) else packed


def shown(address: str | bytes | None) -> str:
    """An address as a user would name it; empty for a socket that has none."""
    packed = os.fsencode(address or b"")
    if packed[:1] == b"\0":
        packed = b"@" + packed[1:]
    return packed.decode("utf-8", "backslashreplace")


def is_abstract(name: str) -> bool:
    """Whether there is no file of that name."""
    return name.startswith("@")


# -- who is there ------------------------------------------------------------------


def facts_of(packed: bytes) -> Metadata:
    """Credentials as metadata."""
    pid, uid, gid = CREDENTIALS.unpack(packed)
    return {"pid": pid, "uid": uid, "gid": gid}


def peer_of(sock: socket.socket) -> Metadata:
    """What is known of the peer of a connected socket: as it was when it connected."""
    packed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    name = shown(sock.getpeername())
    return {**facts_of(packed), **({"peer": name} if name else {})}


def tell_credentials(sock: socket.socket) -> None:
    """Have every message come with the credentials of its sender."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)


# -- binding -----------------------------------------------------------------------


class Bound:
    """A bound socket, and the file that goes with it."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self.sock, self.name = sock, name
        self._file = None if is_abstract(name) else Made.at(name)

    def remove_file(self) -> None:
        """Remove the file, if it is still ours."""
        if self._file is not None:
            self._file.remove()


def bind(type_: int, name: str, access: Access, backlog: int = 0) -> Bound:
    """
    Bind a socket to ``name``, in place of a file where nobody listens any more.

    With a ``backlog`` it listens, once its file is accessible to those who may.
    Raises ``LocalError`` that says what could not be bound, and why.
    """
    if len(raw(name)) > MAX_NAME:
        raise _unbound(name, f"the name is longer than {MAX_NAME} bytes")
    if not is_abstract(name):
        _clear(name)
    sock = new_socket(type_)
    try:
        return _bind(sock, name, access, backlog)
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            raise _unbound(name, _why(error)) from error
        raise


def _bind(sock: socket.socket, name: str, access: Access, backlog: int) -> Bound:
    if not access.is_default:
        os.fchmod(sock.fileno(), 0)  # which the file inherits
    sock.bind(raw(name))
    bound = Bound(sock, name)
    try:
        if not access.is_default:
            access.give(name, 0o777)
        if backlog:
            sock.listen(backlog)
    except BaseException:
        bound.remove_file()
        raise
    return bound


def _why(error: OSError) -> str:
    why = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        return f"{why}; another process listens there"
    return why


def new_socket(type_: int) -> socket.socket:
    """A socket that does not block, with room for long messages."""
    sock = socket.socket(socket.AF_UNIX, type_)
    sock.setblocking(False)
    make_room(sock)
    return sock


def make_room(sock: socket.socket) -> None:
    """Let long messages pass; streams have no need of it."""
    if sock.type != socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)


def _unbound(name: str, why: str) -> LocalError:
    return LocalError(f"cannot listen at {name}: {why}")


def _clear(path: str) -> None:
    """Remove a socket file that a process left behind."""
    if not os.path.isdir(os.path.dirname(path) or "."):
        folder = os.path.dirname(path)
        why = f"{os.strerror(errno.ENOENT)}; make the directory {folder} first"
        raise _unbound(path, why)
    kind = kind_at(path)
    if kind is None:
        return
    if kind != stat.S_IFSOCK:
        raise _unbound(path, "there is a file that is no socket; name another")
    if is_in_use(path):
        raise _unbound(path, "another process listens there; name another")
    os.unlink(path)


def is_in_use(path: str) -> bool:
    """
    Whether somebody may still listen at a socket file, of whatever type.

    A probe for datagrams disturbs nobody: only sockets of its own type take it, and
    those do not notice.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # it is of another type, or not for us
            return True
    return True


# -- connecting --------------------------------------------------------------------


async def dial(reactor: Any, type_: int, name: str) -> socket.socket:
    """
    A socket connected to ``name``; raises ``RemoteError``.

    One for datagrams has an address of its own, which the kernel chooses, so that
    answers find their way.  Somebody whose queue is full is asked again.
    """
    sock = new_socket(type_)
    try:
        if type_ == socket.SOCK_DGRAM:
            sock.bind(b"")
        while not _connected(sock, name):
            await cast(Any, deferLater(reactor, AGAIN))
    except BaseException:
        sock.close()
        raise
    return sock


def _connected(sock: socket.socket, name: str) -> bool:
    try:
        sock.connect(raw(name))
    except BlockingIOError:
        return False
    except OSError as error:
        raise RemoteError(failure_of(error, name)) from error
    return True


def failure_of(error: OSError, name: str) -> Loss:
    """Why a socket could not be reached."""
    code = error.errno or errno.ENAMETOOLONG  # which Python finds out by itself
    detail = _DETAILS.get(code) or error.strerror or str(error)
    reason = _REASONS.get(code) or loss_of(error).reason
    return Loss(reason, f"{name}: {detail}")
