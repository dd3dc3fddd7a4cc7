"""Requests that end in every way, and what has to be seen of each from outside."""

from __future__ import annotations

import contextlib
import http.client
import re
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.outcomes.expect import CLOCK, Problem, table
from tests.integration.outcomes.seen import ERROR, SERVER, Seen, attributes, seconds, texts
from tests.integration.outcomes.stand import START, Host
from tests.support import answers, free_port, python, wait_for

WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@dataclass(frozen=True)
class Row:
    """A request and how it ends; `status` is what is told of it, 0 for none."""

    title: str
    path: str
    status: int
    outcome: str = "success"
    route: str = ""
    method: str = "GET"
    error: str = ""
    cause: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    least: float = 0.0
    # How many bytes of the answer the caller waits for before it goes away; None for all.
    reads: int | None = None


ROWS = (
    Row("success", "/ok/1", 200, route="/ok/<int:number>"),
    Row("4xx", "/refused", 422, "refused", "/refused"),
    Row("5xx", "/unavailable", 503, "failure", "/unavailable", error="503"),
    Row("exception, handled", "/broken", 500, "failure", "/broken", "GET", "ValueError", "broke"),
    Row(
        "exception, goes on", "/raw/broken", 500, "failure", "/broken", "GET", "ValueError", "broke"
    ),
    Row("streaming", "/stream", 200, route="/stream", least=0.6),
    Row(
        "stream that breaks",
        "/stream-breaks",
        200,
        "failure",
        "/stream-breaks",
        "GET",
        "ValueError",
        "broke",
    ),
    Row(
        "caller goes away",
        "/endless",
        200,
        "disconnected",
        "/endless",
        error="ClientDisconnected",
        reads=1000,
    ),
    Row("before_request aborts", "/ok/2?closed=1", 403, "refused", "/ok/<int:number>"),
    Row("404 without route", "/nowhere", 404, "refused"),
    Row("HEAD", "/ok/3", 200, route="/ok/<int:number>", method="HEAD"),
    Row("OPTIONS", "/ok/4", 200, route="/ok/<int:number>", method="OPTIONS"),
    Row("405", "/ok/5", 405, "refused", method="POST"),
    Row("websocket upgrade", "/socket", 404, "refused", headers=tuple(WEBSOCKET.items())),
    Row("nested app", "/raw/ok/6", 200, route="/ok/<int:number>"),
    Row("process killed", "/kill", 0, "lost", "/kill", "GET", "ProcessLost", "process"),
)
TITLES = {number: row.title for number, row in enumerate(ROWS, 1)}
SERVERS = {
    "gthread": ("-k", "gthread", "-w", "2", "--threads", "2"),
    "sync": ("-k", "sync", "-w", "2"),
    "gevent": ("-k", "gevent", "-w", "2"),
}
SHOW_UP = 30.0


@dataclass
class Asked:
    """A request that was made: who made it says so in its headers."""

    row: Row
    id: str
    trace: str
    parent: str


def run(folder: Path, server: str) -> dict[int, list[Problem]]:
    """Make all requests of one server; what is wrong of each."""
    port = free_port()
    with Host(folder) as host:
        argv = python("-m", "gunicorn", "tests.integration.outcomes.site:application")
        argv += ["-c", "/dev/null", "--bind", f"127.0.0.1:{port}", *SERVERS[server]]
        host.start(argv, server)
        wait_for(lambda: answers(port), f"{server} answers", START)
        asked = [_ask(port, row) for row in ROWS[:-1]]
        _wait(host, asked)
        # Last, and alone: what else ran in that process would be lost with it.
        asked.append(_ask(port, ROWS[-1]))
        _wait(host, asked)
        seen = host.finish()
    wrong = {number: list(_problems(each, seen)) for number, each in enumerate(asked, 1)}
    for number, problem in _counts(asked, seen):
        wrong[number].append(problem)
    return {number: found for number, found in wrong.items() if found}


def _wait(host: Host, asked: list[Asked]) -> None:
    with contextlib.suppress(AssertionError):
        wait_for(lambda: _all_told(host.look(), asked), "all are told", SHOW_UP)


def told(server: str, wrong: dict[int, list[Problem]]) -> str:
    lines = [server, table(TITLES, wrong), ""]
    for number, found in sorted(wrong.items()):
        lines += [f"{TITLES[number]}: {each.cell}: {each.text}" for each in found]
    return "\n".join(lines)


