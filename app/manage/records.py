"""What a manager leaves in the run directory, so that another command can tell what runs."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from app.manage.processes import is_same

MANAGER = "manager"


@dataclass(frozen=True)
class Record:
    """One process as its pid file tells it; `since` is in Unix seconds."""

    name: str
    pid: int
    started: str | None
    state: str
    since: float
    restarts: int = 0

    @property
    def alive(self) -> bool:
        return is_same(self.pid, self.started)


class RunDirectory:
    """The pid files of one state directory: the pid on the first line, the rest on the second."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    def acquire(self) -> bool:
        """Become the manager of this directory; False if another process is."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = (self.path / "manager.lock").open("a")
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return False
        self._lock = lock
        return True

    def release(self) -> None:
        """Be the manager no longer."""
        if self._lock:
            self._lock.close()
        self._lock = None

    def write(self, record: Record) -> None:
        fields = dataclasses.asdict(record)
        pid = fields.pop("pid")
        replace(self._file(record.name), f"{pid}\n{json.dumps(fields)}\n")

    def read(self, name: str) -> Record | None:
        """The record of `name`; None if there is none or it can't be read."""
        try:
            pid, fields = self._file(name).read_text().splitlines()
            return Record(pid=int(pid), **json.loads(fields))
        except (OSError, ValueError, TypeError):
            return None

    def remove(self, name: str) -> None:
        self._file(name).unlink(missing_ok=True)

    def ready_file(self, name: str) -> Path:
        return self.path / f"{name}.ready"

    def services(self) -> list[Record]:
        """The records of the services that still run, with or without their manager."""
        names = sorted(path.stem for path in self.path.glob("*.pid"))
        records = [self.read(name) for name in names if name != MANAGER]
        return [record for record in records if record is not None and record.alive]

    def manager(self) -> Record | None:
        """The record of the manager that runs here."""
        record = self.read(MANAGER)
        return record if record is not None and record.alive else None

    def request_restart(self, names: list[str]) -> None:
        """Leave a note which services the manager shall restart."""
        replace(self.path / f"restart.{os.getpid()}", "\n".join(names))

    def take_requests(self) -> list[str]:
        """The names in all notes, which are removed."""
        names: list[str] = []
        for note in sorted(self.path.glob("restart.*")):
            with contextlib.suppress(OSError):
                names += note.read_text().split()
                note.unlink()
        return names

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.pid"


def replace(path: Path, text: str) -> None:
    """Write `path` so that a reader sees the old text or the new one, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)
