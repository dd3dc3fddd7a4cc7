"""How each kit is set up in the program, as its own docs say; `kits` has its environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from celery.signals import worker_process_init
from flask import Flask

Setup = Callable[[Flask, str], None]


def nothing(_app: Flask, _role: str) -> None:
    """Bare, or a kit that starts the program itself."""


def ours(app: Flask, role: str) -> None:
    import followthrough  # noqa: PLC0415  each kit is loaded by its own programs only

    followthrough.configure(f"bench-{role}")
    followthrough.instrument_flask(app)
    followthrough.instrument_celery()


def contrib(app: Flask, role: str) -> None:
    """In the process that runs it: gunicorn loads the app after it has forked."""
    if role == "worker":
        worker_process_init.connect(_contrib_celery, weak=False)
        return
    from opentelemetry.instrumentation.flask import FlaskInstrumentor  # noqa: PLC0415

    _contrib_celery()
    FlaskInstrumentor().instrument_app(app)


def _contrib_celery(**_: Any) -> None:
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.instrumentation.celery import CeleryInstrumentor  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()


def sentry(_app: Flask, _role: str) -> None:
    import sentry_sdk  # noqa: PLC0415

    # Its default of 100 drops most transactions of a program as busy as this one.
    sentry_sdk.init(
        dsn=os.environ["SENTRY_DSN"], traces_sample_rate=1.0, transport_queue_size=10_000
    )


def elastic(app: Flask, role: str) -> None:
    if role == "web":
        from elasticapm.contrib.flask import ElasticAPM  # noqa: PLC0415

        ElasticAPM(app)
        return
    from elasticapm import Client  # noqa: PLC0415
    from elasticapm.contrib.celery import (  # noqa: PLC0415
        register_exception_tracking,
        register_instrumentation,
    )

    client = Client()
    register_instrumentation(client)
    register_exception_tracking(client)


ALL: dict[str, Setup] = {
    "bare": nothing,
    "ours": ours,
    "contrib": contrib,
    "ddtrace": nothing,
    "sentry": sentry,
    "elastic": elastic,
}
