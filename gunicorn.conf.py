"""Gunicorn reads this file by itself when it is started in the checkout; its options go first."""

from __future__ import annotations

import sys

from app.startup import settings_or_exit
from followthrough.logs.gunicorn import Logger

_settings = settings_or_exit()

bind = f"{_settings.host}:{_settings.port}"
# Requests wait for Redis and the database, so threads serve them; a process costs more memory.
worker_class = "gthread"
workers = _settings.web_concurrency
threads = _settings.web_threads
# Stopping everything may take 10 s in all.
graceful_timeout = 8
# A heartbeat file on a disk can stall a worker until it is taken for hung.
worker_tmp_dir = "/dev/shm" if sys.platform == "linux" else None  # noqa: S108
# Its place is the home directory, where two services of one user would meet.
control_socket_disable = True
logger_class = Logger
proc_name = "followthrough-web"
