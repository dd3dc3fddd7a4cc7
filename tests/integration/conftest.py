"""The databases of this folder's tests."""

from __future__ import annotations

from tests.support.postgresql import database, database_url, new_database, postgresql

__all__ = ["database", "database_url", "new_database", "postgresql"]
