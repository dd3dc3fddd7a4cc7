"""The files this process counts in: `<state_dir>/metrics/<kind>_<slot>.db`, one set a slot."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path

from .. import slots
from ..forks import Lock
from .file import File

RETRY_AFTER = 60.0

logger = logging.getLogger(__name__)


class Store:
    """Adds to numbers in shared files; right under threads and forks, and silent where it can't."""

    def __init__(self) -> None:
        self._directory: Path | None = None
        self._files: dict[str, File] = {}
        self._pid = self._changes = 0
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

    def add(self, kind: str, key: str, amount: float) -> None:
        """Add to a number; a disk that doesn't take it turns counting off for a minute."""
        self.add_all(((kind, key, amount),))

    def add_all(self, amounts: Iterable[tuple[str, str, float]]) -> None:
        """Add to several numbers, each a kind, a key and an amount."""
        if self._directory is None:
            return
        with self._lock():
            try:
                for kind, key, amount in amounts:
                    if (file := self._file(kind)) is not None:
                        file.add(key, amount)
            except OSError as error:
                self._turn_off(error)

    def get(self, kind: str, key: str) -> float:
        """What this process's slot holds; 0.0 where nothing is counted."""
        with self._lock():
            file = self._file(kind) if self._directory else None
            return 0.0 if file is None else file.value(key)

    def _file(self, kind: str) -> File | None:
        if self._pid != os.getpid() or self._changes != slots.held.changes:
            self._release()
        if self._off_until and time.monotonic() < self._off_until:
            return None
        return self._files.get(kind) or self._open(kind)

    def _open(self, kind: str) -> File:
        assert self._directory is not None  # noqa: S101  for the type checker
        number = slots.held.number(self._directory / "slots")
        folder = self._directory / "metrics"
        folder.mkdir(parents=True, exist_ok=True)
        self._files[kind] = File.at(folder / f"{kind}_{number}.db")
        return self._files[kind]

    def _release(self) -> None:
        for file in self._files.values():
            file.done()
        self._files.clear()
        self._pid, self._changes = os.getpid(), slots.held.changes

    def _turn_off(self, error: OSError) -> None:
        self._off_until = time.monotonic() + RETRY_AFTER
        if not self._complained:
            self._complained = True
            logger.warning("metrics are off: %s", error)


current = Store()


def use(state_dir: Path | None) -> None:
    """Count in the files below `state_dir` from now on; None counts nowhere."""
    current.use(state_dir)
