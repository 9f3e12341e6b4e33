"""A TCP proxy that goes away for good after so many bytes: a server that dies in the middle of a transfer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def proxy(host: str, port: int, *, limit_bytes: int) -> Iterator[int]:
    """The port of a proxy for `host:port` that passes `limit_bytes` in all, both ways together, and then is gone."""
    listener = socket.create_server(("127.0.0.1", 0))
    lock, open_ones = threading.Lock(), [listener]
    left = limit_bytes

    def gone() -> None:
        with lock:
            for one in open_ones:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()

    def pump(source: socket.socket, target: socket.socket) -> None:
        nonlocal left
        with suppress(OSError):
            while data := source.recv(1 << 16):
                with lock:
                    left -= len(data)
                if left < 0:
                    break
                target.sendall(data)
        if left < 0:
            gone()
        else:
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection((host, port))
                with lock:
                    open_ones.extend((client, server))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        gone()
