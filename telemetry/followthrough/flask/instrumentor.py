"""OpenTelemetry's instrumentor for Flask, with our adapter in it."""

from __future__ import annotations

import logging
from typing import Any

from flask.app import Flask
from opentelemetry.instrumentation import flask as stock

from .. import setup
from . import hook, place
from .options import options

MARK = "_is_instrumented_by_opentelemetry"

logger = logging.getLogger(__name__)


class FlaskInstrumentor(stock.FlaskInstrumentor):
    """Takes the stock instrumentor's options, and takes its place while it instruments.

    Beyond those it knows `trusts`, a predicate on the WSGI environ that says whose trace context
    is continued, and `http_capture_headers_server_request`, `..._server_response` and
    `..._sanitize_fields`, lists of patterns as in the environment variables of these names.
    """

    # A singleton's instance is inherited otherwise.
    _instance = None

    def _instrument(self, **kwargs: Any) -> None:
        chosen = options(setup.configure(None, None), **kwargs)
        place.take(self)
        hook.hook_all(chosen)

    def _uninstrument(self, **_: Any) -> None:
        hook.unhook_all()
        place.give_back(self)

    @staticmethod
    def instrument_app(app: Flask, *args: Any, **kwargs: Any) -> None:
        """Trace the requests of `app`, with the stock instrumentor's options and order of them."""
        if hook.is_hooked(app):
            logger.warning("Attempting to instrument Flask app while already instrumented")
        else:
            instrument(app, **dict(zip(_ORDER, args, strict=False)), **kwargs)

    @staticmethod
    def uninstrument_app(app: Flask) -> None:
        """Trace no more requests of `app`."""
        if hook.is_hooked(app):
            uninstrument(app)
        else:
            logger.warning("Attempting to uninstrument Flask app while already uninstrumented")


_ORDER = (
    "request_hook",
    "response_hook",
    "tracer_provider",
    "excluded_urls",
    "enable_commenter",
    "commenter_options",
    "meter_provider",
)


def instrument(app: Flask, **kwargs: Any) -> None:
    """Trace the requests of `app` with options of its own; a second call changes nothing."""
    if hook.has_own(app):
        return
    hook.hook(app, options(setup.configure(None, None), **kwargs))
    setattr(app, MARK, True)


def uninstrument(app: Flask) -> None:
    """Undo `instrument`; does nothing where it wasn't called."""
    hook.unhook(app)
    setattr(app, MARK, False)
