"""An end that puts a length of four octets before each message."""

from __future__ import annotations

import struct

from tests.conformance.ends import End

FRAMING = "u32be"
_LENGTH = struct.Struct(">I")


class FramedEnd:
    """Speaks in messages over an end that speaks in bytes."""

    def __init__(self, under: End) -> None:
        self._under = under
        self._rest = b""
        self.chunks: list[bytes] = []
        self.finish, self.leave = under.finish, under.leave
        self.drop, self.close = under.drop, under.close

    @property
    def ended(self) -> bool:
        """Heard that nothing more will come."""
        return self._under.ended

    @property
    def broken(self) -> bool:
        """Heard that the conversation broke off."""
        return self._under.broken

    def poll(self) -> None:
        self._under.poll()
        data = self._rest + b"".join(self._under.chunks)
        self._under.chunks.clear()
        while len(data) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
            if len(data) < end:
                break
            self.chunks.append(data[_LENGTH.size : end])
            data = data[end:]
        self._rest = data

    def say(self, data: bytes) -> None:
        self._under.say(_LENGTH.pack(len(data)) + data)
