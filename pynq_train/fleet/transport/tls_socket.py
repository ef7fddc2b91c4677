"""Mutual TLS on plain sockets: the standard library alone."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import ssl
import threading

from pynq_train.errors import BadInput, MemberBusy
from pynq_train.fleet.transport import frames
from pynq_train.fleet.transport.base import (
    MOST_UNDER_WAY,
    Admit,
    Beats,
    check_name,
    host_and_port,
    lost,
    overdue,
    too_many,
)
from pynq_train.fleet.transport.certificates import Credentials, distrust, refusal
from pynq_train.fleet.transport.frames import Broken, FrameStream
from pynq_train.fleet.transport.loop import LoopThread
from pynq_train.fleet.wire import MOST_BYTES

MOST_CONNECTIONS = 8
"""Coordinators that a member hears at once; more are turned away."""
_HANDSHAKE_S = 5.0


class TlsSocket:
    """The transport of standard-library sockets.

    Args:
        credentials: who this is, and whom it trusts.
        beats: how a dead or hung peer is noticed.
        most_bytes: of a message.
    """

    def __init__(self, credentials: Credentials, beats: Beats | None = None,
                 most_bytes: int = MOST_BYTES) -> None:
        self._credentials = credentials
        self._beats = beats or Beats()
        self._most_bytes = most_bytes
        self._thread = LoopThread()
        self._open: list[_Listener | _Connection] = []

    def listen(self, name: str, address: str, admit: Admit) -> _Listener:
        """See :class:`~pynq_train.fleet.transport.base.Transport`."""
        check_name(name)
        host, port = host_and_port(address)
        listener = _Listener(self._thread, admit, self._beats, self._most_bytes)
        try:
            self._thread.run(listener.open(host, port, self._credentials.server()))
        except OSError as error:
            raise BadInput(f"cannot listen at {address} ({error.strerror or error})",
                           fix="choose an address of this machine and a free port") from None
        self._open.append(listener)
        return listener

    def connect(self, name: str, address: str, seconds: float = 5.0) -> _Connection:
        """See :class:`~pynq_train.fleet.transport.base.Transport`."""
        check_name(name)
        host, port = host_and_port(address)
        connection = _Connection(self._thread, name, self._beats, self._most_bytes)
        self._thread.run(connection.open(host, port, self._credentials.client(), seconds))
        self._open.append(connection)
        return connection

    def close(self) -> None:
        """See :class:`~pynq_train.fleet.transport.base.Transport`."""
        while self._open:
            self._open.pop().close()
        self._thread.stop()


class _Listener:
    def __init__(self, thread: LoopThread, admit: Admit, beats: Beats, most_bytes: int) -> None:
        self._thread = thread
        self._admit = admit
        self._beats = beats
        self._most_bytes = most_bytes
        self._server: asyncio.AbstractServer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.address = ""

    async def open(self, host: str, port: int, context: ssl.SSLContext) -> None:
        server = await asyncio.start_server(self._serve, host, port, ssl=context,
                                            ssl_handshake_timeout=_HANDSHAKE_S)
        taken = server.sockets[0].getsockname()[1]
        self.address = f"[{host}]:{taken}" if ":" in host else f"{host}:{taken}"
        self._server = server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = FrameStream(reader, writer, self._beats, self._most_bytes)
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= MOST_CONNECTIONS:
            with contextlib.suppress(Broken):
                await stream.send(frames.FULL, 0, b"")
                # The coordinator closes first: what was sent arrives.
                await stream.receive()
            await stream.close()
            return
        self._tasks.add(task)
        loop = asyncio.get_running_loop()

        def answer(number: int, data: bytes) -> None:
            # The loop may have been closed: then nobody waits for this answer.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(stream.post, frames.ANSWER, number, data)

        try:
            await stream.first_sign()
            while True:
                frame = await stream.receive()
                if frame.kind != frames.REQUEST:
                    break
                self._admit(frame.data, functools.partial(answer, frame.number))
                # Who does not read answers is not asked for more requests.
                await writer.drain()
        except (Broken, OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            await stream.close()

    def close(self) -> None:
        if self._server is not None:
            self._thread.run(self._close(self._server))
            self._server = None

    async def _close(self, server: asyncio.AbstractServer) -> None:
        server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Connection:
    def __init__(self, thread: LoopThread, name: str, beats: Beats, most_bytes: int) -> None:
        self._thread = thread
        self._name = name
        self._beats = beats
        self._most_bytes = most_bytes
        self._waiting: dict[int, concurrent.futures.Future[bytes]] = {}
        self._numbers = 0
        self._lock = threading.Lock()
        self._stream: FrameStream | None = None
        self._reading: asyncio.Task[None] | None = None
        self._lost: str | None = None

    @property
    def lost(self) -> bool:
        return self._lost is not None

    async def open(self, host: str, port: int, context: ssl.SSLContext, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._open(host, port, context), seconds)
        except asyncio.TimeoutError:
            raise lost(self._name, f"nobody answers at {host}:{port} within {seconds:g} s"
                       ) from None
        except OSError as error:
            raise lost(self._name, f"{host}:{port}: {error.strerror or error}") from None

    async def _open(self, host: str, port: int, context: ssl.SSLContext) -> None:
        try:
            reader, writer = await asyncio.open_connection(
                host, port, ssl=context, server_hostname=self._name,
                ssl_handshake_timeout=_HANDSHAKE_S)
        except ssl.SSLError as error:
            raise distrust(self._name, refusal(error)) from None
        stream = FrameStream(reader, writer, self._beats, self._most_bytes)
        try:
            # With TLS 1.3 a client learns that it is refused when it reads.
            if await stream.first_sign() == frames.FULL:
                raise MemberBusy(f"member {self._name!r}", expected="a free place among "
                                 f"{MOST_CONNECTIONS} connections", found="none",
                                 fix="end other coordinators first")
        except Broken as error:
            await stream.close()
            raise distrust(self._name, str(error)) from None
        except BaseException:
            await stream.close()
            raise
        self._stream = stream
        self._reading = asyncio.ensure_future(self._read(stream))

    async def _read(self, stream: FrameStream) -> None:
        why = "the connection was closed"
        try:
            while True:
                frame = await stream.receive()
                with self._lock:
                    waiting = self._waiting.pop(frame.number, None)
                # Nobody waits for a late or second answer.
                if waiting is not None and frame.kind == frames.ANSWER:
                    waiting.set_result(frame.data)
        except (Broken, OSError) as error:
            why = str(error)
        finally:
            self._give_up(why)
            await stream.close()

    def _give_up(self, why: str) -> None:
        with self._lock:
            self._lost = self._lost or why
            waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.set_exception(lost(self._name, why))

    def request(self, data: bytes, seconds: float) -> bytes:
        future: concurrent.futures.Future[bytes] = concurrent.futures.Future()
        stream = self._stream
        with self._lock:
            if self._lost is not None or stream is None:
                raise lost(self._name, self._lost or "it was never connected")
            if len(self._waiting) >= MOST_UNDER_WAY:
                raise too_many(self._name)
            self._numbers += 1
            number = self._numbers
            self._waiting[number] = future
        try:
            self._thread.start(self._send(stream, number, data))
            return future.result(seconds)
        except concurrent.futures.TimeoutError:
            raise overdue(self._name, seconds) from None
        finally:
            with self._lock:
                self._waiting.pop(number, None)

    async def _send(self, stream: FrameStream, number: int, data: bytes) -> None:
        try:
            await stream.send(frames.REQUEST, number, data)
        except Broken as error:
            self._give_up(str(error))

    def close(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            self._give_up("this side has closed the connection")
            self._thread.run(self._close(reading))

    async def _close(self, reading: asyncio.Task[None]) -> None:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
