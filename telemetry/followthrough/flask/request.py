"""One request while it runs: its span, and at its end the line and the count, from one outcome."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from flask import has_request_context
from flask import request as flask_request
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation import propagators
from opentelemetry.instrumentation.wsgi import default_response_propagation_setter
from opentelemetry.propagate import get_global_textmap
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation import _SPAN_KEY

from .. import guard, names, redact, tell
from ..logs.context import FIELDS
from ..outcome import RequestOutcome, answered, decide_request
from ..tracing import describe, end_with, exceptions, ids, propagation
from ..tracing.current import get_current, is_suppressed
from ..tracing.propagation import asked_for
from ..trust import everyone
from .attributes import PROXY_FIX, Alike, behind_proxies, endings, of_request, span_name
from .body import Body, is_file
from .options import FRAMEWORK, Options

if TYPE_CHECKING:
    from flask import Request as FlaskRequest


KEY = "followthrough.request"
BODILESS = frozenset({204, 304})
FIRST_FINAL = 200
_COMMENTS = "SQLCOMMENTER_ORM_TAGS_AND_VALUES"
_RESPONSE, _EXPOSED = "traceresponse", "Access-Control-Expose-Headers"
_ROUTE = names.HTTP_ROUTE
_SERVER, _INTERNAL = SpanKind.SERVER, SpanKind.INTERNAL


class Request:
    """A request of one of our apps; ends once, whoever says so first."""

    # What `begin` sets.
    started: float
    options: Options
    respond: Callable[..., Any]
    alike: Alike
    id: str
    span: trace.Span
    context: Context
    # What it begins with is the class's.
    route = ""
    answer = answered(0)
    ended = is_matched = False
    headers: Iterable[tuple[str, str]] = ()
    exception: BaseException | None = None
    # What the host's own meters are told.
    measured: dict[str, Any] | None = None

    def matched(self, request: FlaskRequest, environ: dict[str, Any]) -> None:
        """Note the route that an app has found, and do what the stock instrumentor does then."""
        self.is_matched = True
        rule = request.url_rule
        found = behind_proxies(environ) if PROXY_FIX in environ else {}
        if rule is not None:
            self.route = found[_ROUTE] = rule.rule
        describe(self.span, span_name(self.alike.method, self.route), found)
        if rule is not None and self.options.is_plain:
            # As `comment` has it.
            self.context[_COMMENTS].update(  # type: ignore[attr-defined]
                {"framework": FRAMEWORK, "controller": rule.endpoint, "route": rule.rule}
            )
        else:
            self._matched(found, request, environ)

    def _matched(
        self, found: Mapping[str, Any], request: FlaskRequest, environ: dict[str, Any]
    ) -> None:
        options, span = self.options, self.span
        self.context[_COMMENTS].update(options.comment(request))  # type: ignore[attr-defined]
        if self.measured is not None:
            self.measured |= found
        if options.headers.request and _is_server(span):
            span.set_attributes(options.headers.of_request(environ))
        if options.request_hook is not None:
            options.request_hook(span, environ)

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Any:
        """Stand in for the server's own: note the answer, and pass it on."""
        try:
            self.answer = _answer(status)
            self.headers = headers
            if not self.is_matched and has_request_context():
                # A subclass of Flask that does without what hears of it, or a broken session.
                self.matched(flask_request, flask_request.environ)
            if propagators._RESPONSE_PROPAGATOR is not None:  # noqa: SLF001  spares a call
                self._lead_back(propagators._RESPONSE_PROPAGATOR, headers)  # noqa: SLF001
            if not self.options.is_plain:
                self._answered(status, headers)
        except Exception as error:  # noqa: BLE001  raised on where it is to be
            guard.caught("flask.start_response", error)
        if exc_info is None:
            return self.respond(status, headers)
        return self.respond(status, headers, exc_info)

    def _answered(self, status: str, headers: list[tuple[str, str]]) -> None:
        options = self.options
        if options.headers.response and _is_server(self.span):
            self.span.set_attributes(options.headers.of_response(headers))
        if options.response_hook is not None:
            options.response_hook(self.span, status, headers)

    def _lead_back(self, propagator: Any, headers: list[tuple[str, str]]) -> None:
        """Name the trace in the answer's headers, as the host's propagator does it."""
        trace_id, span_id = ids.in_hex(self.span)
        if type(propagator) is propagators.TraceResponsePropagator and trace_id:
            flags = self.span.get_span_context()[3]
            value = f"00-{trace_id}-{span_id}-{flags:02x}"
            headers += [(_RESPONSE, value), (_EXPOSED, _RESPONSE)]
        else:
            propagator.inject(headers, self.context, default_response_propagation_setter)

    def sent(self, body: Iterable[bytes], environ: Mapping[str, Any]) -> Iterable[bytes]:
        """The body as the server is to have it; the request ends with it."""
        try:
            length = _length(self.alike.method, self.answer.status, self.headers)
            if length == 0:
                self.end()
                return body
            if is_file(body, environ) and self._ends_at_close(body):
                return body
            return Body(self, body, length)
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

    def break_off(
        self, exception: BaseException | None = None, *, disconnected: bool = False
    ) -> None:
        """End it by what went on to the server, or as its caller went away."""
        if not self.ended:
            raised = exception is not None
            self.exception = exception or self.exception
            how = {"raised": raised, "disconnected": disconnected}
            self.end(decide_request(self.answer.status, self.exception, **how))

    def end(self, outcome: RequestOutcome | None = None) -> None:
        """Tell how it ended, by its answer if nothing else is known; unless that was told."""
        if self.ended:
            return
        self.ended = True
        try:
            seconds = perf_counter() - self.started
            span = self.span
            if outcome is None:
                outcome = self.answer
                if self.exception is not None:
                    outcome = decide_request(outcome.status, self.exception)
            ending = endings[outcome.status]
            try:
                if not outcome.is_usual:
                    _explain(span, outcome, self.exception)
                # By their places: each property of a context is a call.
                of = span.get_span_context()
                if of[5]:
                    trace_id, span_id = f"{of[0]:032x}", f"{of[1]:016x}"
                else:
                    trace_id = span_id = ""
                tell.request(
                    outcome, self.alike.method, self.route, self.id, seconds, trace_id, span_id
                )
                if self.measured is not None:
                    self._measure(outcome, self.measured, seconds)
            finally:
                end_with(span, ending.attributes, ending.fields)
        except Exception as error:  # noqa: BLE001  raised on where it is to be
            guard.caught("flask.end", error)

    def _measure(self, decided: RequestOutcome, measured: dict[str, Any], seconds: float) -> None:
        """Tell the host's own meters."""
        meters = self.options.meters
        if meters is not None:
            told = {names.HTTP_STATUS: decided.status, names.ERROR_TYPE: decided.error_type}
            measured |= {name: value for name, value in told.items() if value}
            meters.count(measured, -1)
            meters.ended(seconds, measured, self.span)


