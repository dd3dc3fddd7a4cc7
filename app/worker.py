"""What `celery -A app.worker worker | beat | flower` loads."""

from __future__ import annotations

import sys

from app import create_app
from app.celery import process_role
from app.startup import settings_or_exit

_role = process_role(sys.argv)
flask_app = create_app(settings_or_exit(), role="worker" if _role == "web" else _role)
celery = flask_app.extensions["celery"]
