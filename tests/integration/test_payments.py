"""Payments whose processes are killed, really: each order is charged once, and ends well."""

from __future__ import annotations

import contextlib
import os
import signal

import psutil
import pytest
from sqlalchemy import select

from app import create_app, db, settings
from app.models import SandboxCharge
from tests.support import redis_server, wait_for
from tests.support.gateways import METHODS, Shop
from tests.support.jobs import noted
from tests.support.parts import Parts

pytestmark = pytest.mark.integration


class Sandboxed:
    """The service's own gateway, held within the worker's processes."""

    def __init__(self, directory):
        self.directory = directory
        self.env = {"PAYMENT_GATEWAY": "tests.support.gateways:Holding"}

    def held(self):
        return len(noted(self.directory, "held"))

    def let_go(self):
        (self.directory / "go").touch()

    def charged(self):
        with db.session() as session:
            rows = select(SandboxCharge.idempotency_key, SandboxCharge.transaction_id)
            return [tuple(row) for row in session.execute(rows)]


class OverHttp:
    """A gateway of another company, which notices nothing of the kill."""

    def __init__(self, shop):
        self.shop = shop
        self.env = {
            "PAYMENT_GATEWAY": "http",
            "PAYMENT_GATEWAY_URL": shop.url,
            "PAYMENT_METHODS": ",".join(METHODS),
        }

    def held(self):
        return self.shop.held

    def let_go(self):
        self.shop.go.set()

    def charged(self):
        return list(self.shop.charged)


@pytest.fixture(params=[Sandboxed, OverHttp])
def gateway(request, tmp_path):
    if request.param is Sandboxed:
        yield Sandboxed(tmp_path)
        return
    with Shop() as shop:
        yield OverHttp(shop)


@pytest.fixture
def parts(tmp_path, gateway, database):
    """Two processes and two orders, so that each is held in one."""
    with redis_server(tmp_path) as (_, url):
        env = {"CELERY_VISIBILITY_TIMEOUT": "3", "CELERY_WORKER_CONCURRENCY": "2"}
        yield Parts(tmp_path, url, {**gateway.env, **env, "DATABASE_URL": database})


@pytest.fixture
def client(parts):
    app = create_app(settings.load({"APP_ENV": "testing", **parts.env}))
    with app.app_context():
        yield app.test_client()


def asked(client):
    """The task that pays each order: one held before its charge, and one after."""
    orders = [
        {"order_id": f"A-{method}", "amount": "12.50", "payment_method": method}
        for method in METHODS
    ]
    answers = [client.post("/api/process-payment", json=order) for order in orders]
    assert [answer.status_code for answer in answers] == [202] * len(orders)
    return [answer.get_json()["task_id"] for answer in answers]


def is_paid(client, task_id):
    return client.get(f"/api/task-status/{task_id}").get_json()["state"] == "SUCCESS"


def held(client, gateway):
    """The charge that was made by now, of the order that is held after it."""
    wait_for(lambda: gateway.held() >= len(METHODS), "both are held")
    for method in METHODS:
        assert client.get(f"/api/payments/A-{method}").get_json()["status"] == "pending"
    [(order_id, transaction_id)] = gateway.charged()
    assert order_id == "A-after"
    return transaction_id


def each_is_charged_once(client, gateway, task_ids, first):
    for task_id in task_ids:
        wait_for(lambda: is_paid(client, task_id), "it is paid", 30)  # noqa: B023
    assert asked(client) == task_ids
    charged = dict(gateway.charged())
    assert len(charged) == len(gateway.charged()) == len(METHODS)
    assert charged["A-after"] == first
    for method in METHODS:
        payment = client.get(f"/api/payments/A-{method}").get_json()
        assert payment["status"] == "completed"
        assert payment["transaction_id"] == charged[f"A-{method}"]


def test_killed_pool_processes_charge_each_order_once(client, parts, gateway):
    """kill -9 before the charge, and between the charge and its note."""
    with parts.worker() as worker:
        task_ids = asked(client)
        first = held(client, gateway)
        for process in psutil.Process(worker.pid).children():
            process.kill()
        gateway.let_go()
        each_is_charged_once(client, gateway, task_ids, first)


def test_a_killed_worker_charges_each_order_once(client, parts, gateway):
    """Its process group is gone at once; another worker is given what it held."""
    with contextlib.ExitStack() as stack:
        worker = stack.enter_context(parts.worker())
        task_ids = asked(client)
        first = held(client, gateway)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        gateway.let_go()
        stack.enter_context(parts.worker(name="second"))
        each_is_charged_once(client, gateway, task_ids, first)