def begin(options: Options, environ: dict[str, Any], respond: Callable[..., Any]) -> Request | None:
    """The request, with its span begun; None if it is not to be told."""
    try:
        base = get_current()
        if base and is_suppressed(base):
            return None
        request = Request()
        request.started = perf_counter()
        request.options = options
        request.respond = respond
        found, alike, request.id = of_request(environ)
        request.alike = alike
        if not options.is_plain:
            if options.is_excluded(environ):
                return None
            request.measured = options.meters and options.meters.begun(found)  # type: ignore[assignment]
        fields = {"request_id": request.id}
        kind: SpanKind = _SERVER
        links: tuple[trace.Link, ...] = ()
        # Most requests come with nothing around them, and with none of these headers.
        if base or not environ.keys().isdisjoint(asked_for(get_global_textmap())):
            if base:
                fields = {**base.get(FIELDS, {}), **fields}
            if base and trace.get_current_span(base).get_span_context().is_valid:
                # A framework around this one has a span for the request already.
                kind = _INTERNAL
            else:
                base, links = _received(options, environ, base)
        # It is described as soon as its route is known, before anything of the host runs.
        request.span = span = options.start(alike.name, base, kind, found, links, alike.kept)
        # Made in one go. What comments of SQL say is filled in as soon as the route is known,
        # wherever the context has gone by then.
        request.context = Context({**base, _SPAN_KEY: span, FIELDS: fields, _COMMENTS: {}})
        environ[KEY] = request
    except Exception as error:  # noqa: BLE001  raised on where it is to be
        guard.caught("flask.begin", error)
        return None
    return request


def _received(options: Options, environ: dict[str, Any], base: Context) -> propagation.Received:
    headers = propagation.from_environ(environ)
    trusted = options.trusts is everyone or (bool(headers) and bool(_trusts(options, environ)))
    return propagation.received(headers, base, trusted=trusted, kept_baggage=options.kept_baggage)


@guard.guarded("flask.trust")
def _trusts(options: Options, environ: Mapping[str, Any]) -> bool:
    return options.trusts(environ)


@functools.lru_cache
def _answer(status: str) -> RequestOutcome:
    code = status[:3]
    return answered(int(code) if code.isdecimal() else 0)


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
    """Say on its span how a request has ended that hasn't as most do."""
    if decided.error_type:
        span.set_attribute(names.ERROR_TYPE, decided.error_type)
    if decided.is_error:
        if cause is not None:
            exceptions.record(span, cause)
        text = redact.text(decided.message)
        span.set_status(StatusCode.ERROR, f"{decided.error_type}: {text}" if text else None)


def _is_server(span: trace.Span) -> bool:
    return span.is_recording() and getattr(span, "kind", None) is SpanKind.SERVER
