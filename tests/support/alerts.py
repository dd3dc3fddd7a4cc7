"""Notifiers for tests of the dispatcher, and a look at what it left in the state directory."""

from __future__ import annotations

import threading
from pathlib import Path


class Fake:
    """Takes alerts, or answers with what `answers` holds for the next calls."""

    def __init__(self, name="fake", *answers):
        self.name = name
        self.answers = list(answers)
        self.took = []
        self.tried = []

    def notify(self, alert):
        self.tried.append(alert.id)
        answer = self.answers.pop(0) if self.answers else None
        if answer:
            raise answer
        self.took.append(alert.id)


class Hanging(Fake):
    """Never answers until released."""

    def __init__(self, name):
        super().__init__(name)
        self.released = threading.Event()

    def notify(self, alert):
        super().notify(alert)
        self.released.wait(30)


def names(folder: Path):
    return sorted(path.name for path in folder.glob("*.json")) if folder.exists() else []


def left(state_dir):
    """What waits, was sent, failed, and has progress, by the number of files."""
    folder = state_dir / "alerts"
    progress = list((folder / "progress").glob("*"))
    ends = [names(folder), names(folder / "sent"), names(folder / "failed")]
    return [len(end) for end in ends] + [len(progress)]
