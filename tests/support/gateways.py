"""A payment gateway for workers that a test kills, named by `tests.support.gateways:Holding`."""

from __future__ import annotations

import os
from pathlib import Path

from app.services.payments.sandbox import Sandbox
from tests.support import wait_for
from tests.support.jobs import note


class Holding(Sandbox):
    """Charges, notes its process, and gives its answer once the file `go` is there."""

    def __init__(self, settings):
        self.directory = Path(settings.state_dir).parent

    def charge(self, terms):
        transaction_id = super().charge(terms)
        note(str(self.directory), "held", os.getpid())
        wait_for((self.directory / "go").exists, "the test lets go", 60)
        return transaction_id
