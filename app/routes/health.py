"""Whether this process lives."""

from __future__ import annotations

from flask import Blueprint

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
def health() -> dict[str, str]:
    """The process answers; nothing else is asked."""
    return {"status": "ok"}
