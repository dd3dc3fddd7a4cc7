"""One mail from the request to the mail server, and what each refusal of that server means."""

from __future__ import annotations

import os
import smtplib
import threading
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from app import db
from app.models import SentMail, TaskRecord
from app.services import attachments, locks, mailer, outbox
from app.tasks.email import send_email
from tests.support import free_port, wait_for

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
    """A worker holds the message no longer than Redis leaves it to one."""
    from app import queues
    from app.tasks.email import send_email

    assert send_email.retry_backoff_max * 2 < queues.LONGEST_WAIT
    assert send_email.max_retries == 8


@pytest.mark.parametrize(
    "subject", ["Familie \U0001f468\u200d\U0001f469", "\u4ef6\u540d\u3000x", "100\u00a0%"]
)
def test_a_subject_may_hold_what_people_write(eager, mail_server, subject):
    """Joiners and wide or unbreakable spaces are no control characters."""
    _, status = sent_and_asked(eager, subject=subject)
    assert status["result"]["subject"] == subject


def written(client, name, content=b"x"):
    """A file among those of the service; gives its reference."""
    path = client.application.extensions["settings"].files_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return name


def received(mail_server):
    (envelope,) = mail_server.mails
    return message_from_bytes(envelope.content, policy=policy.default)


# HTML


def test_a_mail_may_have_an_html_part_beside_its_text(eager, mail_server):
    _, status = sent_and_asked(eager, html="<p>Grüße</p>")
    assert status["state"] == "SUCCESS", status
    message = received(mail_server)
    assert message.get_content_type() == "multipart/alternative"
    assert message.get_body(["plain"]).get_content().splitlines() == MAIL["body"].splitlines()
    assert message.get_body(["html"]).get_content().strip() == "<p>Grüße</p>"


def test_a_mail_without_text_is_html_alone():
    """A part without text would be what some readers show."""
    message = mailer._message(mailer.Mail("a@example.com", "s", "", "id", "<p>x</p>"), "b@c.de")
    assert message.get_content_type() == "text/html"


def test_a_sender_may_have_a_name(make_app, mail_server):
    app = make_app(
        CELERY_TASK_ALWAYS_EAGER="1", SMTP_URL=mail_server.url, MAIL_FROM="The Shop <s@example.org>"
    )
    answer, _ = sent_and_asked(app.test_client())
    message = received(mail_server)
    assert message["From"] == "The Shop <s@example.org>"
    assert message["Message-ID"] == f"<{answer.get_json()['task_id']}@example.org>"
    assert mail_server.mails[0].mail_from == "s@example.org"


@pytest.mark.parametrize(
    "sender",
    ["nobody", "a@", "@b.de", "a b@c.de", "a@b@c.de", "a@b.de, c@d.de", "Shop <>", "a@b\nX: y"],
)
def test_a_sender_that_is_no_address_is_told_at_the_start(make_app, sender):
    with pytest.raises(Exception, match=r"MAIL_FROM: .* is no mail address"):
        make_app(MAIL_FROM=sender)


# Attachments


def test_a_mail_brings_its_attachments(eager, mail_server):
    """With their name and the type that it stands for, beside text and HTML."""
    names = ["reports/täglich.pdf", "rows.csv", "photo.png", "packed.csv.gz", "mail.eml", "unknown"]
    wanted = [written(eager, name, name.encode()) for name in names]
    _, status = sent_and_asked(eager, html="<p>x</p>", attachments=wanted)
    assert status["state"] == "SUCCESS", status
    message = received(mail_server)
    parts = list(message.iter_attachments())
    assert [part.get_filename() for part in parts] == [name.split("/")[-1] for name in names]
    assert [part.get_payload(decode=True) for part in parts] == [name.encode() for name in names]
    assert [part.get_content_type() for part in parts] == [
        "application/pdf",
        "text/csv",
        "image/png",
        *["application/octet-stream"] * 3,
    ]
    assert message.get_body(["html"]).get_content().strip() == "<p>x</p>"


def nothing_was_published(app):
    with app.app_context(), db.session() as session:
        return session.scalar(select(func.count()).select_from(TaskRecord)) == 0


def refused(client, **fields):
    """The fields that are named; nothing is published."""
    answer = client.post("/api/send-email", json={**MAIL, **fields})
    assert answer.status_code == 400, answer.get_json()
    assert nothing_was_published(client.application)
    return [each["field"] for each in answer.get_json()["errors"]]


@pytest.mark.parametrize(
    "reference",
    [
        "missing.pdf",
        "reports",
        "../secret",
        "reports/../a.pdf",
        "reports/link.pdf",
        "/etc/passwd",
        "a\0b",
        "x" * 1024,
        "x" * 1025,
        "",
        ".",
        5,
        None,
        ["a.pdf"],
    ],
)
def test_an_attachment_that_is_no_file_of_the_service_is_named(eager, reference):
    written(eager, "a.pdf")
    written(eager, "reports/b.pdf")
    folder = eager.application.extensions["settings"].files_dir
    (folder.parent / "secret").write_text("x")
    (folder / "reports/link.pdf").symlink_to(folder.parent / "secret")
    assert refused(eager, attachments=["a.pdf", reference]) == ["attachments.1"]


