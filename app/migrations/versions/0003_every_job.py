"""The tables of mail, reports, images, records, sources, cancelling and the schedule."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    _mail()
    _reports()
    _images()
    _records()
    _sources()
    _tasks()
    _schedule()


def downgrade() -> None:
    pass


def _mail() -> None:
    pass


def _reports() -> None:
    pass


def _images() -> None:
    pass


def _records() -> None:
    pass


def _sources() -> None:
    pass


def _tasks() -> None:
    pass


def _schedule() -> None:
    pass
