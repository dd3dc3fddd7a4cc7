"""The one process a host beside the service: serves metrics, keeps traces, delivers alerts."""

from __future__ import annotations

from .main import run

__all__ = ["run"]
