"""How times, durations and services look on the pages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

NANO = 1_000_000_000
COLOURS = 10
UNITS = ((NANO, "s"), (1_000_000, "ms"), (1000, "µs"))


def duration(nanoseconds: int) -> str:
    """A duration as people read it: 812 µs, 12.3 ms, 1.24 s, 2 min 5 s, 1 h 4 min."""
    if nanoseconds >= 60 * NANO:
        return _long(round(nanoseconds / NANO))
    for unit, name in UNITS:
        if nanoseconds >= unit:
            return f"{_three(nanoseconds / unit)} {name}"
    return f"{nanoseconds} ns" if nanoseconds else "0"


def _long(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    shown = [part for part in parts if part[0]][:2]
    return " ".join(f"{value} {unit}" for value, unit in shown)


def _three(value: float) -> str:
    digits = 2 if value < 10 else 1 if value < 100 else 0  # noqa: PLR2004
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def utc(nanoseconds: int) -> str:
    """A unix time as an ISO 8601 date and time in UTC, to the millisecond."""
    return _moment(nanoseconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local(nanoseconds: int) -> str:
    """A unix time in this host's zone, to the millisecond."""
    moment = _moment(nanoseconds).astimezone()
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03} {moment:%Z}"


def _moment(nanoseconds: int) -> datetime:
    # Clocks can be far off: what datetime can't hold shows as its last year.
    seconds, rest = divmod(min(nanoseconds, 253_000_000_000 * NANO), NANO)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def ago(nanoseconds: int, now: int) -> str:
    """How long a unix time is past, roughly."""
    past = (now - nanoseconds) // NANO
    if past < 1:
        return "just now"
    return f"{_long(past).rsplit(' ', 2)[0] if past >= 60 else f'{past} s'} ago"  # noqa: PLR2004


def colours(services: Iterable[str]) -> dict[str, int]:
    """A colour number for each service; neighbours in the palette are easy to tell apart."""
    return {service: number % COLOURS for number, service in enumerate(sorted(services))}
