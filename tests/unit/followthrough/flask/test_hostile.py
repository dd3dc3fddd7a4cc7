"""Whatever a caller or a server puts into the environ: the answer is the bare app's."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from hypothesis import example, given, settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder

import followthrough
from followthrough.testing import Captured

HEADERS = ("TRACEPARENT", "TRACESTATE", "BAGGAGE", "HOST", "USER_AGENT", "X_REQUEST_ID")
HOSTILE = [f"HTTP_{name}" for name in (*HEADERS, "X_FORWARDED_FOR")]
HOSTILE += ["QUERY_STRING", "PATH_INFO", "SCRIPT_NAME", "REMOTE_ADDR", "REMOTE_PORT"]
HOSTILE += ["SERVER_PORT", "SERVER_PROTOCOL", "REQUEST_METHOD"]

# Servers hand bytes over as Latin-1.
raw = st.binary(max_size=300).map(lambda value: value.decode("latin-1"))
like = st.text(st.sampled_from("0123456789abcdef-=,;:[]%/. \t\x00é²"), max_size=80)


def made() -> Flask:
    app = Flask("hostile")
    app.add_url_rule("/", view_func=lambda: {"path": request.path})
    app.config["PROPAGATE_EXCEPTIONS"] = True
    return app


def answered(app: Flask, environ: dict[str, Any]) -> Any:
    """The status and the body, or what was raised."""
    given: list[Any] = []
    try:
        body = b"".join(app(environ, lambda status, *_: given.append(status)))
    except Exception as error:  # noqa: BLE001  compared, whatever it is
        return type(error)
    return given, body


def test_no_environ_changes_the_answer(told: Captured):
    bare, ours, plain = made(), made(), EnvironBuilder("/").get_environ()
    followthrough.instrument_flask(ours)

    @settings(max_examples=150, deadline=None)
    @given(changes=st.dictionaries(st.sampled_from(HOSTILE), raw | like, max_size=6))
    @example(changes={"SERVER_PORT": "²", "REMOTE_PORT": "-1"})
    @example(changes={"HTTP_HOST": "[::1]:²", "PATH_INFO": "/\xff\xe9"})
    def ask(changes: dict[str, str]) -> None:
        told.lines.clear()
        expected = answered(bare, {**plain, **changes})
        assert answered(ours, {**plain, **changes}) == expected
        assert len(told.events("request.finished")) == 1

    ask()
    followthrough.uninstrument_flask(ours)
