"""Tracing: provider, exporter and their bounded end."""

from __future__ import annotations

from .provider import configure, finish, is_watched, note_cause

__all__ = ["configure", "finish", "is_watched", "note_cause"]
