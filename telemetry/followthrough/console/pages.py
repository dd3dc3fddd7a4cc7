"""The console's web application: Jaeger's query API and plain pages over one store."""

from __future__ import annotations

from flask import Flask

from . import jaeger
from .store import Store


def create_console(store: Store, endpoint: str) -> Flask:
    """The WSGI application; `endpoint` is where spans are sent to, for the page that says so."""
    app = Flask(__name__)
    app.register_blueprint(jaeger.blueprint(store))
    return app
