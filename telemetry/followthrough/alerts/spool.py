"""The spool: one file an alert under `<state_dir>/alerts/`, written where the task failed.

Files wait in the folder itself, go to `sent/` when every notifier took them and to `failed/` when
one refused; moving a file from there back into the folder sends it again.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

from .. import disk
from .alert import Alert, to_json

LIMIT = 10_000
# A look at a full spool takes milliseconds, and a storm of failures must not pay them each time.
LOOK_EVERY = 1.0
SENT_MAX_AGE = 86_400.0
TEMPORARY_MAX_AGE = 3_600.0


class _Look:
    """How many alerts waited in a folder at the last look, and what was written since."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.until = time.monotonic() + LOOK_EVERY
        self.waiting = len(_waiting(folder))

    def holds(self, folder: Path) -> bool:
        return folder == self.folder and time.monotonic() < self.until


class _Last:
    look: _Look | None = None


def write(state_dir: Path, alert: Alert) -> bool:
    """Keep `alert` for delivery, on the disk when this returns; False if the spool is full.

    The same task id and outcome twice is one file. Other processes' alerts are counted once a
    second, so the limit may be passed by what they write in one. Raises OSError if the file can't
    be written.
    """
    folder = state_dir / "alerts"
    path = folder / f"{alert.id}.json"
    if path.exists():
        return True
    folder.mkdir(parents=True, exist_ok=True)
    look = _look(folder)
    if look.waiting >= LIMIT:
        return False
    disk.write(path, to_json(alert))
    _sync(folder)
    look.waiting += 1
    return True


def _look(folder: Path) -> _Look:
    look = _Last.look
    if look is None or not look.holds(folder):
        look = _Last.look = _Look(folder)
    return look


def pending(state_dir: Path) -> list[Path]:
    """The files of the alerts that wait, oldest first."""
    dated = []
    for entry in _waiting(state_dir / "alerts"):
        with contextlib.suppress(FileNotFoundError):
            dated.append((entry.stat().st_mtime_ns, entry.path))
    return [Path(path) for _, path in sorted(dated)]


def done(path: Path) -> bool:
    """Whether the alert that waits at `path` was sent or refused before."""
    return any((path.parent / end / path.name).exists() for end in ("sent", "failed"))


def finish(path: Path, end: str) -> None:
    """Move a waiting file to `end`: "sent" or "failed"."""
    target = path.parent / end
    target.mkdir(exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.replace(target / path.name)
        # The age that prune() goes by is the time since the end.
        os.utime(target / path.name)


def prune(state_dir: Path) -> None:
    """Remove what is no longer needed: old sent alerts, too many ended ones, abandoned writes."""
    folder = state_dir / "alerts"
    _remove_old(folder.glob(".*.tmp"), TEMPORARY_MAX_AGE)
    _remove_old((folder / "sent").glob("*.json"), SENT_MAX_AGE)
    for end in ("sent", "failed"):
        dated = sorted((folder / end).glob("*.json"), key=_modified, reverse=True)
        for path in dated[LIMIT:]:
            path.unlink(missing_ok=True)


def _waiting(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if _is_alert(entry.name)]
    except FileNotFoundError:
        return []


def _is_alert(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_old(paths: Iterable[Path], age: float) -> None:
    limit = time.time() - age
    for path in paths:
        if _modified(path) < limit:
            path.unlink(missing_ok=True)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
