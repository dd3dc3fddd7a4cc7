"""What became of all that the processes of a host ever recorded.

Each record is counted once: produced = exported + dropped + held, also after any kill.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from . import ring
from .places import RINGS, SPANS, folder

REASONS = (*ring.REASONS, "torn", "rejected")


@dataclass
class Totals:
    """Numbers of records; `dropped` by reason.

    Dropped as full or large were never kept; as interrupted, were being written by a process that
    was killed; as torn, were not what was written; as rejected, were refused by the collector; as
    removed, were in files that somebody has removed; as unavailable, had no ring.
    """

    produced: int = 0
    exported: int = 0
    held: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    rings: int = 0

    def add(self, account: ring.Account) -> None:
        """Count one ring."""
        self.rings += 1
        self.produced += account.produced
        self.exported += account.exported
        self.held += account.held
        told = {**account.dropped, "torn": account.torn, "rejected": account.rejected}
        for reason, number in told.items():
            self.dropped[reason] += number


def totals(state_dir: Path, what: str = SPANS) -> Totals:
    """The sums over all rings of a kind; one that can't be read is left out."""
    sums = Totals()
    for path in sorted(folder(state_dir).glob(f"*{what}")):
        if account := _account(path):
            sums.add(account)
    return sums


def by_kind(state_dir: Path) -> dict[str, Totals]:
    """The sums of spans, logs and events."""
    return {kind: totals(state_dir, what) for kind, what in RINGS.items()}


def _account(path: Path) -> ring.Account | None:
    with ring.opened(path, os.O_RDONLY) as fd:
        return None if fd is None else ring.account_of(fd)
