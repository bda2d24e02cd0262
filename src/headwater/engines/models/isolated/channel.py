"""The service's end of a worker's socket on an event loop: writes never block, reads come as frames."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable

from headwater.engines.models.isolated.frames import READ_BYTES, BrokenFrames, Frame, FrameReader


class Channel:
    """Frames to and from one worker. ``on_end`` is called once, when the socket closed or what came is no frame."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: socket.socket,
        on_frame: Callable[[Frame], None],
        on_end: Callable[[], None],
    ) -> None:
        """Begin to read."""
        self._loop = loop
        self._socket = connection
        self._on_frame = on_frame
        self._on_end = on_end
        self._reader = FrameReader()
        self._unsent: deque[memoryview] = deque()
        self._is_open = True
        connection.setblocking(False)
        loop.add_reader(connection.fileno(), self._read)

    def send(self, frame: bytes) -> None:
        """Send a frame now, or as soon as the worker reads again."""
        if not self._is_open:
            return
        if self._unsent:
            self._unsent.append(memoryview(frame))
            return
        try:
            sent = self._socket.send(frame)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._end()
            return
        if sent < len(frame):
            self._unsent.append(memoryview(frame)[sent:])
            self._loop.add_writer(self._socket.fileno(), self._write)

    def close(self) -> None:
        """Close the socket; ``on_end`` is not called any more."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
            self._unsent.clear()

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        try:
            for frame in self._reader.feed(data):
                self._on_frame(frame)
                if not self._is_open:
                    return
        except BrokenFrames:
            data = b""
        if not data:
            self._end()

    def _write(self) -> None:
        while self._unsent:
            piece = self._unsent[0]
            try:
                sent = self._socket.send(piece)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._end()
                return
            if sent < len(piece):
                self._unsent[0] = piece[sent:]
                return
            self._unsent.popleft()
        self._loop.remove_writer(self._socket.fileno())

    def _end(self) -> None:
        if self._is_open:
            self.close()
            self._on_end()
