"""A relay on loopback that shapes a link: delay, rate, cut, and silence."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from types import TracebackType

_PART = 1 << 14


class Relay:
    """Passes bytes of any number of connections on to ``target``, in both directions.

    Args:
        target: address of a member.
        delay_s: seconds after which bytes arrive.
        bytes_per_s: that pass in each direction; 0: any number.
    """

    def __init__(self, target: str, delay_s: float = 0.0, bytes_per_s: float = 0.0) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._delay_s = delay_s
        self._bytes_per_s = bytes_per_s
        self._flowing = threading.Event()
        self._flowing.set()
        self._closed = False
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._start(self._accept)

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._closed = True
        self.flow()
        self.cut()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(10)

    def silence(self) -> None:
        """Let nothing pass, and nobody know: a cable that is pulled out."""
        self._flowing.clear()

    def flow(self) -> None:
        """Let everything pass again."""
        self._flowing.set()

    def cut(self) -> None:
        """Reset all connections."""
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _start(self, work: object, *arguments: object) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._server.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                parts: queue.Queue[tuple[float, bytes]] = queue.Queue(64)
                self._start(self._take, source, parts)
                self._start(self._give, parts, sink)

    def _take(self, source: socket.socket, parts: queue.Queue[tuple[float, bytes]]) -> None:
        free = time.monotonic()
        while True:
            try:
                data = source.recv(_PART)
            except OSError:
                data = b""
            if self._bytes_per_s:
                free = max(free, time.monotonic()) + len(data) / self._bytes_per_s
                time.sleep(max(0.0, free - time.monotonic()))
            parts.put((time.monotonic() + self._delay_s, data))
            if not data:
                return

    def _give(self, parts: queue.Queue[tuple[float, bytes]], sink: socket.socket) -> None:
        while True:
            when, data = parts.get()
            time.sleep(max(0.0, when - time.monotonic()))
            self._flowing.wait()
            with contextlib.suppress(OSError):
                if data:
                    sink.sendall(data)
                else:
                    sink.shutdown(socket.SHUT_WR)
            if not data:
                return
