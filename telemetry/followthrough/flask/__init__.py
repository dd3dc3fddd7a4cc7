"""The web side: each request is one span, one log line and one count, told from one outcome."""

from __future__ import annotations

from .instrumentor import FlaskInstrumentor, instrument, uninstrument

__all__ = ["FlaskInstrumentor", "instrument", "uninstrument"]
