"""The log chain: every line of the process, ours or a library's, in one form with trace ids.

`context` says what a line carries, `chain` makes it, `output` writes it, `stdlib` brings in the
standard library's loggers, `console` is the form for people. `docs/logs.md` tells the rest.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import structlog

from . import chain, output, stdlib
from .chain import Logger
from .console import wants_colour
from .context import Bound, add_context, around, bind, carrying, redacted, unbind

__all__ = [
    "Bound",
    "add_context",
    "around",
    "bind",
    "carrying",
    "configure_logs",
    "is_json",
    "line",
    "redacted",
    "unbind",
    "wants_colour",
]


def configure_logs(log_format: str = "auto", level: str = "info", service: str = "") -> None:
    """Send all logging of the process to stdout, as `json`, `console` or by what stdout is.

    A structlog that the host has configured stays as it is, and with it a root logger that has
    handlers; the kit's lines then go through the host's processors.
    """
    chain.use(service, json=is_json(log_format))
    logging.captureWarnings(capture=True)
    hosts_own = structlog.is_configured() and not _is_ours()
    if not hosts_own:
        structlog.configure(
            processors=[chain.render],
            wrapper_class=Logger,
            logger_factory=chain.named,
            # A logger kept from its first use on would never see a later `configure`.
            cache_logger_on_first_use=False,
        )
    if not (hosts_own and logging.getLogger().handlers):
        stdlib.install(level)


def _is_ours() -> bool:
    return structlog.get_config()["wrapper_class"] is Logger


def line(name: str, level: str, event: str, **fields: Any) -> None:
    """Write one line at once where lines are made by our chain, else by the host's structlog."""
    if structlog.get_config()["processors"][:1] != [chain.render]:
        getattr(structlog.get_logger(name), level)(event, **fields)
        return
    logger, number = chain.named(name), chain.LEVELS[level]
    if logger.standard.isEnabledFor(number):
        fields["event"] = event
        made, told = chain.made(name, level, fields)
        logger.log(made, number, told)


def is_json(log_format: str) -> bool:
    """Whether lines are JSON in this form: `auto` is, but for a terminal or FORCE_COLOR."""
    if log_format == "auto":
        stream = output.stdout() or sys.stdout
        return not (getattr(stream, "isatty", bool)() or os.environ.get("FORCE_COLOR"))
    return log_format == "json"
