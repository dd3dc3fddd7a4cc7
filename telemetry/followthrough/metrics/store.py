"""The files this process counts in: `<state_dir>/metrics/<kind>_<slot>.db`, one set a slot."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from os import getpid
from pathlib import Path
from typing import Any

from .. import slots
from ..forks import Lock
from .file import File

RETRY_AFTER = 60.0

logger = logging.getLogger(__name__)


class Opened:
    """Stands for the files that are open: another one each time that places are looked up anew.

    They are `pid`'s to write, under `lock`, as long as the store has this one.
    """

    __slots__ = ("lock", "pid")

    def __init__(self, pid: int, lock: threading.RLock) -> None:
        self.pid, self.lock = pid, lock


# No process's, so that what is to be added to a number is the store's to do.
NONE = Opened(0, threading.RLock())


class Number:
    """A number in the files of its kind, and where it is in those that are open now."""

    __slots__ = ("file", "index", "key", "kind", "opened")

    def __init__(self, kind: str, key: str) -> None:
        self.kind, self.key = kind, key
        # Set by the store, and right as long as it has the same files open.
        self.opened = NONE
        self.file: Any = None
        self.index = 0

    def inc(self, amount: float = 1.0) -> None:
        """Add to it: at once where its place is known, which nearly always is so."""
        opened = self.opened
        if opened.pid == getpid():
            with opened.lock:
                if opened is current.opened:
                    self.file.numbers[self.index] += amount
                    return
        current.add(((self, amount),))


class Store:
    """Adds to numbers in shared files; right under threads and forks, and silent where it can't."""

    def __init__(self) -> None:
        self._directory: Path | None = None
        self._files: dict[str, File] = {}
        self.opened = NONE
        self._off_until = 0.0
        self._complained = False
        self._lock = Lock()

    def use(self, directory: Path | None) -> None:
        """Count in `directory` from now on; None counts nowhere."""
        lock = self._lock()
        with lock:
            if directory != self._directory:
                self._release(lock)
                self._directory = directory
                self._off_until = 0.0
                self._complained = False

    def add(self, amounts: Iterable[tuple[Number, float]]) -> Opened | None:
        """Add to numbers; a disk that doesn't take it turns counting off for a minute.

        Gives what they are found in, None where one of them isn't.
        """
        if self._directory is None:
            return None
        lock = self._lock()
        with lock:
            try:
                opened = self._ready(lock)
                for number, amount in amounts:
                    if number.opened is not opened and not self._find(number, opened):
                        return None
                    number.file.numbers[number.index] += amount
            except OSError as error:
                self._turn_off(error)
                return None
            return opened

    def get(self, number: Number) -> float:
        """What this process's slot holds; 0.0 where nothing is counted."""
        with self._lock():
            is_found = self.add(((number, 0.0),)) is not None
            return float(number.file.numbers[number.index]) if is_found else 0.0

    def _ready(self, lock: threading.RLock) -> Opened:
        """What is open: nothing yet where that was another process's, or isn't to be used now."""
        opened = self.opened
        # Each process has a lock of its own.
        return opened if opened.lock is lock else self._release(lock)

    def _find(self, number: Number, opened: Opened) -> bool:
        """Note where a number is, made at zero if it is new; False while counting is off."""
        if self._off_until and time.monotonic() < self._off_until:
            return False
        number.file = self._files.get(number.kind) or self._open(number.kind)
        number.index = number.file.index(number.key)
        number.opened = opened
        return True

    def _open(self, kind: str) -> File:
        assert self._directory is not None  # noqa: S101  for the type checker
        # What is kept under a slot's number begins anew once the slot was let go.
        slots.held.on_let_go = self._forget
        number = slots.held.number(self._directory / "slots")
        folder = self._directory / "metrics"
        folder.mkdir(parents=True, exist_ok=True)
        self._files[kind] = File.at(folder / f"{kind}_{number}.db")
        return self._files[kind]

    def _forget(self) -> None:
        # One step and no lock: whoever lets a slot go holds one that `_open` waits for.
        self.opened = NONE

    def _release(self, lock: threading.RLock) -> Opened:
        for file in self._files.values():
            file.done()
        self._files.clear()
        opened = self.opened = Opened(getpid(), lock)
        return opened

    def _turn_off(self, error: OSError) -> None:
        self._off_until = time.monotonic() + RETRY_AFTER
        self.opened = NONE
        if not self._complained:
            self._complained = True
            logger.warning("metrics are off: %s", error)


current = Store()


def use(state_dir: Path | None) -> None:
    """Count in the files below `state_dir` from now on; None counts nowhere."""
    current.use(state_dir)
