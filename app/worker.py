"""What `celery -A app.worker worker | beat | flower` loads."""

from __future__ import annotations

import sys

from celery.signals import beat_init, worker_ready

from app.celery import process_role
from app.manage.ready import announce
from app.startup import app_or_exit

_role = process_role(sys.argv)
flask_app = app_or_exit("worker" if _role == "web" else _role)
celery = flask_app.extensions["celery"]

# `python -m app up` waits for these two, which have no port to ask.
worker_ready.connect(announce, dispatch_uid="app.ready", weak=False)
beat_init.connect(announce, dispatch_uid="app.ready", weak=False)
