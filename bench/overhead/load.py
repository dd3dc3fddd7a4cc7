"""Load on a program from outside: requests over some connections, or tasks."""

from __future__ import annotations

import secrets
import selectors
import socket
import time
from dataclasses import dataclass

import redis
from celery import Celery

CONNECTIONS = 4
PATIENCE = 60.0
TASK = "bench.noop"


class LoadError(Exception):
    """The program did not do what it was given."""


def request(path: str, body: bytes = b'{"a": 1}') -> bytes:
    """An HTTP request that keeps its connection."""
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Requests:
    """Posts to a path of a server, each connection its next request when the last is answered."""

    port: int
    path: str

    def run(self, count: int, connections: int = CONNECTIONS) -> list[float]:
        """Send so many; the seconds that each took. Raises LoadError at any answer but 200."""
        wire, times = request(self.path), []
        with selectors.DefaultSelector() as selector:
            for _ in range(min(connections, count)):
                selector.register(self._connected(), selectors.EVENT_READ, time.perf_counter())
            sent = len(selector.get_map())
            for key in list(selector.get_map().values()):
                key.fileobj.sendall(wire)  # type: ignore[union-attr]
            while len(times) < count:
                for key, _ in selector.select(PATIENCE):
                    _read_answer(key.fileobj)
                    times.append(time.perf_counter() - key.data)
                    if sent < count:
                        sent += 1
                        selector.modify(key.fileobj, selectors.EVENT_READ, time.perf_counter())
                        key.fileobj.sendall(wire)  # type: ignore[union-attr]
            for key in list(selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]
        return times

    def _connected(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def _read_answer(connection: socket.socket) -> None:
    answer = connection.recv(65536)
    while not _is_whole(answer):
        more = connection.recv(65536)
        if not more:
            raise LoadError(f"cut off after {answer[:200]!r}")
        answer += more
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise LoadError(f"answered {answer[:200]!r}")


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    lines = head.lower().split(b"\r\n")
    size = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
    return len(body) >= size


class Tasks:
    """Publishes tasks that belong to a trace, as most do, and waits for their results."""

    def __init__(self, broker: str, backend: str) -> None:
        self._celery = Celery(broker=broker, backend="disabled")
        self._results = redis.Redis.from_url(backend)

    def run(self, count: int) -> list[float]:
        """Have so many run; the seconds from publishing each to its result, where it waited."""
        self._results.flushdb()
        for _ in range(count):
            self._publish()
        self._wait(count)
        return []

    def one_by_one(self, count: int) -> list[float]:
        """Have so many run, each when the last is done; the seconds that each took."""
        self._results.flushdb()
        times = []
        for number in range(count):
            begin = time.perf_counter()
            self._publish()
            self._wait(number + 1, pause=0.0002)
            times.append(time.perf_counter() - begin)
        return times

    def close(self) -> None:
        self._results.close()
        self._celery.close()

    def _publish(self) -> None:
        trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
        self._celery.send_task(TASK, headers={"traceparent": trace})

    def _wait(self, count: int, pause: float = 0.005) -> None:
        end = time.monotonic() + PATIENCE
        while self._results.dbsize() < count:
            if time.monotonic() > end:
                raise LoadError(f"{self._results.dbsize()} of {count} tasks are done")
            time.sleep(pause)
