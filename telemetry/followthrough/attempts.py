"""How often a task took its process down, and its last attempt's span: a small file for each task.

It is told by whoever sees the death, so it holds when a whole worker goes each time; a task whose
message goes back to the queue has one too. The number of files is bounded: the oldest go.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

LIMIT = 10_000
SUFFIX = ".json"


@dataclass(frozen=True)
class Attempts:
    """What is known of a task's attempts before; `traceparent` may be empty."""

    task_id: str
    deaths: int = 0
    traceparent: str = ""


def of(state_dir: Path, task_id: str) -> Attempts:
    """What is known of a task; raises OSError where that can't be read."""
    try:
        known = Attempts(**json.loads(_path(state_dir, task_id).read_bytes()))
    except (FileNotFoundError, TypeError, ValueError):
        return Attempts(task_id)
    return known if isinstance(known.deaths, int) else Attempts(task_id)


def note_death(state_dir: Path, task_id: str, traceparent: str = "") -> int:
    """Count a death, and keep the span of the attempt that it ended; how many it were so far."""
    deaths = of(state_dir, task_id).deaths + 1
    _write(state_dir, Attempts(task_id, deaths, traceparent))
    return deaths


def note(state_dir: Path, task_id: str, traceparent: str) -> None:
    """Keep the span of an attempt whose message goes back to its queue."""
    _write(state_dir, Attempts(task_id, of(state_dir, task_id).deaths, traceparent))


def _write(state_dir: Path, attempts: Attempts) -> None:
    path = _path(state_dir, attempts.task_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    _make_room(path.parent)
    handle, temporary = tempfile.mkstemp(".tmp", ".", path.parent)
    with os.fdopen(handle, "w") as file:
        json.dump(asdict(attempts), file)
    Path(temporary).replace(path)


def forget(state_dir: Path, task_id: str) -> None:
    """Count anew: the task has ended, or was put aside."""
    _path(state_dir, task_id).unlink(missing_ok=True)


def _path(state_dir: Path, task_id: str) -> Path:
    # An id may be any text.
    name = hashlib.sha256(task_id.encode(errors="surrogatepass")).hexdigest()[:32]
    return state_dir / "attempts" / f"{name}{SUFFIX}"


def _make_room(folder: Path) -> None:
    with os.scandir(folder) as entries:
        names = [entry.path for entry in entries]
    if len(names) < LIMIT:
        return
    for path in sorted(map(Path, names), key=_modified)[: LIMIT // 10]:
        path.unlink(missing_ok=True)


def _modified(path: Path) -> float:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0
