"""A body that is whole in memory is not followed, and is told as if it were."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from flask import Flask, Response
from werkzeug.test import EnvironBuilder
from werkzeug.wsgi import ClosingIterator

import followthrough
from followthrough.flask import hook
from followthrough.testing import Captured


def say(text: str) -> None:
    logging.getLogger("shop").warning(text)


def speaking() -> Iterator[bytes]:
    say("within")
    yield b"ab"


class OwnChunks(Response):
    def iter_encoded(self) -> Iterator[bytes]:
        return speaking()


class OwnIterator(Response):
    def get_app_iter(self, _environ: Any) -> Iterable[bytes]:
        return ClosingIterator(speaking(), self.close)


class OwnClose(Response):
    def close(self) -> None:
        say("within")
        super().close()


def with_callback() -> Response:
    answer = Response("ab")
    answer.call_on_close(lambda: say("within"))
    return answer


WHOLE: dict[str, Callable[[], Any]] = {
    "text": lambda: "ab",
    "json": lambda: {"a": 1},
    "nothing": lambda: "",
    "no chunk": lambda: Response([]),
    "refused": lambda: ("no", 409),
    "failed": lambda: ("no", 503),
    "unmodified": lambda: ("", 304),
}
FOLLOWED: dict[str, Callable[[], Any]] = {
    "chunks": lambda: Response(speaking()),
    "a callback": with_callback,
    "own chunks": lambda: OwnChunks("ab"),
    "own iterator": lambda: OwnIterator("ab"),
    "own close": lambda: OwnClose("ab"),
}


def asked(told: Captured, view: Callable[[], Any], method: str = "GET") -> list[Any]:
    """All that was answered and told, but for what differs each time; first, if it was at once."""
    app = Flask("unit")
    followthrough.instrument_flask(app)
    app.add_url_rule("/", "view", view)
    started: list[Any] = []
    environ = EnvironBuilder("/", method=method).get_environ()
    body: Any = app(environ, lambda *given: started.append(given))
    told_at_once = len(told.events("request.finished")) == 1
    content = b"".join(body)
    body.close()
    followthrough.uninstrument_flask(app)
    span, (line,) = told.spans[-1], told.events("request.finished")
    ids = [each["request_id"] for each in told.events("within")]
    assert set(ids) <= {line["request_id"]}
    apart = ("timestamp", "duration", "request_id", "trace_id", "span_id")
    line = {key: value for key, value in line.items() if key not in apart}
    attributes = {key: span.attributes[key] for key in span.attributes if key != "http.request.id"}
    about_span = attributes, span.name, span.status.status_code, span.status.description
    found = [told_at_once, started, content, len(ids), line, *about_span]
    told.lines.clear()
    return found


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("which", WHOLE)
def test_a_whole_body_is_told_the_same_as_if_it_were_followed(
    told: Captured, monkeypatch: pytest.MonkeyPatch, which: str, method: str
):
    at_once, *quick = asked(told, WHOLE[which], method)
    monkeypatch.setattr(hook, "is_whole", lambda _body: False)
    _, *general = asked(told, WHOLE[which], method)
    assert at_once
    assert str(quick) == str(general)


@pytest.mark.parametrize("which", FOLLOWED)
def test_a_body_that_runs_the_host_s_code_is_followed(told: Captured, which: str):
    at_once, _, content, said, *_ = asked(told, FOLLOWED[which])
    assert (at_once, content, said) == (False, b"ab", 1)


def test_a_body_in_several_pieces_may_be_cut_off(told: Captured):
    app = Flask("unit")
    followthrough.instrument_flask(app)
    app.add_url_rule("/", "view", lambda: Response([b"a", b"b"]))
    app.test_client().get("/", buffered=False).close()
    assert told.events("request.finished")[0]["outcome"] == "disconnected"
    followthrough.uninstrument_flask(app)
