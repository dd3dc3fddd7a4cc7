"""What servers load: `gunicorn run:app`, `celery -A run.celery worker`."""

from __future__ import annotations

import sys

from app import create_app
from app.celery import process_role

app = create_app(role=process_role(sys.argv))
celery = app.extensions["celery"]

if __name__ == "__main__":
    settings = app.extensions["settings"]
    app.run(settings.host, settings.port)
