"""Two Flask apps behind one server, whose requests end in all the ways that one can."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from flask import Flask, abort, request
from werkzeug.middleware.dispatcher import DispatcherMiddleware

import followthrough

followthrough.configure(os.environ["KIT_NAME"])
gates = Path(os.environ["KIT_GATES"])
site = Flask("site")
raw = Flask("raw")
# What a view raises goes on to the server.
raw.config["PROPAGATE_EXCEPTIONS"] = True
for each in (site, raw):
    followthrough.instrument_flask(each)
application = DispatcherMiddleware(site, {"/raw": raw})


@site.before_request
def close_the_door() -> None:
    if "closed" in request.args:
        abort(403)


@site.get("/ok/<int:number>")
def ok(number: int) -> dict[str, int]:
    return {"number": number}


@site.get("/refused")
def refused() -> tuple[str, int]:
    return "no", 422


@site.get("/unavailable")
def unavailable() -> tuple[str, int]:
    return "later", 503


@site.get("/broken")
def broken() -> str:
    raise ValueError("the page broke")


@raw.get("/broken")
def broken_raw() -> str:
    raise ValueError("the page broke")


@raw.get("/ok/<int:number>")
def ok_raw(number: int) -> dict[str, int]:
    return {"number": number}


@site.get("/stream")
def stream() -> Iterator[str]:
    for number in range(3):
        time.sleep(0.2)
        yield f"{number}\n"


@site.get("/stream-breaks")
def stream_breaks() -> Iterator[str]:
    yield "0\n"
    raise ValueError("the stream broke")


@site.get("/endless")
def endless() -> Iterator[str]:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        time.sleep(0.05)
        yield "x" * 10_000


@site.get("/kill")
def kill() -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"
