"""Connections to permitted addresses, all ended at one deadline."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterable
from typing import Any, Self

from app.services.addresses import may_call


class NotAllowedError(Exception):
    """The host is at none but private addresses, which the settings don't allow."""


class Line:
    """The connections of one call, made to the very addresses that were checked."""

    def __init__(self, timeout: float, allowed: Iterable[str]) -> None:
        self._deadline = time.monotonic() + timeout
        self._allowed = tuple(allowed)
        self._handles: list[socket.socket] = []
        # A socket's timeout bounds one read; a peer that drips bytes needs a bound on the whole.
        self._timer = threading.Timer(timeout, self._cut)
        self._timer.daemon = True
        self.peer = ""

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        for handle in self._handles:
            handle.close()

    def is_late(self) -> bool:
        return time.monotonic() >= self._deadline

    def left(self) -> float:
        """Seconds until the deadline; raises TimeoutError after it."""
        if (left := self._deadline - time.monotonic()) <= 0:
            raise TimeoutError
        return left

    def dial(self, host: str, port: int) -> socket.socket:
        """A connection to `host`; raises NotAllowedError or OSError."""
        name = host.strip("[]")
        found = look_up(name, port, self.left())
        permitted = [each for each in found if may_call(name, each[4][0], self._allowed)]
        if not permitted:
            raise NotAllowedError(f"{name} is at a private address; see OUTGOING_ALLOWED.")
        sock = self._first(permitted)
        # TLS takes the socket over, so a second handle ends it.
        self._handles.append(sock.dup())
        self.left()
        return sock

    def _first(self, permitted: list[Any]) -> socket.socket:
        refused: OSError = OSError()
        for tried, (family, kind, protocol, _, address) in enumerate(permitted):
            sock = socket.socket(family, kind, protocol)
            try:
                # One that doesn't answer leaves time for those after it.
                sock.settimeout(self.left() / (len(permitted) - tried))
                sock.connect(address)
                sock.settimeout(self.left())
            except OSError as error:
                sock.close()
                refused = error
            else:
                self.peer = address[0]
                return sock
        raise refused

    def _cut(self) -> None:
        for handle in self._handles:
            with contextlib.suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)


def look_up(host: str, port: int, timeout: float) -> list[Any]:
    """What getaddrinfo says, or TimeoutError after `timeout` seconds: it knows no time of its own.

    Raises OSError or UnicodeError for a name that isn't known.
    """
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    if not found:
        raise TimeoutError
    if isinstance(found[0], Exception):
        raise found[0]
    return list(found[0])
