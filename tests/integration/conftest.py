"""Which files of this folder are collected, and their servers."""

from __future__ import annotations

import os

from tests.support.postgresql import database_url, postgresql, programs

__all__ = ["collect_ignore", "database_url", "postgresql"]

# A machine without PostgreSQL goes without its tests; .ci/run sets EVERY_TEST and may not.
collect_ignore = [] if programs() or os.environ.get("EVERY_TEST") else ["test_postgresql.py"]
