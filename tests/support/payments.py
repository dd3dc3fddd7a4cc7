"""An order, sent to a client of the service, and what came of it."""

from __future__ import annotations

from sqlalchemy import select

from app import db
from app.models import SandboxCharge

ORDER = {"order_id": "A-1", "amount": "12.50", "payment_method": "success"}
URL = "/api/process-payment"


def paid(client, **changes):
    """The answer, the task's status and the payment."""
    order = {**ORDER, **changes}
    answer = client.post(URL, json=order)
    assert answer.status_code == 202, answer.get_json()
    status = client.get(answer.get_json()["status_url"]).get_json()
    return answer.get_json(), status, client.get(f"/api/payments/{order['order_id']}").get_json()


def charges():
    with db.session() as session:
        return session.scalars(select(SandboxCharge.idempotency_key)).all()


def fields(response, status=400):
    document = response.get_json()
    assert response.status_code == status, document
    assert response.mimetype == "application/problem+json"
    return [each["field"] for each in document["errors"]]
