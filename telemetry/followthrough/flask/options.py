"""How requests are traced: what the instrumentor was given, made ready for each request."""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Request
from opentelemetry import metrics, trace
from opentelemetry.instrumentation.flask import flask_version
from opentelemetry.metrics import Histogram, MeterProvider, UpDownCounter
from opentelemetry.semconv._incubating.metrics.http_metrics import (
    create_http_server_active_requests,
)
from opentelemetry.util.http import ExcludeList, get_excluded_urls, parse_excluded_urls

from .. import names, setup, tracing, trust
from ..metrics.catalogue import HTTP_BUCKETS
from ..settings import Settings
from .attributes import Headers, captured, url

SCOPE = "followthrough.flask"

Hook = Callable[..., Any]


@dataclass(frozen=True)
class Options:
    """All that a request's span, line and count depend on."""

    tracer: trace.Tracer
    meters: Meters | None
    excluded: ExcludeList | None
    captured: Mapping[str, Iterable[str] | None]
    trusts: trust.Predicate
    kept_baggage: Container[str]
    comments: Mapping[str, bool] | None
    request_hook: Hook | None
    response_hook: Hook | None

    @functools.cached_property
    def headers(self) -> Headers:
        """The headers that are kept; the standard variables are read at the first request."""
        return captured(**self.captured)

    @functools.cached_property
    def start(self) -> Callable[..., trace.Span]:
        """What starts a request's span."""
        return tracing.undescribed(self.tracer)

    @functools.cached_property
    def is_plain(self) -> bool:
        """Whether a request is told, with SQL comments as by default, and no more is asked."""
        asked = (self.meters, self.excluded, self.request_hook, self.response_hook)
        headers = self.headers
        return self.comments == {} and not any((*asked, headers.request, headers.response))

    def is_excluded(self, environ: Mapping[str, Any]) -> bool:
        """Whether this request is not to be told."""
        return self.excluded is not None and self.excluded.url_disabled(url(environ))

    def comment(self, request: Request) -> dict[str, str]:
        """What SQL comments say of this request, as the stock instrumentor has it."""
        if self.comments is None:
            return {}
        rule, wanted = request.url_rule, self.comments
        values = (FRAMEWORK, request.endpoint, rule.rule if rule else None)
        pairs = zip(_COMMENT, values, strict=True)
        return {key: value for key, value in pairs if value and wanted.get(key, True)}


FRAMEWORK = f"flask:{flask_version}"
_COMMENT = ("framework", "controller", "route")


@dataclass(frozen=True)
class Meters:
    """OpenTelemetry's own metrics, for a host that has a meter provider."""

    active: UpDownCounter
    duration: Histogram

    def begun(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """Count a request that begins, and give what is to be told of it as it ends."""
        self.count(attributes, 1)
        return attributes.copy()

    def count(self, attributes: Mapping[str, Any], step: int) -> None:
        """Count a request that begins (1) or ends (-1)."""
        wanted = (names.HTTP_METHOD, names.URL_SCHEME)
        self.active.add(step, {key: attributes[key] for key in wanted})

    def ended(self, seconds: float, attributes: Mapping[str, Any], span: trace.Span) -> None:
        """Record how long a request took."""
        kept = {key: attributes[key] for key in _MEASURED if attributes.get(key)}
        self.duration.record(seconds, kept, context=trace.set_span_in_context(span))


_MEASURED = (
    names.HTTP_METHOD,
    names.URL_SCHEME,
    names.NETWORK_PROTOCOL_VERSION,
    names.HTTP_ROUTE,
    names.HTTP_STATUS,
    names.ERROR_TYPE,
)


def options(
    settings: Settings,
    *,
    request_hook: Hook | None = None,
    response_hook: Hook | None = None,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    excluded_urls: str | None = None,
    enable_commenter: bool = True,
    commenter_options: Mapping[str, bool] | None = None,
    http_capture_headers_server_request: Iterable[str] | None = None,
    http_capture_headers_server_response: Iterable[str] | None = None,
    http_capture_headers_sanitize_fields: Iterable[str] | None = None,
    trusts: trust.Predicate | None = None,
    **_: Any,
) -> Options:
    """The options of an instrumentor; the rest comes from settings and the standard variables."""
    return Options(
        tracer=_tracer(tracer_provider),
        meters=_meters(meter_provider),
        excluded=_excluded(excluded_urls),
        captured={
            "request": http_capture_headers_server_request,
            "response": http_capture_headers_server_response,
            "sanitized": http_capture_headers_sanitize_fields,
        },
        trusts=trusts or _trusts(settings.trust, settings.trust_key, settings.proxies),
        kept_baggage=frozenset(settings.baggage),
        comments=(commenter_options or {}) if enable_commenter else None,
        request_hook=request_hook if callable(request_hook) else None,
        response_hook=response_hook if callable(response_hook) else None,
    )


_trusts = functools.lru_cache(maxsize=8)(trust.predicate)


def _excluded(urls: str | None) -> ExcludeList | None:
    found = get_excluded_urls("FLASK") if urls is None else parse_excluded_urls(urls)
    # One without patterns need not be asked, nor the address be put together for it.
    return found if vars(found).get("_excluded_urls") else None


def _tracer(provider: trace.TracerProvider | None) -> trace.Tracer:
    if provider is None:
        return tracing.get_tracer(SCOPE, setup.version(), names.SCHEMA_URL)
    return trace.get_tracer(SCOPE, setup.version(), provider, names.SCHEMA_URL)


def _meters(provider: MeterProvider | None) -> Meters | None:
    given = provider or metrics.get_meter_provider()
    # Until the host has set one, the kit's own metrics are the only ones.
    if provider is None and type(given).__module__.startswith("opentelemetry.metrics."):
        return None
    meter = metrics.get_meter(SCOPE, setup.version() or "", given, names.SCHEMA_URL)
    duration = meter.create_histogram(
        "http.server.request.duration",
        "s",
        "Duration of HTTP server requests.",
        explicit_bucket_boundaries_advisory=HTTP_BUCKETS,
    )
    return Meters(create_http_server_active_requests(meter), duration)
