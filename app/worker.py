"""What `celery -A app.worker worker | beat | flower` loads."""

from __future__ import annotations

import sys

from app import create_app
from app.celery import process_role

_role = process_role(sys.argv)
flask_app = create_app(role="worker" if _role == "web" else _role)
celery = flask_app.extensions["celery"]
