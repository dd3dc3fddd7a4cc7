"""Who took which alert: one marker file an alert and notifier, so a restart repeats nothing."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from . import spool

End = Literal["took", "refused"]


class Progress:
    """The state of the alerts that wait, shared by the notifiers' threads."""

    def __init__(self, state_dir: Path, names: list[str]) -> None:
        self._state_dir = state_dir
        self._folder = state_dir / "alerts" / "progress"
        self._names = names
        self._known: dict[str, dict[str, End]] = {}
        self._lock = threading.Lock()

    def waiting_for(self, name: str) -> list[Path]:
        """The alerts that notifier `name` has to deliver, oldest first."""
        with self._lock:
            return [path for path in spool.pending(self._state_dir) if self._open(path, name)]

    def settle(self, path: Path, name: str, end: End) -> None:
        """Note that `name` took or refused an alert; the last of all ends its wait."""
        with self._lock:
            self._ends(path)[name] = end
            # On a full disk memory alone keeps an alert from being sent over and over.
            with contextlib.suppress(OSError):
                self._marker(path, name, end)
            self._close_if_settled(path)

    def fail(self, path: Path) -> None:
        """Set an alert aside that nobody can deliver."""
        with self._lock:
            self._close(path, "failed")

    def prune(self) -> None:
        """Remove what earlier runs left behind."""
        with self._lock:
            spool.prune(self._state_dir)
            waiting = {path.stem for path in spool.pending(self._state_dir)}
            for left in self._folder.glob("*"):
                if left.name not in waiting:
                    shutil.rmtree(left, ignore_errors=True)

    def _open(self, path: Path, name: str) -> bool:
        if spool.done(path):
            # Reported again after its end: the same alert, sent once.
            path.unlink(missing_ok=True)
            self._forget(path)
            return False
        return not self._close_if_settled(path) and name not in self._ends(path)

    def _close_if_settled(self, path: Path) -> bool:
        ends = self._ends(path)
        if not all(name in ends for name in self._names):
            return False
        self._close(path, "failed" if "refused" in ends.values() else "sent")
        return True

    def _close(self, path: Path, end: str) -> None:
        spool.finish(path, end)
        self._forget(path)

    def _forget(self, path: Path) -> None:
        self._known.pop(path.stem, None)
        shutil.rmtree(self._folder / path.stem, ignore_errors=True)

    def _marker(self, path: Path, name: str, end: End) -> None:
        folder = self._folder / path.stem
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.{end}").touch()

    def _ends(self, path: Path) -> dict[str, End]:
        if path.stem not in self._known:
            self._known[path.stem] = self._read(path)
        return self._known[path.stem]

    def _read(self, path: Path) -> dict[str, End]:
        kinds: tuple[End, ...] = ("took", "refused")
        exists: Callable[[str], bool] = lambda marker: (self._folder / path.stem / marker).exists()  # noqa: E731
        return {n: end for n in self._names for end in kinds if exists(f"{n}.{end}")}
