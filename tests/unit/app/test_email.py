"""One mail from the request to the mail server, and what each refusal of that server means."""

from __future__ import annotations

import smtplib
from email import message_from_bytes, policy

import pytest

from app.services import mailer
from tests.support import free_port

MAIL = {"recipient": "ada@example.com", "subject": "Grüße", "body": "Text.\nÜber zwei Zeilen.\n"}


@pytest.fixture
def eager(make_app, mail_server):
    app = make_app(
        CELERY_TASK_ALWAYS_EAGER="1", SMTP_URL=mail_server.url, MAIL_FROM="x@example.org"
    )
    return app.test_client()


def sent_and_asked(client, **changes):
    answer = client.post("/api/send-email", json={**MAIL, **changes})
    assert answer.status_code == 202, answer.get_json()
    return answer, client.get(answer.get_json()["status_url"]).get_json()


def test_the_answer_says_where_to_ask(eager):
    """202 with the members and headers that callers follow."""
    answer, _ = sent_and_asked(eager)
    document = answer.get_json()
    assert document["message"] == "Email queued for sending"
    assert document["status_url"] == f"/api/task-status/{document['task_id']}"
    assert answer.headers["Location"] == document["status_url"]


def test_eager_mode_keeps_results(eager, mail_server):
    """A task that ran in the calling process is asked for like any other."""
    answer, status = sent_and_asked(eager)
    assert status == {
        "task_id": answer.get_json()["task_id"],
        "state": "SUCCESS",
        "status": "Task completed successfully",
        "result": {"status": "success", "recipient": "ada@example.com", "subject": "Grüße"},
    }
    assert len(mail_server.mails) == 1


def test_the_mail_is_what_was_asked_for(eager, mail_server):
    answer, _ = sent_and_asked(eager)
    envelope = mail_server.mails[0]
    message = message_from_bytes(envelope.content, policy=policy.default)
    assert (envelope.mail_from, envelope.rcpt_tos) == ("x@example.org", ["ada@example.com"])
    assert (message["From"], message["To"]) == ("x@example.org", "ada@example.com")
    assert message["Subject"] == "Grüße"
    assert message.get_content().splitlines() == MAIL["body"].splitlines()
    assert message["Message-ID"] == f"<{answer.get_json()['task_id']}@example.org>"


def test_a_domain_outside_ascii_is_written_for_any_mail_server(eager, mail_server):
    """Its ASCII form needs no extension of the mail server."""
    _, status = sent_and_asked(eager, recipient="ada@bücher.example")
    assert status["state"] == "SUCCESS", status
    assert mail_server.mails[0].rcpt_tos == ["ada@xn--bcher-kva.example"]


@pytest.mark.parametrize("reply", ["550 No such user", "552 Mailbox full", "501 Bad address"])
def test_a_permanent_refusal_fails_the_task_at_once(eager, mail_server, reply):
    mail_server.refusals["ada@example.com"] = [reply]
    _, status = sent_and_asked(eager)
    assert (status["state"], status["error"]) == ("FAILURE", reply)
    assert len(mail_server.attempts) == 1


@pytest.mark.parametrize("reply", ["450 Mailbox busy", "451 Try again", "421 Closing"])
def test_a_temporary_refusal_is_tried_again(eager, mail_server, reply):
    mail_server.refusals["ada@example.com"] = [reply, reply]
    _, status = sent_and_asked(eager)
    assert status["state"] == "SUCCESS", status
    assert len(mail_server.attempts) == 3
    assert len(mail_server.mails) == 1


def test_a_refusal_that_stays_temporary_fails_in_the_end(eager, mail_server):
    mail_server.refusals["ada@example.com"] = ["450 Mailbox busy"] * 100
    _, status = sent_and_asked(eager)
    assert (status["state"], status["error"]) == ("FAILURE", "450 Mailbox busy")
    assert len(mail_server.attempts) == 9


def test_a_mail_server_that_is_down_is_tried_again(make_app):
    app = make_app(CELERY_TASK_ALWAYS_EAGER="1", SMTP_URL=f"smtp://127.0.0.1:{free_port()}")
    _, status = sent_and_asked(app.test_client())
    assert status["state"] == "FAILURE"
    assert "ConnectionRefusedError" in status["error"]


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (smtplib.SMTPServerDisconnected("gone"), mailer.UnavailableError),
        (TimeoutError("slow"), mailer.UnavailableError),
        (smtplib.SMTPAuthenticationError(535, b"bad password"), mailer.RefusedError),
        (smtplib.SMTPAuthenticationError(454, b"later"), mailer.UnavailableError),
        (smtplib.SMTPSenderRefused(553, b"no", "x@example.org"), mailer.RefusedError),
        (smtplib.SMTPSenderRefused(452, b"full", "x@example.org"), mailer.UnavailableError),
        (smtplib.SMTPDataError(554, b"spam"), mailer.RefusedError),
        (smtplib.SMTPDataError(451, b"later"), mailer.UnavailableError),
        (smtplib.SMTPNotSupportedError("SMTPUTF8"), mailer.RefusedError),
        (smtplib.SMTPHeloError(421, b"busy"), mailer.UnavailableError),
    ],
)
def test_what_smtplib_raises_is_told_apart(raised, kind):
    with pytest.raises(kind), mailer.told_apart():
        raise raised


def test_the_pause_between_tries_is_bounded():
    """The longest pause stays far below the time after which Redis redelivers."""
    from app.services.broker import VISIBILITY_TIMEOUT
    from app.tasks.email import send_email

    assert send_email.retry_backoff_max * 2 < VISIBILITY_TIMEOUT
    assert send_email.max_retries == 8


@pytest.mark.parametrize(
    "subject", ["Familie \U0001f468\u200d\U0001f469", "\u4ef6\u540d\u3000x", "100\u00a0%"]
)
def test_a_subject_may_hold_what_people_write(eager, mail_server, subject):
    """Joiners and wide or unbreakable spaces are no control characters."""
    _, status = sent_and_asked(eager, subject=subject)
    assert status["result"]["subject"] == subject
