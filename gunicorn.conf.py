"""Gunicorn reads this file by itself when it is started in the checkout."""

from __future__ import annotations

from app import settings

_settings = settings.load()

bind = f"{_settings.host}:{_settings.port}"
workers = _settings.web_concurrency
worker_class = "gthread"
threads = _settings.web_threads
graceful_timeout = 8
