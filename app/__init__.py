"""The service: a Flask API that hands jobs to Celery."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from app import settings as configuration
from app.settings import Settings

if TYPE_CHECKING:
    from flask import Flask

Role = Literal["web", "worker", "beat", "flower", "client"]

UNSEEN = "api/health,api/ready,/healthz,/readyz,/monitoring/,/docs$,/docs/,/openapi.json$"

# What a test that names no broker gets, so that it needs no Redis.
IN_MEMORY = {"CELERY_BROKER_URL": "memory://", "CELERY_RESULT_BACKEND": "cache+memory://"}

__all__ = ["Role", "create_app"]


def create_app(settings: Settings | str | None = None, *, role: Role = "web") -> Flask:
    """Build the application; a string is an APP_ENV name, None reads the environment.

    By the name testing, tasks and results stay in this process's memory unless the environment
    names a broker.

    Raises SettingsError with every wrong setting.
    """
    # Here, so that programs which only need the settings stay small.
    import followthrough  # noqa: PLC0415

    loaded = _loaded(settings)
    if role != "client":
        loaded.state_dir.mkdir(parents=True, exist_ok=True)
        followthrough.configure(f"followthrough-{role}", settings=loaded.telemetry)
    app = _flask(loaded)
    from app.celery import celery_init_app  # noqa: PLC0415

    celery_init_app(app, role=role)
    if role == "web":
        _init_web(app, loaded)
    return app


def _loaded(settings: Settings | str | None) -> Settings:
    if isinstance(settings, Settings):
        return settings
    named = {"APP_ENV": settings} if settings else {}
    needs_no_redis = settings == "testing" and "CELERY_BROKER_URL" not in os.environ
    defaults = IN_MEMORY if needs_no_redis else {}
    return configuration.load({**defaults, **os.environ, **named})


def _flask(settings: Settings) -> Flask:
    from flask import Flask  # noqa: PLC0415

    app = Flask(__name__)
    app.config.from_mapping(
        SECRET_KEY=settings.secret_key,
        DEBUG=settings.debug,
        TESTING=settings.env == "testing",
        MAX_CONTENT_LENGTH=settings.max_content_length,
        # An error inside a request is answered as a problem document in each environment.
        PROPAGATE_EXCEPTIONS=False,
    )
    app.extensions["settings"] = settings
    return app


def _init_web(app: Flask, settings: Settings) -> None:
    # A worker needs none of these, and each costs memory in every pool process.
    from opentelemetry.instrumentation.propagators import (  # noqa: PLC0415
        TraceResponsePropagator,
        set_global_response_propagator,
    )

    import followthrough  # noqa: PLC0415
    from app import db, errors, routes  # noqa: PLC0415

    # Health checks come every few seconds, and the page of the API has many files: they would bury
    # the traces that people look for.
    unseen = None if os.environ.get("OTEL_PYTHON_FLASK_EXCLUDED_URLS") else UNSEEN
    followthrough.instrument_flask(app, excluded_urls=unseen)
    # Who has an answer can look its trace up.
    set_global_response_propagator(TraceResponsePropagator())
    app.cli.add_command(db.migrate_command)
    errors.init_app(app)
    routes.init_app(app)
    if settings.env != "production":
        db.upgrade(settings)