def test_an_absolute_path_is_refused_also_of_a_file_of_the_service(eager):
    name = written(eager, "a.pdf")
    folder = eager.application.extensions["settings"].files_dir
    assert refused(eager, attachments=[str(folder.resolve() / name)]) == ["attachments.0"]


@pytest.mark.parametrize("value", ["a.pdf", 5, None, {"0": "a.pdf"}, ["a.pdf"] * 11])
def test_attachments_that_are_no_short_list_are_refused(eager, value):
    written(eager, "a.pdf")
    assert refused(eager, attachments=value) == ["attachments"]


@pytest.mark.parametrize("value", [5, "", " \n", ["<p>"], True])
def test_html_that_is_no_text_is_refused(eager, value):
    assert refused(eager, html=value) == ["html"]


def test_attachments_have_a_size_in_all(eager, monkeypatch):
    monkeypatch.setattr(attachments, "LARGEST", 3)
    names = [written(eager, "a", b"12"), written(eager, "b", b"34")]
    assert refused(eager, attachments=names) == ["attachments"]
    assert sent_and_asked(eager, attachments=names[:1])[1]["state"] == "SUCCESS"


def test_an_attachment_that_is_gone_fails_the_task(eager, mail_server):
    with eager.application.app_context():
        ended = send_email.apply(args=("a@example.com", "s", "b"), kwargs={"attachments": ["gone"]})
    assert str(ended.result) == "attachments.0: Names no file there."
    assert ended.state == "FAILURE"
    assert mail_server.attempts == []


# Once


@pytest.fixture
def inside(eager):
    with eager.application.app_context():
        yield eager.application


def run(task_id, recipient="ada@example.com", **more):
    return send_email.apply(args=(recipient, "Hello", "Text."), kwargs=more, task_id=task_id)


def test_a_task_that_comes_twice_sends_once(inside, mail_server):
    results = [run("one").get(), run("one").get()]
    assert (
        results == [{"status": "success", "recipient": "ada@example.com", "subject": "Hello"}] * 2
    )
    assert len(mail_server.mails) == 1


def test_a_mail_that_was_sent_needs_its_attachments_no_more(inside, mail_server):
    with db.session() as session:
        now = datetime.now(UTC)
        session.add(SentMail(message_id="one", task_id="one", recipient="a", sent_at=now))
    assert run("one", attachments=["gone"]).state == "SUCCESS"
    assert mail_server.mails == []


def test_two_tasks_send_two_mails_of_the_same_words(inside, mail_server):
    run("one")
    run("two")
    assert len(mail_server.mails) == 2


def test_a_sender_may_give_the_id_of_its_mail(inside, mail_server):
    """So that two tasks that stand for one mail send it once."""
    run("one", message_id="digest-2026-48-ada")
    run("two", message_id="digest-2026-48-ada")
    assert received(mail_server)["Message-ID"] == "<digest-2026-48-ada@example.org>"


def test_what_the_server_refused_is_not_noted_as_sent(inside, mail_server):
    mail_server.refusals["ada@example.com"] = ["550 No such user"]
    assert run("one").state == "FAILURE"
    assert run("one").state == "SUCCESS"
    assert len(mail_server.mails) == 1


def away(*_args, **_options):
    raise OperationalError("", {}, Exception("away"))


def test_without_the_database_nothing_is_sent(inside, mail_server, monkeypatch):
    """Nobody could say whether the mail is out already."""
    monkeypatch.setattr(outbox, "_was_sent", away)
    ended = run("one")
    assert (ended.state, str(ended.result)) == ("FAILURE", "The database does not answer.")
    assert mail_server.mails == []


def test_a_mail_that_can_t_be_noted_is_not_sent_again(inside, mail_server, monkeypatch):
    """The database went away while the mail was sent."""
    monkeypatch.setattr(db, "insert_new", away)
    assert run("one").state == "SUCCESS"
    assert len(mail_server.mails) == 1


def test_notes_of_sent_mails_are_deleted_after_their_time(inside):
    run("one")
    for moment, left in ((-timedelta(minutes=1), 1), (timedelta(minutes=1), 0)):
        outbox.forget(datetime.now(UTC) + moment)
        with db.session() as session:
            assert session.scalar(select(func.count()).select_from(SentMail)) == left


# One at a time


def test_names_stand_for_places_that_a_lock_can_have():
    places = {locks.number(str(n)) for n in range(1000)}
    assert len(places) == 1000
    assert all(0 <= place < 2**62 for place in places)


def test_a_lock_is_held_by_one_process_and_let_go_when_it_dies(inside):
    """Another name is free meanwhile."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with locks.held("one"):
            os.write(write, b"x")
            threading.Event().wait(30)
        os._exit(0)
    os.read(read, 1)
    entered = []

    def enter():
        with inside.app_context(), locks.held("two"):
            entered.append("two")
        with inside.app_context(), locks.held("one"):
            entered.append("one")

    waiting = threading.Thread(target=enter)
    waiting.start()
    wait_for(lambda: entered == ["two"], "the other name is free")
    waiting.join(0.2)
    assert entered == ["two"]
    os.kill(child, 9)
    os.waitpid(child, 0)
    waiting.join(10)
    assert entered == ["two", "one"]
    os.close(read)
    os.close(write)
