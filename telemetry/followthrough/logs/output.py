"""Where lines go: one write each, whole or not at all, and never for long.

What holds: a line of up to 4,096 bytes is whole among those of other threads and processes; a
longer one too, unless its pipe is full. An exception out of a signal's handler comes before or
after a line. No lock is held, so a fork or a signal at any moment leaves none behind. A pipe that
nobody reads costs its program `PATIENCE` once; from then on lines are dropped, and counted, until
there is room again. A closed one costs nothing.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import guard

PATIENCE = 1.0  # seconds for a line's reader to make room


@dataclass
class _Open:
    """What is open: a stream or a path, where it leads to, and the descriptor that is written."""

    target: Any = None
    # What `sys.stdout` is while this is where lines go; None where it makes no difference.
    stream: Any = None
    source: Path | int | None = None
    file_id: tuple[int, int] | None = None
    # Without one, the stream is written.
    fd: int = -1
    # Whether to ask for room before each write, as the descriptor itself would wait.
    asks: bool = False
    is_stuck: bool = False
    is_torn: bool = False

    # Whether it may lead elsewhere by now, and whether a line may be written in one step.
    is_due: bool = False
    is_ready: bool = False


class _To:
    """Where lines go now."""

    # Held on to where sys.stdout is replaced by what writes log lines itself.
    kept: Any = None
    file: Path | None = None
    receive: Callable[[bytes], object] | None = None
    # Replaced in one step, as a signal's handler may raise at any.
    open = _Open()


def stdout() -> Any:
    """The stream that lines go to."""
    return _To.kept or sys.stdout


def keep_stdout() -> None:
    """Go on writing to what sys.stdout is now, whatever it is replaced by."""
    _To.kept = stdout()
    _reopen(None)


def to_file(path: str | None) -> None:
    """Write to the end of this file, also after a rotation; None for stdout."""
    _To.file = Path(path) if path else None
    _reopen(None)


def give(receive: Callable[[bytes], object] | None) -> Callable[[bytes], object] | None:
    """Give each line to this function instead; None for stdout; returns what had them before."""
    before, _To.receive = _To.receive, receive
    _reopen(None)
    return before


def look() -> None:
    """Look at the next line whether all leads where it did; the chain asks for it each second."""
    to = _To.open
    to.is_due, to.is_ready = True, False


def write(line: bytes) -> None:
    """Write a line, or drop and count it."""
    try:
        to = _To.open
        # Nearly always all is as it was at the last line, and one step writes this one.
        if to.is_ready and (to.stream is None or to.stream is sys.stdout):
            sent: list[int] = []
            try:
                # In one step, so no signal's handler runs before it is noted how much is written.
                sent += map(os.write, (to.fd,), (line,))
                if sent[0] == len(line):
                    return
                is_whole = _send(to, line, sent)
            except BlockingIOError:
                # The pipe is full, so nothing is sent yet.
                is_whole = _put(to, line)
            except OSError:
                raise
            except BaseException:
                _send(to, line, sent)
                raise
        else:
            is_whole = _write(line)
        if not is_whole:
            guard.count("logs.dropped")
    except (OSError, ValueError):
        # A full disk, or a stream or pipe that is closed.
        look()
        guard.count("logs.write")


def _write(line: bytes) -> bool:
    if _To.receive is not None:
        _To.receive(line)
        return True
    target: Any = _To.file or stdout()
    to = _To.open
    if target is not to.target or (to.is_due and _has_moved(to)):
        to = _reopen(target)
    to.is_due = False
    if to.fd >= 0:
        return _put(to, line)
    if target is not None:
        target.write(line.decode(errors="replace"))
        target.flush()
    return target is not None


def _has_moved(to: _Open) -> bool:
    """Whether path or descriptor lead to another file by now."""
    return to.fd >= 0 and (_file_id(to.source) != to.file_id or _file_id(to.fd) != to.file_id)


def _file_id(source: Path | int | None) -> tuple[int, int] | None:
    with contextlib.suppress(OSError, TypeError):
        found = os.stat(source)  # type: ignore[arg-type]  # noqa: PTH116  a path or a descriptor
        return found.st_dev, found.st_ino
    return None


def _reopen(target: Any) -> _Open:
    before, _To.open = _To.open, _opened(target)
    # Whoever closes all descriptors closes this one too, and its number may be another's by now.
    if before.fd not in (-1, before.source) and _file_id(before.fd) == before.file_id:
        os.close(before.fd)
    return _To.open


def _opened(target: Any) -> _Open:
    if isinstance(target, Path):
        fd = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        return _Open(target, None, target, _file_id(target), fd)
    if (source := _descriptor(target)) is None:
        return _Open(target)
    stream = None if target is _To.kept else target
    return _Open(target, stream, source, _file_id(source), *_unblocked(source))


def _descriptor(stream: Any) -> int | None:
    with contextlib.suppress(AttributeError, TypeError, ValueError, OSError):
        fd = int(stream.fileno())
        # Else what is printed is cut anywhere, and a line of ours comes in between.
        stream.reconfigure(line_buffering=True)
        return fd
    return None


def _unblocked(fd: int) -> tuple[int, bool]:
    """A descriptor of the same pipe whose writes don't wait, while the host's own still do.

    Where there is none: the same descriptor, and whether writing to it may wait.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode) and sys.platform == "linux":
        with contextlib.suppress(OSError):
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK), False
    return fd, stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _put(to: _Open, line: bytes) -> bool:
    if to.is_torn:
        line = b"\n" + line
    sent: list[int] = []
    try:
        return _send(to, line, sent)
    except OSError:
        raise
    except BaseException:
        # Out of a signal's handler: a soft time limit, say.
        _send(to, line, sent)
        raise


def _send(to: _Open, line: bytes, sent: list[int]) -> bool:
    """Write what of the line is not `sent` yet; False where its reader is too slow."""
    until = 0.0 if to.is_stuck else time.monotonic() + PATIENCE
    while (done := sum(sent)) < len(line):
        try:
            if to.asks and not _has_room(to.fd, until):
                break
            # One step, before or after which a signal's handler runs, so `sent` is always right.
            sent.extend(map(os.write, (to.fd,), (line[done:] if done else line,)))
        except BlockingIOError:
            if not _has_room(to.fd, until):
                break
    to.is_stuck = done < len(line)
    to.is_torn = to.is_stuck and (to.is_torn or done > 0)
    to.is_ready = not (to.asks or to.is_stuck or to.is_due)
    return not to.is_stuck


def _has_room(fd: int, until: float) -> bool:
    waiting = select.poll()
    waiting.register(fd, select.POLLOUT)
    return bool(waiting.poll(max(0.0, until - time.monotonic()) * 1000))
