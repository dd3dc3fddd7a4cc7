"""Tracing: provider, exporter and their bounded end."""

from __future__ import annotations

from .provider import configure, finish, note_cause

__all__ = ["configure", "finish", "note_cause"]
