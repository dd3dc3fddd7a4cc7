"""One request while it runs: its span, and at its end the line and the count, from one outcome."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flask import has_request_context
from flask import request as flask_request
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.propagators import (
    TraceResponsePropagator,
    get_global_response_propagator,
)
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.instrumentation.wsgi import default_response_propagation_setter
from opentelemetry.trace import SpanKind, StatusCode

from .. import guard, logs, names, redact, tell, tracing
from ..outcome import RequestOutcome, decide_request
from ..tracing import exceptions, ids, propagation
from ..tracing.current import get_current
from . import attributes
from .body import Body, is_file
from .options import Options

if TYPE_CHECKING:
    from flask import Request as FlaskRequest


KEY = "followthrough.request"
BODILESS = frozenset({204, 304})
FIRST_FINAL = 200
_NOTHING: dict[str, Any] = {}
_COMMENTS = "SQLCOMMENTER_ORM_TAGS_AND_VALUES"
_RESPONSE, _EXPOSED = "traceresponse", "Access-Control-Expose-Headers"
_REQUEST_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)


class Request:
    """A request of one of our apps; ends once, whoever says so first."""

    # What it begins with is the class's.
    route, status = "", 0
    ended = is_matched = False
    length: int | None = None
    exception: BaseException | None = None
    # What the host's own meters are told.
    _measured: dict[str, Any] | None = None

    def __init__(
        self, options: Options, environ: dict[str, Any], respond: Callable[..., Any]
    ) -> None:
        self._started = time.perf_counter()
        self.options = options
        self.environ = environ
        self.respond = respond
        found, kept = attributes.of_request(environ)
        self.method: str = found[names.HTTP_METHOD]
        self.request_id = _request_id(environ.get("HTTP_X_REQUEST_ID"))
        found[names.HTTP_REQUEST_ID] = self.request_id
        if options.meters:
            self._measured = found.copy()
            options.meters.begun(found, 1)
        base, kind = get_current(), SpanKind.SERVER
        links: tuple[trace.Link, ...] = ()
        if base and trace.get_current_span(base).get_span_context().is_valid:
            # A framework around this one has a span for the request already.
            kind = SpanKind.INTERNAL
        elif headers := propagation.from_environ(environ):
            base, links = self._received(headers, base)
        # It is described as soon as its route is known, before anything of the host runs.
        name = attributes.span_name(self.method, "")
        self.span = span = tracing.start_undescribed(
            options.tracer, name, base, kind, found, links, kept
        )
        # Filled as soon as the route is known, wherever its context has gone by then.
        self._comments: dict[str, str] = {}
        values = _NOTHING if options.comments is None else {_COMMENTS: self._comments}
        self.context = logs.around(base, span, {"request_id": self.request_id}, values)

    def _received(self, headers: dict[str, str], base: Context) -> propagation.Received:
        return propagation.received(
            headers,
            base,
            trusted=bool(_trusts(self.options, self.environ)),
            kept_baggage=self.options.kept_baggage,
        )

    def matched(self, request: FlaskRequest) -> None:
        """Note the route that an app has found, and do what the stock instrumentor does then."""
        self.is_matched = True
        environ, options, span, rule = self.environ, self.options, self.span, request.url_rule
        found = attributes.behind_proxies(environ) if attributes.PROXY_FIX in environ else {}
        if rule is not None:
            self.route = found[names.HTTP_ROUTE] = rule.rule
        if self._measured is not None:
            self._measured |= found
        tracing.describe(span, attributes.span_name(self.method, self.route), found)
        if options.comments is not None:
            self._comments.update(options.comment(request))
        if options.headers.request and _is_server(span):
            span.set_attributes(options.headers.of_request(environ))
        if options.request_hook is not None:
            options.request_hook(span, environ)

    def start_response(self, status: str, headers: list[tuple[str, str]], *args: Any) -> Any:
        """Stand in for the server's own: note the answer, and pass it on."""
        try:
            code, options = status[:3], self.options
            self.status = int(code) if code.isdecimal() else 0
            self.length = _length(self.method, self.status, headers)
            if not self.is_matched and has_request_context():
                # A subclass of Flask that does without what hears of it, or a broken session.
                self.matched(flask_request)
            if (propagator := get_global_response_propagator()) is not None:
                self._lead_back(propagator, headers)
            if options.headers.response and _is_server(self.span):
                self.span.set_attributes(options.headers.of_response(headers))
            if options.response_hook is not None:
                options.response_hook(self.span, status, headers)
        except Exception as error:  # noqa: BLE001  raised on where it is to be
            guard.caught("flask.start_response", error)
        return self.respond(status, headers, *args)

    def _lead_back(self, propagator: Any, headers: list[tuple[str, str]]) -> None:
        """Name the trace in the answer's headers, as the host's propagator does it."""
        trace_id, span_id = ids.in_hex(self.span)
        if type(propagator) is TraceResponsePropagator and trace_id:
            flags = self.span.get_span_context()[3]
            value = f"00-{trace_id}-{span_id}-{flags:02x}"
            headers += [(_RESPONSE, value), (_EXPOSED, _RESPONSE)]
        else:
            propagator.inject(headers, self.context, default_response_propagation_setter)

    def sent(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """The body as the server is to have it; the request ends with it."""
        try:
            if self.length == 0:
                self.end()
                return body
            if is_file(body, self.environ) and self._ends_at_close(body):
                return body
            return Body(self, body, self.length)
        except Exception as error:  # noqa: BLE001  raised on where it is to be
            guard.caught("flask.sent", error)
            return body

    def _ends_at_close(self, body: Any) -> bool:
        """A file is the server's to send, in ways of its own, if it is not wrapped."""
        close = getattr(body, "close", None)

        def closed() -> None:
            try:
                if close is not None:
                    close()
            finally:
                self.end()

        try:
            body.close = closed
        except AttributeError:
            return False
        return True

    def end(
        self,
        exception: BaseException | None = None,
        *,
        raised: bool = False,
        disconnected: bool = False,
    ) -> None:
        """Tell how it ended, unless that was told."""
        if self.ended:
            return
        self.ended = True
        try:
            seconds = time.perf_counter() - self._started
            cause = exception or self.exception
            decided = decide_request(self.status, cause, raised=raised, disconnected=disconnected)
            try:
                if self.span.is_recording():
                    if decided.status:
                        self.span.set_attribute(names.HTTP_STATUS, decided.status)
                    if decided.is_error or decided.error_type:
                        _explain(self.span, decided, cause)
                trace_id, span_id = ids.in_hex(self.span)
                tell.request(
                    decided, self.method, self.route, self.request_id, seconds, trace_id, span_id
                )
                if self._measured is not None:
                    self._measure(decided, self._measured, seconds)
            finally:
                self.span.end()
                # Each holds the other; without the garbage collector both would stay.
                self.environ = {}
        except Exception as error:  # noqa: BLE001  raised on where it is to be
            guard.caught("flask.end", error)

    def _measure(self, decided: RequestOutcome, measured: dict[str, Any], seconds: float) -> None:
        """Tell the host's own meters."""
        meters = self.options.meters
        if meters is not None:
            told = {names.HTTP_STATUS: decided.status, names.ERROR_TYPE: decided.error_type}
            measured |= {name: value for name, value in told.items() if value}
            meters.begun(measured, -1)
            meters.ended(seconds, measured, self.span)


def begin(options: Options, environ: dict[str, Any], respond: Callable[..., Any]) -> Request | None:
    """The request, with its span begun; None if it is not to be told."""
    try:
        if get_current() and not is_instrumentation_enabled():
            return None
        if options.excluded is not None and options.is_excluded(environ):
            return None
        request = environ[KEY] = Request(options, environ, respond)
    except Exception as error:  # noqa: BLE001  raised on where it is to be
        guard.caught("flask.begin", error)
        return None
    return request


@guard.guarded("flask.trust")
def _trusts(options: Options, environ: Mapping[str, Any]) -> bool:
    return options.trusts(environ)


def _request_id(given: str | None) -> str:
    if given and _REQUEST_ID.fullmatch(given):
        return given
    # No secret: like the ids of spans, and without a system call.
    return f"{random.getrandbits(64):016x}"


def _length(method: str, status: int, headers: Iterable[tuple[str, str]]) -> int | None:
    """How long the body will be, None where that isn't known."""
    if method == "HEAD" or status in BODILESS or 0 < status < FIRST_FINAL:
        return 0
    value = dict(headers).get("Content-Length")
    if value is None:
        # Names may be in any case.
        value = {name.lower(): value for name, value in headers}.get("content-length", "")
    return int(value) if value.isdecimal() else None


def _explain(span: trace.Span, decided: RequestOutcome, cause: BaseException | None) -> None:
    """Say on its span why a request has failed."""
    if decided.error_type:
        span.set_attribute(names.ERROR_TYPE, decided.error_type)
    if decided.is_error:
        if cause is not None:
            exceptions.record(span, cause)
        text = redact.text(decided.message)
        span.set_status(StatusCode.ERROR, f"{decided.error_type}: {text}" if text else None)


def _is_server(span: trace.Span) -> bool:
    return span.is_recording() and getattr(span, "kind", None) is SpanKind.SERVER
