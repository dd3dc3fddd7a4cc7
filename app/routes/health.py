"""Whether this process lives, and whether it can do its work."""

from __future__ import annotations

from flask import Blueprint, current_app
from pydantic import BaseModel
from sqlalchemy import text

from app import db, registry
from app.routes.document import described

blueprint = Blueprint("health", __name__)
root_blueprint = Blueprint("probes", __name__)


class Health(BaseModel):
    status: str


@root_blueprint.get("/healthz")
@blueprint.get("/health")
@described("Monitoring", answers={200: Health}, alone=True)
def health() -> dict[str, str]:
    """The process answers; nothing else is asked."""
    return {"status": "ok"}


@root_blueprint.get("/readyz")
@blueprint.get("/ready")
@described("Monitoring", answers={200: Health})
def ready() -> dict[str, str]:
    """The database, the broker and the result backend answer; else 503 names one that doesn't."""
    with db.session() as session:
        session.execute(text("SELECT 1"))
    registry.ask_result_backend()
    celery = current_app.extensions["celery"]
    with (
        current_app.extensions["breakers"]["broker"](),
        celery.connection_for_write() as connection,
    ):
        connection.ensure_connection(max_retries=0)
    return {"status": "ready"}
