"""The stock instrumentor's place, which ours takes: whoever asks for the one gets the other."""

from __future__ import annotations

import logging

from flask.app import Flask
from opentelemetry.instrumentation import flask as stock

_STATIC = ("instrument_app", "uninstrument_app")
# An app has this once the stock instrumentor was put on it.
WRAPPED = "_original_wsgi_app"
_methods = {name: vars(stock.FlaskInstrumentor)[name] for name in _STATIC}

logger = logging.getLogger(__name__)


def take(ours: stock.FlaskInstrumentor) -> None:
    """Let who asks for the stock instrumentor, by whatever reference, get ours."""
    theirs = vars(stock.FlaskInstrumentor).get("_instance")
    if theirs is not None and theirs is not ours and theirs.is_instrumented_by_opentelemetry:
        theirs.uninstrument()
    stock.FlaskInstrumentor._instance = ours  # noqa: SLF001
    for name in _STATIC:
        setattr(stock.FlaskInstrumentor, name, vars(type(ours))[name])


def give_back(ours: stock.FlaskInstrumentor) -> None:
    """Undo `take`."""
    if vars(stock.FlaskInstrumentor).get("_instance") is ours:
        stock.FlaskInstrumentor._instance = None  # noqa: SLF001
    for name, method in _methods.items():
        setattr(stock.FlaskInstrumentor, name, method)


def unwrap(app: Flask) -> None:
    """Take the stock instrumentor off an app that it was put on before ours was."""
    original = vars(app).pop(WRAPPED)
    if getattr(app.wsgi_app, "__module__", "") != stock.__name__:
        logger.warning("An app is traced twice: take the stock instrumentor off it first")
        return
    app.wsgi_app = original  # type: ignore[method-assign]
    for functions in (app.before_request_funcs, app.teardown_request_funcs):
        kept = [each for each in functions.get(None, []) if each.__module__ != stock.__name__]
        functions[None] = kept  # type: ignore[assignment]
