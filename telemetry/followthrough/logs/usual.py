"""The last line of a request and of a task in its usual form, put together from kept texts.

The chain goes through a line field by field, which cost more than all else that is told of a
request. In these lines little but time, duration and ids differs from one to the next. The rest is
kept as `chain.text` makes it; `test_usual.py` holds the whole equal to the chain's, byte for byte.
"""

from __future__ import annotations

import json
import logging
from typing import Any, Generic, TypeVar

import structlog

from . import chain, changes, context, records

Kept = TypeVar("Kept")

MOST = 1024  # kept of a logger
_TIME = '{"timestamp": "'
quoted = json.encoder.encode_basestring_ascii


class _Unknown:
    default_processors: Any = None


# What `structlog.get_config` copies out of, and the root logger, which both may be the host's.
config: Any = getattr(structlog._config, "_CONFIG", _Unknown)  # noqa: SLF001
root = logging.getLogger()


class Usual(Generic[Kept]):
    """The usual lines of a logger, and what is `kept` for those that are alike.

    Its own may be used while what the host can change at any time is as it was `seen`: structlog's
    processors, the root logger's handlers, the logger's levels and whether it is disabled,
    structlog's variables, and what is bound. To ask for all that with one comparison is what makes
    it cheap. Where it isn't, `look` looks closer.
    """

    def __init__(self, name: str) -> None:
        self.standard: Any = logging.getLogger(name)
        self.seen: tuple[Any, ...] | None = None
        self.kept: dict[tuple[Any, ...], Kept] = {}
        changes.on_change.append(self.forget)

    def forget(self) -> None:
        """Begin anew; in this order, as other threads use both."""
        self.kept = {}
        self.seen = None

    def look(self) -> bool:
        """Whether a line may have its usual form now, and is wanted; if so, what was seen is noted.

        Usual is what went well, and is told at the level `info`.
        """
        if (
            config.default_processors != [chain.render]
            or len(root.handlers) > 1
            or context.is_bound()
            or _others_want_it()
        ):
            return False
        # Each level is asked for, so that it is in the logger's cache, which is what is compared.
        levels = {each: self.standard.isEnabledFor(each) for each in chain.LEVELS.values()}
        handlers, cache = list(root.handlers), dict(self.standard._cache)  # noqa: SLF001
        if not levels[logging.INFO] or not levels.items() <= cache.items():
            return False
        self.seen = ([chain.render], handlers, cache, False, {}, {})
        if _others_want_it():
            # Since just now, in another thread, which may have had `forget` called before this.
            self.seen = None
            return False
        return True

    def text(self, event: str, first: dict[str, Any], places: str, last: dict[str, Any]) -> str:
        """A line's text, with places for its time and for what the caller has."""
        head = chain.head("", self.standard.name, "info", event)
        begin = chain.text({**head, **first})[len(_TIME) : -1].replace("%", "%%")
        end = chain.text(last)[1:-1].replace("%", "%%")
        return f"{_TIME}%s.%06dZ{begin}, {places}{', ' if last else ''}{end}}}\n"

    def keep(self, kept: dict[tuple[Any, ...], Kept], key: tuple[Any, ...], made: Kept) -> None:
        """Keep it in what `kept` was before it was made."""
        if len(kept) >= MOST:
            kept.clear()
        kept[key] = made


def _others_want_it() -> bool:
    return records.Current.recorder is not None or chain.Current.people is not None
