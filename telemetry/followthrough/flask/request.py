"""One request while it runs: its span, and at its end the line and the count, from one outcome."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context, set_value
from opentelemetry.instrumentation.propagators import (
    TraceResponsePropagator,
    get_global_response_propagator,
)
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.instrumentation.wsgi import default_response_propagation_setter
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

from .. import guard, logs, names, redact, tell, tracing
from ..outcome import RequestOutcome, decide_request
from ..tracing import exceptions, ids, propagation
from ..tracing.current import attach, detach, get_current
from . import attributes
from .body import Body, is_file
from .options import Options

if TYPE_CHECKING:
    from flask import Request as FlaskRequest

KEY = "followthrough.request"
BODILESS = frozenset({204, 304})
FIRST_FINAL = 200
_COMMENTS = "SQLCOMMENTER_ORM_TAGS_AND_VALUES"
_RESPONSE, _EXPOSED = "traceresponse", "Access-Control-Expose-Headers"
_REQUEST_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)


class Request:
    """A request of one of our apps; ends once, whoever says so first."""

    __slots__ = (
        "_attributes",
        "_ids",
        "_started",
        "_token",
        "context",
        "ended",
        "environ",
        "exception",
        "length",
        "method",
        "options",
        "request_id",
        "respond",
        "route",
        "span",
        "status",
    )

    def __init__(
        self, options: Options, environ: dict[str, Any], respond: Callable[..., Any]
    ) -> None:
        self._started = time.perf_counter()
        self.options, self.environ, self.respond = options, environ, respond
        self.method = attributes.method(environ)
        self.request_id = _request_id(environ.get("HTTP_X_REQUEST_ID", ""))
        self.route, self.status, self.ended = "", 0, False
        self.length: int | None = None
        self.exception: BaseException | None = None
        self._attributes = attributes.of_request(environ, self.method)
        self._attributes[names.HTTP_REQUEST_ID] = self.request_id
        self.span, self.context = self._begun()
        self._ids = ids.of(self.span)

    def _begun(self) -> tuple[trace.Span, Context]:
        base = get_current()
        # A framework around this one has a span for the request already.
        inside = bool(base) and trace.get_current_span(base).get_span_context().is_valid
        kind = SpanKind.INTERNAL if inside else SpanKind.SERVER
        came = propagation.Received(base, ()) if inside else self._received(base)
        if self.options.meters:
            self.options.meters.begun(self._attributes, 1)
        # It is described as soon as its route is known, before anything of the host runs.
        span = tracing.start_undescribed(
            self.options.tracer,
            attributes.span_name(self.method, ""),
            came.context,
            kind,
            self._attributes,
            came.links,
        )
        around = set_span_in_context(span, came.context)
        return span, logs.carrying(around, request_id=self.request_id)

    def _received(self, base: Context) -> propagation.Received:
        headers = propagation.from_environ(self.environ)
        if not headers:
            return propagation.Received(base, ())
        return propagation.received(
            headers,
            base,
            trusted=bool(_trusts(self.options, self.environ)),
            kept_baggage=self.options.kept_baggage,
        )

    def enter(self) -> None:
        """Make its span the current one, and its lines carry its id."""
        self._token = attach(self.context)

    def leave(self) -> None:
        """Undo `enter`, in the same context."""
        detach(self._token)

    def matched(self, request: FlaskRequest) -> None:
        """Note the route that an app has found, and do what the stock instrumentor does then."""
        rule, span = request.url_rule, self.span
        found = attributes.behind_proxies(self.environ)
        if rule is not None:
            self.route = found[names.HTTP_ROUTE] = rule.rule
        self._attributes |= found
        tracing.describe(span, attributes.span_name(self.method, self.route), found)
        if self.options.comments is not None:
            self.context = set_value(_COMMENTS, self.options.comment(request), self.context)
            attach(self.context)
        if self.options.headers.request and _is_server(span):
            span.set_attributes(self.options.headers.of_request(self.environ))
        if self.options.request_hook is not None:
            self.options.request_hook(span, self.environ)

    def start_response(self, status: str, headers: list[tuple[str, str]], *args: Any) -> Any:
        """Stand in for the server's own: note the answer, and pass it on."""
        self._answered(status, headers)
        return self.respond(status, headers, *args)

    @guard.guarded("flask.start_response")
    def _answered(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status = int(status[:3]) if status[:3].isdecimal() else 0
        self.length = _length(self.method, self.status, headers)
        self._lead_back(headers)
        options = self.options
        if options.headers.response and _is_server(self.span):
            self.span.set_attributes(options.headers.of_response(headers))
        if options.response_hook is not None:
            options.response_hook(self.span, status, headers)

    def _lead_back(self, headers: list[tuple[str, str]]) -> None:
        """Name the trace in the answer's headers, as the host's propagator does it."""
        propagator = get_global_response_propagator()
        if type(propagator) is TraceResponsePropagator and self._ids:
            value = "00-{trace_id}-{span_id}-".format(**self._ids)
            flags = self.span.get_span_context().trace_flags
            headers += [(_RESPONSE, f"{value}{flags:02x}"), (_EXPOSED, _RESPONSE)]
        elif propagator:
            propagator.inject(headers, self.context, default_response_propagation_setter)

    @guard.guarded("flask.sent")
    def sent(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """The body as the server is to have it; the request ends with it."""
        if self.length == 0:
            self.end()
            return body
        if is_file(body, self.environ):
            return body if self._ends_at_close(body) else Body(self, body, self.length)
        return Body(self, body, self.length)

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

    @guard.guarded("flask.end")
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
        seconds = time.perf_counter() - self._started
        cause = exception or self.exception
        decided = decide_request(self.status, cause, raised=raised, disconnected=disconnected)
        try:
            self._describe(decided, cause)
            self._tell(decided, seconds)
        finally:
            self.span.end()
            # Each holds the other; without the garbage collector both would stay.
            self.environ = {}

    def _describe(self, decided: RequestOutcome, cause: BaseException | None) -> None:
        span = self.span
        found: dict[str, Any] = {}
        if decided.status:
            found[names.HTTP_STATUS] = decided.status
        if decided.error_type:
            found[names.ERROR_TYPE] = decided.error_type
        self._attributes |= found
        if not span.is_recording():
            return
        span.set_attributes(found)
        if decided.is_error:
            if cause is not None:
                exceptions.record(span, cause)
            span.set_status(StatusCode.ERROR, _description(decided))

    def _tell(self, decided: RequestOutcome, seconds: float) -> None:
        tell.request(
            decided,
            method=self.method,
            route=self.route,
            request_id=self.request_id,
            seconds=seconds,
            **self._ids,
        )
        if meters := self.options.meters:
            meters.begun(self._attributes, -1)
            meters.ended(seconds, self._attributes, self.span)


@guard.guarded("flask.begin")
def begin(options: Options, environ: dict[str, Any], respond: Callable[..., Any]) -> Request | None:
    """The request, with its span begun; None if it is not to be told."""
    if (get_current() and not is_instrumentation_enabled()) or options.is_excluded(environ):
        return None
    request = environ[KEY] = Request(options, environ, respond)
    return request


@guard.guarded("flask.trust")
def _trusts(options: Options, environ: Mapping[str, Any]) -> bool:
    return options.trusts(environ)


def _request_id(given: str) -> str:
    if given and _REQUEST_ID.fullmatch(given):
        return given
    # No secret: like the ids of spans, and without a system call.
    return f"{random.getrandbits(64):016x}"


def _length(method: str, status: int, headers: Iterable[tuple[str, str]]) -> int | None:
    """How long the body will be, None where that isn't known."""
    if method == "HEAD" or status in BODILESS or 0 < status < FIRST_FINAL:
        return 0
    for name, value in headers:
        if name.lower() == "content-length":
            return int(value) if value.isdecimal() else None
    return None


def _description(decided: RequestOutcome) -> str | None:
    text = redact.text(decided.message)
    return f"{decided.error_type}: {text}" if text else None


def _is_server(span: trace.Span) -> bool:
    return span.is_recording() and getattr(span, "kind", None) is SpanKind.SERVER
