"""What servers load: `gunicorn run:app`, `celery -A run.celery worker`."""

from __future__ import annotations

import sys

from app.celery import process_role
from app.startup import app_or_exit

app = app_or_exit(process_role(sys.argv))
celery = app.extensions["celery"]

if __name__ == "__main__":
    app.run(app.extensions["settings"].host, app.extensions["settings"].port)
