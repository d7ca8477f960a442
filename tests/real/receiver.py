"""A WebSocket receiver such as ``websocat -Eb ws-l:127.0.0.1:16000 -``."""

from __future__ import annotations

import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve


def talk(connection: ServerConnection) -> None:
    """Show what comes, send what is typed."""

    def typed() -> None:
        for line in sys.stdin.buffer:
            connection.send(line)

    threading.Thread(target=typed, daemon=True).start()
    try:
        for message in connection:
            data = message.encode() if isinstance(message, str) else message
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    except ConnectionClosed:
        pass


def main() -> None:
    host, port = sys.argv[1], int(sys.argv[2])
    with serve(talk, host, port) as server:
        sys.stderr.write("ready\n")
        sys.stderr.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