def _ask(port: int, row: Row) -> Asked:
    asked = Asked(row, secrets.token_hex(8), secrets.token_hex(16), secrets.token_hex(8))
    headers = {
        "X-Request-ID": asked.id,
        "traceparent": f"00-{asked.trace}-{asked.parent}-01",
        **dict(row.headers),
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    # A broken stream, a process that is gone.
    with contextlib.closing(connection), contextlib.suppress(http.client.HTTPException, OSError):
        connection.request(row.method, row.path, headers=headers)
        answer = connection.getresponse()
        answer.read(row.reads)
    return asked


def _spans(seen: Seen, asked: Asked) -> list[Any]:
    return [s for s in seen.spans if s.kind == SERVER and s.trace_id.hex() == asked.trace]


def _lines(seen: Seen, asked: Asked) -> list[dict[str, Any]]:
    return [x for x in seen.lines if x.get("request_id") == asked.id and "outcome" in x]


def _all_told(seen: Seen, asked: list[Asked]) -> bool:
    return all(_spans(seen, each) and _lines(seen, each) for each in asked)


def _problems(asked: Asked, seen: Seen) -> Iterator[Problem]:
    spans, lines = _spans(seen, asked), _lines(seen, asked)
    if len(spans) != 1:
        yield Problem("span", f"1 expected, {len(spans)} seen: {[s.name for s in spans]}")
    if len(lines) != 1:
        yield Problem("log", f"1 expected, {len(lines)} seen: {lines}")
    if not spans:
        yield from (Problem(cell, "there is no span to ask") for cell in ("parent", "cause"))
    for span in spans[:1]:
        yield from _span(asked, span)
        for line in lines[:1]:
            yield from _line(asked.row, span, line)
            yield from _cause(asked.row, span, line)


def _span(asked: Asked, span: Any) -> Iterator[Problem]:
    row, has = asked.row, attributes(span)
    wanted = {
        "name": (f"{row.method} {row.route}".strip(), span.name),
        "http.request.method": (row.method, has.get("http.request.method")),
        "http.route": (row.route or None, has.get("http.route")),
        "http.response.status_code": (row.status or None, has.get("http.response.status_code")),
        "error.type": (row.error or None, has.get("error.type")),
        "status": (row.outcome in ("failure", "lost"), span.status.code == ERROR),
    }
    wrong = {key: pair for key, pair in wanted.items() if pair[0] != pair[1]}
    if wrong:
        yield Problem("span", f"expected and seen differ in {wrong}")
    if not row.least - CLOCK <= seconds(span) <= row.least + 10:
        yield Problem("span", f"it took {seconds(span):.3f} s")
    if span.parent_span_id.hex() != asked.parent:
        yield Problem("parent", f"it is {span.parent_span_id.hex()}, not the caller's")


def _line(row: Row, span: Any, line: dict[str, Any]) -> Iterator[Problem]:
    wanted = {
        "event": ("request.finished", line["event"]),
        "method": (row.method, line.get("method")),
        "route": (row.route, line.get("route")),
        "status": (row.status or None, line.get("status")),
        "outcome": (row.outcome, line["outcome"]),
        "error_type": (row.error, line.get("error_type", "")),
        "trace_id": (span.trace_id.hex(), line.get("trace_id")),
        "span_id": (span.span_id.hex(), line.get("span_id")),
    }
    wrong = {key: pair for key, pair in wanted.items() if pair[0] != pair[1]}
    if wrong:
        yield Problem("log", f"expected and seen differ in {wrong}")
    duration = line.get("duration")
    if duration is not None and abs(duration - seconds(span)) > max(0.3, 0.2 * duration):
        yield Problem("log", f"{duration} s here, {seconds(span):.3f} in the span")


def _cause(row: Row, span: Any, line: dict[str, Any]) -> Iterator[Problem]:
    for who, text in (("the span", texts(span)), ("the line", str(line.get("error")))):
        if not re.search(row.cause, text):
            yield Problem("cause", f"{who} does not say {row.cause!r}: {text[:300]}")


def _counts(asked: list[Asked], seen: Seen) -> Iterator[tuple[int, Problem]]:
    wanted = Counter(_series(each.row) for each in asked)
    found: Counter[tuple[str, str, str]] = Counter()
    for sample in seen.samples:
        if sample.name == "http_server_request_duration_seconds_count":
            has = sample.labels
            key = (has["http_request_method"], has["http_route"], has["http_response_status_code"])
            found[key] += int(sample.value)
    for number, each in enumerate(asked, 1):
        key = _series(each.row)
        if wanted[key] != found[key]:
            yield number, Problem("count", f"{key}: {wanted[key]} expected, {found[key]} seen")


def _series(row: Row) -> tuple[str, str, str]:
    return row.method, row.route, str(row.status) if row.status else ""
