"""The last line of a request and of a task in its usual form, put together from kept texts.

The chain goes through a line field by field, which cost more than all else that is told of a
request. In these lines little but time, duration and ids differs from one to the next. The rest is
kept as `chain.text` makes it; `test_usual.py` holds the whole equal to the chain's, byte for byte.
"""

from __future__ import annotations

import json
import math
import time
from typing import Any

import structlog

from .. import names
from . import chain, output, records
from .context import only_carried

MOST = 1024  # texts kept
_OWN = frozenset({names.DURATION, names.TRACE_ID, names.SPAN_ID})
# What a task's context carries beside what its line has anyway; of both there are few values.
_CARRIED = frozenset({names.ATTEMPT, names.QUEUE})
_TIME = len('{"timestamp": "')
# What `structlog.get_config` copies out of.
_structlog: Any = getattr(structlog._config, "_CONFIG", None)  # noqa: SLF001
_quoted = json.encoder.encode_basestring_ascii


class Usual:
    """Lines of a logger with these first fields, a duration, what it was, its ids, and its wait."""

    def __init__(self, logger: str, first: tuple[str, ...], subject: str) -> None:
        self._logger = chain.named(logger)
        self._first, self._subject = first, subject
        self._own = _OWN.union(first, (subject,))

    def write(
        self,
        level: str,
        event: str,
        first: tuple[str | int | None, ...],
        duration: float,
        subject: str,
        trace_id: str,
        span_id: str,
        wait: float | None = None,
    ) -> bool:
        """Write the line, if its level is wanted; False where the chain is to make it.

        That is, where something else is to be in it, or it goes to somebody else too. Durations
        are in seconds, the ids of the span in hex.
        """
        standard = self._logger.standard
        carried = only_carried()
        if (
            carried is None
            or chain.Current.people is not None
            or records.Current.recorder is not None
            or len(standard.root.handlers) > 1
            or _structlog is None
            or not (processors := _structlog.default_processors)
            or processors[0] is not chain.render
            or not (trace_id and span_id and type(subject) is str)
            or not (wait is None or 0 <= wait < math.inf)
        ):
            return False
        more: tuple[tuple[str, Any], ...] = ()
        for key, value in carried.items():
            if key not in self._own:
                if key not in _CARRIED or type(value) not in (str, int):
                    return False
                more += ((key, value),)
        if standard.isEnabledFor(chain.LEVELS[level]):
            texts = chain.Current.texts
            begin = texts.get((level, event, first)) or self._begin(level, event, first)
            rest = "" if wait is None else f', "wait": {wait!r}'
            if more:
                rest += texts.get(more) or _rest(more)
            at = time.time_ns() // 1000
            number, second = chain.Current.clock
            if number != at // chain.MICROSECONDS:
                second = chain.second(at // chain.MICROSECONDS)
            line = (
                f'{{"timestamp": "{second}.{at % chain.MICROSECONDS:06d}Z{begin}'
                f', "duration": {duration!r}, "{self._subject}": {_quoted(subject)}'
                f', "trace_id": "{trace_id}", "span_id": "{span_id}"{rest}}}\n'
            )
            output.write(line.encode())
        return True

    def _begin(self, level: str, event: str, first: tuple[str | int | None, ...]) -> str:
        """What stands between the time and the duration."""
        head = chain.head("", self._logger.name, level, event)
        text = chain.text({**head, **dict(zip(self._first, first, strict=True))})
        return _kept((level, event, first), text[_TIME:-1])


def _rest(more: tuple[tuple[str, Any], ...]) -> str:
    return _kept(more, f", {chain.text(dict(more))[1:-1]}")


def _kept(key: object, text: str) -> str:
    texts = chain.Current.texts
    if len(texts) >= MOST:
        texts.clear()
    texts[key] = text
    return text
