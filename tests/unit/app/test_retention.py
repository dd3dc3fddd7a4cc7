"""What was kept is deleted after its time, and not before."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from app import db, registry
from app.models import Payment, SandboxCharge, WebhookDelivery
from app.services import deliveries, files
from app.services.webhooks import Webhook
from app.tasks.upkeep import forget_expired
from tests.support.payments import charges, paid


@pytest.fixture
def ages(eager_app):
    """One moment just before the grace is over, and one just after."""
    grace, now = registry.grace(), datetime.now(UTC)
    return now - grace + timedelta(minutes=1), now - grace - timedelta(minutes=1)


def written(path, moment):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (moment.timestamp(),) * 2)


def test_an_upload_that_nobody_imported_is_deleted(eager_app, ages):
    folder = eager_app.extensions["settings"].import_dir
    for name, moment in zip(("young", "old"), ages, strict=True):
        written(folder / "uploads" / f"{name}.csv", moment)
    written(folder / "of-the-operator.csv", ages[1])
    forget_expired.apply().get()
    kept = {path.name for path in folder.rglob("*") if path.is_file()}
    assert kept == {"young.csv", "of-the-operator.csv"}


def test_a_link_leads_to_nothing_that_is_deleted(tmp_path, ages):
    written(tmp_path / "other" / "file", ages[1])
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "other")
    files.forget(tmp_path / "folder", ages[0])
    assert (tmp_path / "other" / "file").exists()


def test_a_webhook_s_row_is_deleted_after_its_last_try(eager_app, ages):
    for name, moment in zip(("young", "old"), ages, strict=True):
        deliveries.begin(Webhook(name, "http://127.0.0.1/", {}, None))
        with db.session() as session:
            row = update(WebhookDelivery).where(WebhookDelivery.task_id == name)
            session.execute(row.values(updated_at=moment, created_at=ages[1]))
    forget_expired.apply().get()
    with db.session() as session:
        assert session.scalars(select(WebhookDelivery.task_id)).all() == ["young"]


def test_a_charge_is_deleted_when_no_payment_will_ask_for_it(eager, ages):
    """An order that may be sent again is not charged again; the payments are kept."""
    for name in ("young", "old", "failed"):
        paid(eager, order_id=name)
    with db.session() as session:
        old = SandboxCharge.idempotency_key != "young"
        session.execute(update(SandboxCharge).where(old).values(created_at=ages[1]))
        failed = update(Payment).where(Payment.order_id == "failed")
        session.execute(failed.values(status="failed", transaction_id=None))
    forget_expired.apply().get()
    assert set(charges()) == {"young", "failed"}
    with db.session() as session:
        assert len(session.scalars(select(Payment)).all()) == 3
