"""
A peer that speaks the kernel's SCTP with nothing but Python's own library.

``sctp_peer.py [bind ADDRESS…] connect ADDRESS… PORT STREAM PPID TEXT`` says one
message and prints the answer, its stream and its identifier, as JSON.  With ``down
CARD`` before ``connect`` it goes on doing so when it has taken that network card down.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import struct
import subprocess
import sys
import time

SCTP = 132
RECVRCVINFO, BINDX_ADD, CONNECTX = 32, 100, 110
SNDINFO = RCVINFO = 2
MSG_NOTIFICATION = 0x8000


def packed(hosts: list[str], port: int) -> bytes:
    """Addresses of IPv4 as the kernel wants them."""
    return b"".join(
        struct.pack("=H", socket.AF_INET)
        + struct.pack("!H4s8x", port, ipaddress.ip_address(host).packed)
        for host in hosts
    )


def ask(sock: socket.socket, stream: str, ppid: str, text: str) -> None:
    """Say it, and print what comes."""
    about = struct.pack("=HH", int(stream), 0) + struct.pack("!I", int(ppid)) + bytes(8)
    sock.sendmsg([text.encode()], [(SCTP, SNDINFO, about)])
    data, found, _, _ = sock.recvmsg(1 << 16, 256)
    ((_, _, info),) = found
    (sid,), (pid,) = struct.unpack_from("=H", info), struct.unpack_from("!I", info, 8)
    answer = {"data": data.decode(), "stream": sid, "ppid": pid}
    sys.stdout.write(json.dumps(answer) + "\n")


def main(words: list[str]) -> None:
    at = words.index("connect")
    own, (*peers, port, stream, ppid, text) = words[1:at], words[at + 1 :]
    card = own.pop() if own[-2:-1] == ["down"] else ""
    own = own[:-1] if card else own
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, SCTP)
    sock.settimeout(10)
    sock.setsockopt(SCTP, RECVRCVINFO, struct.pack("i", 1))
    if own:
        sock.setsockopt(SCTP, BINDX_ADD, packed(own, 0))
    sock.setblocking(True)
    sock.setsockopt(SCTP, CONNECTX, packed(peers, int(port)))
    ask(sock, stream, ppid, text)
    if card:
        subprocess.run(["ip", "link", "set", card, "down"], check=True)
        for _ in range(16):  # long enough for the other side to notice
            ask(sock, stream, ppid, text)
            time.sleep(0.25)
    sock.close()


if __name__ == "__main__":
    main(sys.argv[1:])
