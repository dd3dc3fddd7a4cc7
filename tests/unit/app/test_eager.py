"""Tasks that run at once, as people write their own tests of the service."""

from __future__ import annotations

import pytest

from app import create_app
from app.celery import make_celery
from app.tasks.email import send_email
from app.tasks.payments import process_payment

MAIL = {"recipient": "test@example.com", "subject": "Test", "body": "Text."}


@pytest.fixture
def app(tmp_path, monkeypatch, mail_server):
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("SMTP_URL", mail_server.url)
    # Nobody is there, also while the service runs on this machine.
    monkeypatch.setenv("SERVICE_URL", "http://127.0.0.1:1")
    app = create_app("testing")
    app.config["CELERY_TASK_ALWAYS_EAGER"] = True
    app.config["CELERY_TASK_EAGER_PROPAGATES"] = True
    return app


@pytest.fixture
def celery(app):
    return make_celery(app)


@pytest.fixture
def client(app, celery):
    return app.test_client()


def test_a_task_is_applied(app, celery, mail_server):
    with app.app_context():
        result = send_email.apply(args=["test@example.com", "Test", "Text."])
    assert result.successful()
    assert result.result["status"] == "success"
    assert [mail.rcpt_tos for mail in mail_server.mails] == [["test@example.com"]]


def test_a_delayed_task_has_run(celery):
    assert send_email.delay(*MAIL.values()).get()["recipient"] == "test@example.com"


def test_a_posted_task_has_ended_when_it_is_asked_for(client):
    answer = client.post("/api/send-email", json=MAIL)
    assert answer.status_code == 202
    task_id = answer.get_json()["task_id"]
    status = client.get(f"/api/task-status/{task_id}").get_json()
    assert status["state"] == "SUCCESS"
    assert status["result"]["status"] == "success"


def test_an_error_reaches_the_test(celery):
    with pytest.raises(Exception, match="declined"):
        process_payment.apply(args=["A-1", "12.50", "declined"])


def test_a_posted_task_that_failed_says_so(client):
    """The answer is what it would be with a worker, also where errors reach the caller."""
    order = {"order_id": "A-1", "amount": "12.50", "payment_method": "declined"}
    answer = client.post("/api/process-payment", json=order)
    assert answer.status_code == 202
    status = client.get(answer.get_json()["status_url"]).get_json()
    assert (status["state"], status["error"]) == ("FAILURE", "The card was declined.")


def test_a_task_that_is_tried_again_ends_well(client):
    order = {"order_id": "A-2", "amount": "1", "payment_method": "error_then_success"}
    answer = client.post("/api/process-payment", json=order)
    status = client.get(answer.get_json()["status_url"]).get_json()
    assert status["state"] == "SUCCESS", status


def test_errors_can_be_kept_in_the_result(app):
    app.config["CELERY_TASK_EAGER_PROPAGATES"] = False
    make_celery(app)
    result = process_payment.apply(args=["A-1", "12.50", "declined"])
    assert result.failed()
    assert "declined" in str(result.result)


def test_a_broker_that_is_named_is_used(monkeypatch):
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    conf = create_app("testing", role="client").extensions["celery"].conf
    assert conf.broker_url == conf.result_backend == "redis://127.0.0.1:1/0"


def test_a_workflow_has_ended_when_it_is_asked_for(client):
    """Also one whose sources fail, and where errors reach the caller."""
    for path, body in (("single/1", None), ("parallel", {"source_ids": [1, 2]})):
        answer = client.post(f"/api/etl/{path}", json=body)
        status = client.get(answer.get_json()["status_url"]).get_json()
        assert status["state"] == "SUCCESS", status
    answer = client.post("/api/etl/single/3")
    status = client.get(answer.get_json()["status_url"]).get_json()
    assert status["state"] == "FAILURE", status
