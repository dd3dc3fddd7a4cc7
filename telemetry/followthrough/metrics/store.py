"""The files this process counts in: `<state_dir>/metrics/<kind>_<slot>.db`, one set a slot."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .. import slots
from ..forks import Lock
from .file import File

RETRY_AFTER = 60.0

logger = logging.getLogger(__name__)


class Number:
    """A number in the files of its kind, and where it is in those that are open now."""

    __slots__ = ("file", "index", "key", "kind", "opened")

    def __init__(self, kind: str, key: str) -> None:
        self.kind, self.key = kind, key
        # Set by the store, and right as long as it has the same files open.
        self.opened: object = None
        self.file: Any = None
        self.index = 0


class Store:
    """Adds to numbers in shared files; right under threads and forks, and silent where it can't."""

    def __init__(self) -> None:
        self._directory: Path | None = None
        self._files: dict[str, File] = {}
        # Stands for the files that are open: another one each time that numbers are looked up anew.
        self._opened = object()
        self._opened_under: object = None
        self._changes = 0
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

    def add(self, amounts: Iterable[tuple[Number, float]]) -> None:
        """Add to numbers; a disk that doesn't take it turns counting off for a minute."""
        if self._directory is None:
            return
        lock = self._lock.of.get(os.getpid()) or self._lock()
        with lock:
            try:
                # Each process has a lock of its own.
                if lock is not self._opened_under or self._changes != slots.held.changes:
                    self._release(lock)
                for number, amount in amounts:
                    if number.opened is self._opened or self._find(number):
                        number.file.numbers[number.index] += amount
            except OSError as error:
                self._turn_off(error)

    def get(self, number: Number) -> float:
        """What this process's slot holds; 0.0 where nothing is counted."""
        self.add(((number, 0.0),))
        with self._lock():
            return float(number.file.numbers[number.index]) if self._has(number) else 0.0

    def _has(self, number: Number) -> bool:
        return self._directory is not None and number.opened is self._opened

    def _find(self, number: Number) -> bool:
        """Note where a number is, made at zero if it is new; False while counting is off."""
        if self._off_until and time.monotonic() < self._off_until:
            return False
        number.file = self._files.get(number.kind) or self._open(number.kind)
        number.index = number.file.index(number.key)
        number.opened = self._opened
        return True

    def _open(self, kind: str) -> File:
        assert self._directory is not None  # noqa: S101  for the type checker
        number = slots.held.number(self._directory / "slots")
        folder = self._directory / "metrics"
        folder.mkdir(parents=True, exist_ok=True)
        self._files[kind] = File.at(folder / f"{kind}_{number}.db")
        return self._files[kind]

    def _release(self, lock: object) -> None:
        for file in self._files.values():
            file.done()
        self._files.clear()
        self._opened, self._opened_under, self._changes = object(), lock, slots.held.changes

    def _turn_off(self, error: OSError) -> None:
        self._off_until = time.monotonic() + RETRY_AFTER
        self._opened = object()
        if not self._complained:
            self._complained = True
            logger.warning("metrics are off: %s", error)


current = Store()


def use(state_dir: Path | None) -> None:
    """Count in the files below `state_dir` from now on; None counts nowhere."""
    current.use(state_dir)
