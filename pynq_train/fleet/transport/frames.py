"""Frames on a stream of bytes: kind, number, length, contents; and signs of life between them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from dataclasses import dataclass

from pynq_train.fleet.transport.base import Beats
from pynq_train.fleet.transport.certificates import refusal

BEAT, REQUEST, ANSWER, FULL = 0, 1, 2, 3
_HEAD = struct.Struct("<BQQ")
_PART = 1 << 16


class Broken(Exception):
    """The stream has ended, or is no stream of frames; the text says why."""


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        kind: ``REQUEST``, ``ANSWER``, or ``FULL`` of a member that hears enough coordinators.
        number: of the request.
        data: its bytes.
    """

    kind: int
    number: int
    data: bytes


class FrameStream:
    """Frames of both directions of a connection; used in one event loop alone.

    Both sides send signs of life whenever they have nothing else to send, each by itself: during a
    long transfer its own bytes are the sign. Silence is counted in ticks and not in seconds, so
    that a process that was itself held up takes nobody for dead.

    Args:
        reader, writer: of the connection.
        beats: how silence is noticed.
        most_bytes: of a frame that is read.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, beats: Beats,
                 most_bytes: int) -> None:
        self._reader = reader
        self._writer = writer
        self._beats = beats
        self._most_bytes = most_bytes
        self._heard = 0
        self._watch = asyncio.ensure_future(self._keep_watch())
        self.silent = False

    async def send(self, kind: int, number: int, data: bytes) -> None:
        """Send a frame; wait while the other side reads more slowly.

        Raises:
            Broken: the connection is gone.
        """
        self.post(kind, number, data)
        try:
            await self._writer.drain()
        except OSError as error:
            raise Broken(_why(error)) from None

    def post(self, kind: int, number: int, data: bytes) -> None:
        """Send a frame without waiting: what was asked for is all that is ever posted."""
        self._writer.write(_HEAD.pack(kind, number, len(data)) + data)

    async def receive(self) -> Frame:
        """Return the next frame that is no sign of life.

        Raises:
            Broken: the connection is gone, the peer silent, or a frame malformed or too large.
        """
        while True:
            kind, number, length = _HEAD.unpack(await self._exactly(_HEAD.size))
            if kind not in (BEAT, REQUEST, ANSWER, FULL) or length > self._most_bytes:
                raise Broken(f"a frame of kind {kind} with {length} bytes, at most "
                             f"{self._most_bytes} are read")
            data = await self._exactly(length)
            if kind != BEAT:
                return Frame(kind, number, data)

    async def first_sign(self) -> int:
        """Wait for the peer's first frame, which it sends once it trusts this side.

        Returns:
            Its kind, ``BEAT`` or ``FULL``.

        Raises:
            Broken: the connection is gone before.
        """
        await self.send(BEAT, 0, b"")
        kind, _, length = _HEAD.unpack(await self._exactly(_HEAD.size))
        if kind not in (BEAT, FULL) or length:
            raise Broken("no sign of life at the beginning")
        return int(kind)

    async def _exactly(self, count: int) -> bytes:
        """Read in parts: each is a sign of life, and memory grows only with what has come."""
        parts, left = [], count
        while left:
            try:
                part = await self._reader.read(min(left, _PART))
            except OSError as error:
                raise Broken(_why(error)) from None
            if not part:
                raise Broken("it gives no sign of life" if self.silent
                             else "the connection was closed")
            self._heard += 1
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    async def _keep_watch(self) -> None:
        """Send signs of life, and cut the connection when none come."""
        heard, quiet = self._heard, 0
        while not self._writer.is_closing():
            await asyncio.sleep(self._beats.interval_s)
            transport = self._writer.transport
            if transport.get_write_buffer_size() == 0 and not transport.is_closing():
                self.post(BEAT, 0, b"")
            quiet = 0 if self._heard != heard else quiet + 1
            heard = self._heard
            if quiet >= self._beats.per_lease:
                self.silent = True
                transport.abort()

    async def close(self) -> None:
        """Cut the connection at once."""
        self._watch.cancel()
        self._writer.transport.abort()
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await self._watch


def _why(error: OSError) -> str:
    return refusal(error) if isinstance(error, ssl.SSLError) else (
        error.strerror or type(error).__name__)
