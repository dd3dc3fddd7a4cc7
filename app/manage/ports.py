"""Whether the ports are free, and what to do about those that aren't; and who answers on one."""

from __future__ import annotations

import contextlib
import errno
import socket

from app.manage.services import Port, Question, Service, reachable


def problems(services: list[Service]) -> list[str]:
    """One sentence for each port that a service needs and can't have."""
    wanted = [(service.name, port) for service in services for port in service.ports]
    return [text for name, port in wanted if (text := _problem(name, port))]


def _problem(name: str, port: Port) -> str | None:
    cause = _cause(port)
    if cause is None:
        return None
    where = f"port {port.number} on {port.host or 'all addresses'}"
    what = f"{where} {cause}: {name} needs it for {port.purpose}"
    return f"{what}; set {port.env} to move it{port.advice}"


def _cause(port: Port) -> str | None:
    try:
        _bind(port)
    except OSError as error:
        return "is taken" if error.errno == errno.EADDRINUSE else f"can't be had ({error.strerror})"
    # macOS lets one bind an address beside a listener on all addresses, such as AirPlay's on 5000.
    return "is taken" if _listened(port) else None


def _bind(port: Port) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(
        port.host or None, port.number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as sock:
        # As servers do: connections that just ended don't occupy the port.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)


def _listened(port: Port) -> bool:
    with (
        contextlib.suppress(OSError),
        socket.create_connection((reachable(port.host), port.number), 0.5),
    ):
        return True
    return False


class Probe:
    """Asks a server one question without blocking, and again when the connection fails."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self._sock: socket.socket | None = None

    def answered(self) -> bool:
        """Whether the expected answer has arrived."""
        try:
            data = self._connection().recv(512)
        except BlockingIOError:
            return False
        except OSError:
            self.close()
            return False
        self.close()
        return self.question.expect in data

    def _connection(self) -> socket.socket:
        if self._sock is None:
            address = (reachable(self.question.host), self.question.port)
            self._sock = socket.create_connection(address, 0.2)
            self._sock.sendall(self.question.send)
            self._sock.setblocking(False)
        return self._sock

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
        self._sock = None
