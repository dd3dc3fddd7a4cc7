"""Gunicorn's own lines through the chain, from its first one on: `logger_class = Logger`."""

from __future__ import annotations

import logging
from typing import Any

from gunicorn import glogging

from ..settings import Settings, load
from . import configure_logs, stdlib


class Logger(glogging.Logger):
    """Gunicorn's logger; its error log goes through the chain, to its own file too if it has one.

    There is an access log only where `--access-logfile` asks for one, as gunicorn writes it:
    `request.finished` is the one line a request. The service's name is `proc_name`, unless
    `OTEL_SERVICE_NAME` gives one.
    """

    def setup(self, cfg: Any) -> None:
        """Set gunicorn's logging up, then the chain."""
        super().setup(cfg)
        settings = load(Settings)
        service = settings.service_name or cfg.proc_name
        configure_logs(settings.log_format, settings.log_level, service)
        stdlib.capture(logging.getLogger("gunicorn.error"))
