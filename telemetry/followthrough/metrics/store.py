"""The files this process counts in: `<state_dir>/metrics/<kind>_<slot>.db`, one set a slot."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .. import slots
from ..forks import Lock, cell
from .file import File

RETRY_AFTER = 60.0
NEVER = -1.0

logger = logging.getLogger(__name__)


class Number:
    """A number in the files of its kind, and where it is in those that are open now."""

    __slots__ = ("file", "index", "key", "kind", "lock", "opened")

    def __init__(self, kind: str, key: str) -> None:
        self.kind, self.key = kind, key
        # Set by the store, and right as long as `here` has the same.
        self.opened = NEVER
        self.lock: Any = None
        self.file: Any = None
        self.index = 0

    def inc(self, amount: float = 1.0) -> None:
        """Add to it: at once where its place is known, which nearly always is so."""
        if here[0] == self.opened:
            try:
                with self.lock:
                    self.file.numbers[self.index] += amount
                    return
            except ValueError:
                # Another thread has closed the file since.
                pass
        current.add(((self, amount),))


class Store:
    """Adds to numbers in shared files; right under threads and forks, and silent where it can't."""

    def __init__(self) -> None:
        self._directory: Path | None = None
        self._files: dict[str, File] = {}
        # Counts the times that all is opened anew. What was found of numbers holds while it is the
        # same here, where it is 0 as soon as nothing is open that may be used: in a forked child.
        self._opened = 0.0
        self.here = cell()
        self._off_until = 0.0
        self._complained = False
        self._lock = Lock()

    def use(self, directory: Path | None) -> None:
        """Count in `directory` from now on; None counts nowhere."""
        with self._lock():
            if directory != self._directory:
                self._release()
                self._directory = directory
                self._off_until = 0.0
                self._complained = False

    def add(self, amounts: Iterable[tuple[Number, float]]) -> float:
        """Add to numbers; a disk that doesn't take it turns counting off for a minute.

        Gives what `here` was if they were all found, else 0.
        """
        if self._directory is None:
            return 0.0
        lock = self._lock()
        with lock:
            try:
                opened = self.here[0] or self._release()
                for number, amount in amounts:
                    if number.opened != opened and not self._find(number, opened, lock):
                        return 0.0
                    number.file.numbers[number.index] += amount
            except OSError as error:
                self._turn_off(error)
                return 0.0
            return opened

    def get(self, number: Number) -> float:
        """What this process's slot holds; 0.0 where nothing is counted."""
        with self._lock():
            is_found = self.add(((number, 0.0),))
            return float(number.file.numbers[number.index]) if is_found else 0.0

    def _find(self, number: Number, opened: float, lock: threading.RLock) -> bool:
        """Note where a number is, made at zero if it is new; False while counting is off."""
        if self._off_until and time.monotonic() < self._off_until:
            return False
        number.file = self._files.get(number.kind) or self._open(number.kind)
        number.index = number.file.index(number.key)
        number.opened, number.lock = opened, lock
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
        self.here[0] = 0.0

    def _release(self) -> float:
        for file in self._files.values():
            file.done()
        self._files.clear()
        self._opened += 1.0
        self.here[0] = self._opened
        return self._opened

    def _turn_off(self, error: OSError) -> None:
        self._off_until = time.monotonic() + RETRY_AFTER
        self.here[0] = 0.0
        if not self._complained:
            self._complained = True
            logger.warning("metrics are off: %s", error)


current = Store()
here = current.here


def use(state_dir: Path | None) -> None:
    """Count in the files below `state_dir` from now on; None counts nowhere."""
    current.use(state_dir)
