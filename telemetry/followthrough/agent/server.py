"""One waitress server for all of the agent's ports; each port has its own WSGI application."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import structlog
import waitress.server
from waitress import wasyncore

log = structlog.get_logger("followthrough.agent")

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

THREADS = 4
# Above the receiver's own limit, which answers as the protocol asks.
BODY_LIMIT = 64 * 1024**2
# Each process of the host keeps a connection open to send its spans.
CONNECTIONS = 500
STOP_SECONDS = 1.0
LOOK_SECONDS = 0.1


class PortError(Exception):
    """A port that can't be listened on; the text says which setting moves it."""


@dataclass(frozen=True)
class Port:
    """Where to listen, for what, and the setting that moves it."""

    host: str
    number: int
    purpose: str
    setting: str
    application: Application

    @property
    def url(self) -> str:
        """The address as a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.number}"

    def bind(self) -> socket.socket:
        """A socket bound to this address; raises PortError."""
        try:
            family, *_, address = socket.getaddrinfo(
                self.host, self.number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            with contextlib.ExitStack() as stack:
                sock = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(address)
                # Binding succeeds beside a listener that also set SO_REUSEADDR; listening doesn't.
                sock.listen()
                stack.pop_all()
        except OSError as error:
            reason = error.strerror or str(error)
            raise PortError(
                f"{self.purpose}: port {self.number} on {self.host}: {reason}; "
                f"{self.setting} moves it"
            ) from error
        return sock


class Server:
    """Listens on `ports` from construction on; `run` serves until `stop`.

    Raises PortError for a port that is taken, or, if `tolerant`, goes on without it.
    """

    def __init__(self, ports: list[Port], *, tolerant: bool = False) -> None:
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        bound = _bound(ports, tolerant=tolerant)
        self.ports, sockets = list(bound), list(bound.values())
        self._map: dict[int, Any] = {}
        self._stopping = False
        # Given no socket, waitress listens on a port of its own choice.
        self._server = self._created(ports, sockets) if sockets else None

    def _created(self, ports: list[Port], sockets: list[socket.socket]) -> Any:
        return waitress.server.create_server(
            _by_port({str(port.number): port.application for port in ports}),
            map=self._map,
            sockets=sockets,
            threads=THREADS,
            connection_limit=CONNECTIONS,
            max_request_body_size=BODY_LIMIT,
            ident=None,
        )

    def run(self) -> None:
        """Serve until `stop` is called, then give requests under way a moment."""
        if self._server is None:
            self._idle()
            return
        while not self._stopping:
            wasyncore.loop(timeout=60.0, use_poll=True, map=self._map, count=1)
        self._server.task_dispatcher.shutdown(timeout=STOP_SECONDS)
        wasyncore.close_all(self._map)

    def _idle(self) -> None:
        while not self._stopping:
            time.sleep(LOOK_SECONDS)

    def stop(self) -> None:
        """Make `run` return soon; callable from a signal handler and from other threads."""
        self._stopping = True
        # Only a byte in a pipe: wakes the poll.
        for channel in list(self._map.values()):
            if isinstance(channel, waitress.server.BaseWSGIServer):
                channel.pull_trigger()
                return


def _bound(ports: list[Port], *, tolerant: bool) -> dict[Port, socket.socket]:
    bound = {}
    with contextlib.ExitStack() as stack:
        for port in ports:
            try:
                bound[port] = stack.enter_context(port.bind())
            except PortError as error:
                if not tolerant:
                    raise
                log.warning("agent.port_taken", reason=str(error))
        stack.pop_all()
    return bound


def _by_port(applications: dict[str, Application]) -> Application:
    def dispatch(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        return applications[environ["SERVER_PORT"]](environ, start)

    return dispatch
