"""Where requests are seen: `flask.Flask.__call__`, for all apps or for some.

It is replaced on the class itself, so that subclasses, apps made before, and apps within other
WSGI middleware are seen; a request that goes through several apps is one. The class is taken from
`flask.app`: `flask.Flask` may be the stock instrumentor's at this time.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import flask
from flask import globals as globals_
from flask.app import Flask
from flask.signals import got_request_exception

from .. import guard
from ..tracing.current import attach, reset
from . import place
from .body import is_whole
from .options import Options
from .place import WRAPPED
from .request import KEY, begin

# Where an app has options of its own, and the class those of all others.
_OPTIONS = "_followthrough_options"
_flask_call: Callable[..., Iterable[bytes]] = Flask.__call__
# Whether it does no more than call the app, and nobody had replaced it: one call less.
_is_bare = getattr(getattr(_flask_call, "__code__", None), "co_names", None) == ("wsgi_app",)
_flask_preprocess: Callable[..., Any] = Flask.preprocess_request
# What `flask.request` stands for; of its own name before Flask 3.2.
_context: Any = getattr(globals_, "_cv_request", None) or globals_._cv_app  # noqa: SLF001


class _Hooked:
    lock = threading.Lock()
    # Apps with options of their own; the options are in the app.
    apps: ClassVar[weakref.WeakSet[Flask]] = weakref.WeakSet()


def hook_all(options: Options) -> None:
    """Trace the requests of every app that has no options of its own."""
    setattr(Flask, _OPTIONS, options)
    _install()


def unhook_all() -> None:
    """Undo `hook_all`."""
    setattr(Flask, _OPTIONS, None)
    _remove_unused()


def hook(app: Flask, options: Options) -> None:
    """Trace the requests of one app."""
    vars(app)[_OPTIONS] = options
    _Hooked.apps.add(app)
    _install()


def unhook(app: Flask) -> None:
    """Trace no requests of this app, even if all are."""
    _Hooked.apps.discard(app)
    if _of_all() is None:
        vars(app).pop(_OPTIONS, None)
    else:
        vars(app)[_OPTIONS] = None
    _remove_unused()


def has_own(app: Flask) -> bool:
    """Whether this app was hooked by itself."""
    return vars(app).get(_OPTIONS) is not None


def is_hooked(app: Flask) -> bool:
    """Whether this app's requests are traced."""
    return getattr(app, _OPTIONS, None) is not None


def _of_all() -> Options | None:
    return vars(Flask).get(_OPTIONS)


def _install() -> None:
    setattr(Flask, _OPTIONS, _of_all())
    if Flask.__call__ is not _call:
        Flask.__call__ = _call  # type: ignore[assignment, method-assign]
    if Flask.preprocess_request is not _preprocess:
        # In place of the signal `request_started`, whose sending costs as much as a span.
        Flask.preprocess_request = _preprocess  # type: ignore[assignment, method-assign]
    got_request_exception.connect(_on_exception, weak=False)


def _remove_unused() -> None:
    if _of_all() is not None or len(_Hooked.apps):
        return
    # Whoever has replaced it since then goes on; ours lets requests through.
    if Flask.__call__ is _call:
        Flask.__call__ = _flask_call  # type: ignore[method-assign]
    if Flask.preprocess_request is _preprocess:
        Flask.preprocess_request = _flask_preprocess  # type: ignore[method-assign]
    got_request_exception.disconnect(_on_exception)


def _call(app: Flask, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    options: Options | None = app._followthrough_options  # type: ignore[attr-defined]  # noqa: SLF001
    if options is None or (KEY in environ and not environ[KEY].ended):
        return _flask_call(app, environ, start_response)
    if WRAPPED in app.__dict__:
        _unwrap(app)
    request = begin(options, environ, start_response)
    if request is None:
        return _flask_call(app, environ, start_response)
    token = attach(request.context)
    try:
        if _is_bare:
            body = app.wsgi_app(environ, request.start_response)
        else:
            body = _flask_call(app, environ, request.start_response)
    except BaseException as error:
        request.break_off(error)
        raise
    finally:
        reset(token)
    if is_whole(body):
        request.end()
        return body
    return request.sent(body, environ)


@guard.guarded("flask.unwrap")
def _unwrap(app: Flask) -> None:
    with _Hooked.lock:
        if WRAPPED in vars(app):
            place.unwrap(app)


def _preprocess(app: Flask, *context: Any) -> Any:
    try:
        request = _context.get().request
        environ = request.environ
        if KEY in environ:
            environ[KEY].matched(request, environ)
    except Exception as error:  # noqa: BLE001  raised on where it is to be
        guard.caught("flask.preprocess_request", error)
    # Flask 3.2 hands its context over.
    return _flask_preprocess(app, *context) if context else _flask_preprocess(app)


@guard.guarded("flask.got_request_exception")
def _on_exception(_app: Flask, exception: BaseException, **_: Any) -> None:
    if (current := flask.request.environ.get(KEY)) is not None:
        current.exception = exception
