"""What became of all spans that the processes of a host ever recorded.

Each is counted once: produced = exported + rejected + dropped + held, also after any kill.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from . import ring
from .recorder import SUFFIX, folder


@dataclass
class Totals:
    """Numbers of spans; `dropped` by reason.

    Dropped as full or large were never kept; as interrupted, were being written by a process that
    was killed; as torn, were not what was written; as rejected, were refused by the collector.
    """

    produced: int = 0
    exported: int = 0
    held: int = 0
    dropped: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys((*ring.REASONS, "torn", "rejected"), 0)
    )
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


def totals(state_dir: Path) -> Totals:
    """The sums over all rings; one that can't be read is left out."""
    sums = Totals()
    for path in sorted(folder(state_dir).glob(f"*{SUFFIX}")):
        if account := _account(path):
            sums.add(account)
    return sums


def _account(path: Path) -> ring.Account | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return ring.account_of(fd) if ring.is_ring(fd) else None
    finally:
        os.close(fd)
