"""What servers load: `gunicorn run:app`, `celery -A run.celery worker`."""

from __future__ import annotations

import sys

from app import create_app
from app.celery import process_role
from app.startup import settings_or_exit

app = create_app(settings_or_exit(), role=process_role(sys.argv))
celery = app.extensions["celery"]

if __name__ == "__main__":
    app.run(app.extensions["settings"].host, app.extensions["settings"].port)
