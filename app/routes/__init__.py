"""The API: a blueprint a topic."""

from __future__ import annotations

from flask import Flask

from app.routes import email, health, tasks


def init_app(app: Flask) -> None:
    for module in (email, tasks, health):
        app.register_blueprint(module.blueprint, url_prefix="/api")
