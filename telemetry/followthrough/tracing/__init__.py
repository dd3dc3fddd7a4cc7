"""Tracing: provider, tracers, light spans, exporter and their bounded end."""

from __future__ import annotations

from .provider import (
    configure,
    ends_what_is_left,
    finish,
    is_watched,
    keep_event,
    log_recorder,
    need_agent,
    note_cause,
    under_way,
)
from .tracer import describe, end_with, get_tracer, start_below, undescribed

__all__ = [
    "configure",
    "describe",
    "end_with",
    "ends_what_is_left",
    "finish",
    "get_tracer",
    "is_watched",
    "keep_event",
    "log_recorder",
    "need_agent",
    "note_cause",
    "start_below",
    "under_way",
    "undescribed",
]
