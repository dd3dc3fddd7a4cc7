"""A payment whose process is killed after the charge and before the service has noted it."""

from __future__ import annotations

import os
import signal

import pytest
from sqlalchemy import select

from app import create_app, db, settings
from app.models import SandboxCharge
from tests.support import redis_server, wait_for
from tests.support.jobs import noted
from tests.support.parts import Parts

pytestmark = pytest.mark.integration

ORDER = {"order_id": "A-1", "amount": "12.50", "payment_method": "success"}


def charges():
    with db.session() as session:
        return session.execute(select(SandboxCharge.transaction_id)).scalars().all()


def held(directory, count):
    pids = wait_for(lambda: len(p := noted(directory, "held")) >= count and p, "it is charged")
    return int(pids[-1])


def test_a_process_killed_between_charge_and_note_charges_once(tmp_path):
    """kill -9: the order ends completed, with the transaction of the first charge."""
    with redis_server(tmp_path) as (_, url):
        parts = Parts(tmp_path, url, {"PAYMENT_GATEWAY": "tests.support.gateways:Holding"})
        app = create_app(settings.load({"APP_ENV": "testing", **parts.env}))
        client = app.test_client()
        with app.app_context(), parts.worker("-c", "1"):
            task_id = client.post("/api/process-payment", json=ORDER).get_json()["task_id"]
            pid = held(tmp_path, 1)
            (first,) = charges()
            assert client.get("/api/payments/A-1").get_json()["status"] == "pending"
            os.kill(pid, signal.SIGKILL)
            held(tmp_path, 2)
            again = client.post("/api/process-payment", json=ORDER).get_json()["task_id"]
            (tmp_path / "go").touch()
            result = app.extensions["celery"].AsyncResult(task_id).get(timeout=10)
            assert again == task_id
            assert charges() == [first] == [result["transaction_id"]]
            assert client.get("/api/payments/A-1").get_json()["status"] == "completed"
