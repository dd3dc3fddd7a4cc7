"""Followthrough: traces, logs, metrics and alerts of a Flask and Celery service that agree.

settings = followthrough.configure("my-web")
followthrough.instrument_flask(app)
followthrough.instrument_celery()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask

    from .settings import Settings

__all__ = [
    "configure",
    "instrument_celery",
    "instrument_flask",
    "uninstrument_celery",
    "uninstrument_flask",
]


def configure(service_name: str | None = None, *, settings: Settings | None = None) -> Settings:
    """Set up logs, metrics and tracing for this process; returns the settings in force.

    `OTEL_SERVICE_NAME` wins over `service_name`. A second call changes nothing, unless it brings
    other settings. Raises SettingsError where the environment holds wrong values.
    """
    from . import setup  # noqa: PLC0415  `import followthrough` stays cheap

    return setup.configure(service_name, settings)


def instrument_flask(app: Flask, **options: Any) -> None:
    """Trace, log and count the requests of `app`; a second call does nothing.

    `options` are those of OpenTelemetry's FlaskInstrumentor, and `trusts`, a predicate on the WSGI
    environ: whose trace context is continued. `excluded_urls`, comma-separated patterns, are not
    told at all; without it OTEL_PYTHON_FLASK_EXCLUDED_URLS holds.
    """
    from . import flask  # noqa: PLC0415

    flask.instrument(app, **options)


def uninstrument_flask(app: Flask) -> None:
    """Undo `instrument_flask`."""
    from . import flask  # noqa: PLC0415

    flask.uninstrument(app)


def instrument_celery() -> None:
    """Trace, log, count and watch all Celery tasks of this process, published or run."""
    from . import celery, setup  # noqa: PLC0415

    celery.instrument(setup.configure(None, None))


def uninstrument_celery() -> None:
    """Undo `instrument_celery`."""
    from . import celery  # noqa: PLC0415

    celery.uninstrument()
