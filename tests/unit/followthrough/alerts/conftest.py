from __future__ import annotations

import itertools

import pytest

from followthrough.alerts import spool
from followthrough.alerts.alert import new_alert


@pytest.fixture
def make_alert():
    """Makes alerts of different tasks; keyword arguments replace members."""
    numbers = itertools.count(1)

    def make(**members):
        task_id = f"id-{next(numbers)}"
        defaults = {
            "task": "tasks.pay",
            "task_id": task_id,
            "outcome": "failure",
            "error_type": "ValueError",
            "message": "no money",
            "timestamp": 1_795_000_000.5,
        }
        return new_alert(**{**defaults, **members})

    return make


@pytest.fixture
def write(tmp_path, make_alert):
    """Spools an alert and returns its id."""

    def write(**members):
        alert = make_alert(**members)
        assert spool.write(tmp_path, alert)
        return alert.id

    return write
