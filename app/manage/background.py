"""Runs a manager detached from the terminal, which is told how the start went."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from app.manage.start import Start


def detach(start: Start) -> int:
    """Run `start` in a process of its own session; its exit code, or 0 as soon as all is ready."""
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return _result(read, pid)
    os.close(read)
    os.setsid()
    code = 1
    try:
        code = start(_release(write, start.place.log("manager")))
    finally:
        with suppress(OSError):
            os.write(write, bytes([code]))
        # The caller's own way out belongs to the process in the terminal.
        os._exit(code)


def _result(read: int, pid: int) -> int:
    """The byte that the manager sends; Ctrl-C stops it and waits for its end."""
    while True:
        try:
            code = os.read(read, 1)
        except KeyboardInterrupt:
            os.kill(pid, signal.SIGTERM)
        else:
            return code[0] if code else 1


def _release(write: int, log: Path) -> Callable[[], None]:
    def release() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        with log.open("ab") as file, Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.write(write, b"\0")
        os.close(write)

    return release
