"""A mail to many: who gets it, in what portions, and that each gets it once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from celery.exceptions import Retry
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from app import db, registry
from app.models import BulkMail, BulkMailRecipient, Subscriber, TaskRecord
from app.services import bulkmail, subscribers
from app.services.breaker import UnreachableError
from app.services.bulkmail import Mailing, Recipient
from app.services.failures import JobFailedError
from app.tasks import email as tasks

URL = "/api/send-bulk-emails"
TWO = ["ada@example.com", "grace@example.com"]


@pytest.fixture
def app(make_app, mail_server):
    app = make_app(CELERY_TASK_ALWAYS_EAGER="true", SMTP_URL=mail_server.url)
    with app.app_context():
        yield app


@pytest.fixture
def client(app):
    return app.test_client()


def ended(client, answer):
    assert answer.status_code == 202, answer.get_json()
    return client.get(answer.get_json()["status_url"]).get_json()


def recipients_of(mail_server):
    return [envelope.rcpt_tos[0] for envelope in mail_server.mails]


def rows(table):
    with db.session() as session:
        return session.scalar(select(func.count()).select_from(table))


def addresses(number):
    return [f"person{n}@example.com" for n in range(number)]


def test_each_recipient_gets_one_mail(client, mail_server):
    answer = client.post(URL, json={"recipients": TWO, "subject": "News", "body": "Text."})
    status = ended(client, answer)
    assert answer.get_json()["message"] == "Queued 2 emails"
    assert (status["state"], status["result"]) == (
        "SUCCESS",
        {"status": "completed", "total": 2, "sent": 2, "failed": [], "duplicates": 0},
    )
    assert recipients_of(mail_server) == TWO


def test_the_texts_have_defaults(client, mail_server):
    status = ended(client, client.post(URL, json={"recipients": TWO[:1]}))
    assert status["state"] == "SUCCESS"
    (envelope,) = mail_server.mails
    head, _, text = envelope.content.partition(b"\r\n\r\n")
    assert b"Subject: No Subject" in head
    assert text.strip() == b""


def test_each_mail_is_a_task_that_can_be_asked_for(client, mail_server):
    """Their ids follow from the id of the mail to many and from the address."""
    task_id = client.post(URL, json={"recipients": TWO}).get_json()["task_id"]
    for address in TWO:
        child = client.get(f"/api/task-status/{bulkmail.child_id(task_id, address)}").get_json()
        assert child["state"] == "SUCCESS"
        assert child["result"]["recipient"] == address
    assert bulkmail.child_id("other", TWO[0]) != bulkmail.child_id(task_id, TWO[0])


def test_an_address_given_twice_gets_one_mail_and_it_is_told(client, mail_server):
    """Also if it is written in two ways."""
    answer = client.post(URL, json={"recipients": [*TWO, "ada@EXAMPLE.com", TWO[1]]})
    assert answer.get_json()["message"] == "Queued 2 emails"
    result = ended(client, answer)["result"]
    assert (result["total"], result["sent"], result["duplicates"]) == (2, 2, 2)
    assert recipients_of(mail_server) == TWO


def test_a_task_called_with_recipients_does_the_same(app, mail_server):
    """Its callers may give it what is no address: that is told, and stops no other mail."""
    given = [*TWO, "nobody", 5, "x" * 400, "a\0b", "\ud800", TWO[0]]
    result = tasks.send_bulk_emails.apply(args=(given, "News", "Text.")).get()
    assert (result["total"], result["sent"], result["duplicates"]) == (7, 2, 1)
    failed = [each["recipient"] for each in result["failed"]]
    assert failed == ["nobody", "5", "x" * 320, "a?b", "?"]
    assert all(each["error"] for each in result["failed"])
    assert recipients_of(mail_server) == TWO


def test_no_more_failed_addresses_are_told_than_fit_a_result(app):
    result = tasks.send_bulk_emails.apply(args=([str(n) for n in range(130)],)).get()
    assert (result["total"], result["sent"], len(result["failed"])) == (130, 0, 100)


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({}, "no longer kept"),
        ({"recipients": TWO, "segment": "all"}, "either"),
        ({"segment": "none"}, "all, weekly_digest"),
    ],
)
def test_a_task_that_can_t_know_whom_to_mail_fails(app, arguments, wrong):
    ended = tasks.send_bulk_emails.apply(kwargs=arguments)
    assert isinstance(ended.result, JobFailedError)
    assert wrong in str(ended.result)


def test_a_task_without_recipients_is_done(app):
    result = tasks.send_bulk_emails.apply(args=([],)).get()
    assert (result["total"], result["sent"]) == (0, 0)


def test_without_the_database_it_is_tried_again(app, monkeypatch):
    def fail(*_):
        raise OperationalError("", {}, Exception("away"))

    monkeypatch.setattr(bulkmail, "find", fail)
    monkeypatch.setattr(tasks.send_bulk_emails, "retry", lambda **options: Retry(str(options)))
    ended = tasks.send_bulk_emails.apply(args=(TWO,))
    assert ended.state == "RETRY"


# How far it is


@pytest.mark.parametrize(
    ("total", "position", "end", "done"),
    [
        (0, 0, 0, True),
        (1, 0, 1, False),
        (500, 0, 500, False),
        (501, 500, 501, False),
        (1200, 500, 1000, False),
        (1200, 1200, 1200, True),
    ],
)
def test_a_batch_ends_after_500_or_with_the_last(total, position, end, done):
    mailing = Mailing("id", total, position, 0)
    assert (mailing.batch_end, mailing.is_done) == (end, done)


@pytest.mark.parametrize(
    ("current", "total", "percent"), [(0, 0, 0), (1, 3, 33), (500, 1200, 41), (3, 3, 100)]
)
def test_progress_has_what_callers_read(current, total, percent):
    expected = {"current": current, "total": total, "percent": percent}
    assert tasks.progress_of(current, total) == expected


class Published:
    """Stands in for the broker, which may refuse after so many batches."""

    def __init__(self, monkeypatch, batches=100):
        self.batches, self.ids = batches, []
        monkeypatch.setattr(registry, "publish_all", self)

    def __call__(self, signatures, _root_id):
        self.ids += [each.options["task_id"] for each in signatures]
        self.batches -= 1
        if self.batches == 0:
            raise KeyboardInterrupt


def test_progress_is_shown_after_each_batch(app, monkeypatch):
    Published(monkeypatch)
    seen = []
    monkeypatch.setattr(
        tasks.send_bulk_emails, "update_state", lambda **state: seen.append(state["meta"])
    )
    tasks.send_bulk_emails.apply(args=(addresses(1100),)).get()
    assert [each["current"] for each in seen] == [500, 1000, 1100]


def test_it_goes_on_with_the_batch_that_was_not_noted(app, monkeypatch):
    """That batch is published again, with the same ids; the ones before are not."""
    first = Published(monkeypatch, batches=2)
    with pytest.raises(KeyboardInterrupt):
        tasks.send_bulk_emails.apply(args=(addresses(1100),), task_id="one")
    second = Published(monkeypatch)
    result = tasks.send_bulk_emails.apply(args=(addresses(1100),), task_id="one").get()
    assert result["sent"] == 1100
    assert first.ids[500:] == second.ids[:500]
    assert len(set(first.ids + second.ids)) == 1100
    assert len(second.ids) == 600


def test_a_task_that_has_ended_publishes_nothing_when_it_comes_again(app, monkeypatch):
    once = tasks.send_bulk_emails.apply(args=([*TWO, "nobody"],), task_id="one").get()
    published = Published(monkeypatch)
    again = tasks.send_bulk_emails.apply(args=([*TWO, "nobody"],), task_id="one").get()
    assert again == once
    assert published.ids == []


def test_a_run_that_is_behind_does_not_set_another_back(app):
    bulkmail.keep("one", [Recipient(each) for each in addresses(1100)])
    start = bulkmail.begun("one")
    further = bulkmail.noted(bulkmail.noted(start))
    assert further.position == 1000
    bulkmail.noted(start)
    assert bulkmail.begun("one").position == 1000


def test_known_ids_may_be_published_again(app):
    """The ids stay remembered, and the tasks are sent once more."""
    signatures = [tasks.send_email.s(TWO[0], "a", "b").set(task_id="child")]
    registry.publish_all(signatures, "parent")
    registry.publish_all(signatures, "parent")
    registry.publish_all([], "parent")
    with db.session() as session:
        record = session.get(TaskRecord, "child")
        assert (record.name, record.root_id) == ("tasks.send_email", "parent")


def test_a_mail_to_many_is_forgotten_when_it_is_done_and_old(app):
    """One that is not done waits longer for its task."""
    for name, position in (("done", 2), ("waiting", 0)):
        bulkmail.keep(name, [Recipient(each) for each in TWO])
        with db.session() as session:
            session.get(BulkMail, name).position = position
    now = datetime.now(UTC)
    for moment, left in (
        (now - timedelta(minutes=1), 2),
        (now + timedelta(minutes=1), 1),
        (now + bulkmail.ABANDONED + timedelta(minutes=1), 0),
    ):
        bulkmail.forget(moment)
        assert (rows(BulkMail), rows(BulkMailRecipient)) == (left, 2 * left)


def test_what_was_not_published_is_not_kept(app, client, monkeypatch):
    def fail(*_args, **_options):
        raise UnreachableError("The broker does not answer.")

    monkeypatch.setattr(registry, "publish", fail)
    assert client.post(URL, json={"recipients": TWO}).status_code == 503
    assert (rows(BulkMail), rows(BulkMailRecipient)) == (0, 0)


# Subscribers


@pytest.fixture
def subscribed(app):
    subscribers.add("ada@example.com", "Ada", weekly_digest=True)
    subscribers.add("grace@example.com", "Grace")
    subscribers.add("gone@example.com", weekly_digest=True)
    assert subscribers.remove("gone@example.com")
    assert not subscribers.remove("gone@example.com")


@pytest.mark.parametrize(
    ("segment", "members"),
    [("all", TWO), ("weekly_digest", TWO[:1])],
)
def test_a_segment_is_mailed(subscribed, client, mail_server, segment, members):
    answer = client.post(URL, json={"segment": segment})
    assert answer.get_json()["message"] == f"Queued {len(members)} emails"
    assert ended(client, answer)["result"]["sent"] == len(members)
    assert recipients_of(mail_server) == members
    assert list(subscribers.in_segment(segment)) == [members]


def test_a_segment_without_members_mails_nobody(app, client):
    answer = client.post(URL, json={"segment": "all"})
    assert answer.get_json()["message"] == "Queued 0 emails"
    assert ended(client, answer)["result"]["total"] == 0
    assert list(subscribers.in_segment("all")) == []


def test_a_segment_comes_in_batches(app, monkeypatch):
    monkeypatch.setattr(subscribers, "BATCH", 2)
    for address in addresses(5):
        subscribers.add(address)
    assert list(map(len, subscribers.in_segment("all"))) == [2, 2, 1]


def test_who_subscribes_again_is_subscribed_once(subscribed):
    subscribers.add("gone@EXAMPLE.com", "Back")
    assert subscribers.count("all") == rows(Subscriber) == 3
    assert subscribers.count("weekly_digest") == 1


@pytest.mark.parametrize("email", ["", "nobody", "a@b\r\nc"])
def test_what_is_no_address_can_t_subscribe(app, email):
    with pytest.raises(ValueError, match=r"@-sign|email"):
        subscribers.add(email)


def test_the_sender_of_a_segment_must_know_it(app):
    with pytest.raises(subscribers.UnknownSegmentError, match="all, weekly_digest"):
        next(subscribers.in_segment("none"))


# Bad input


def refused(app, document, status=400):
    """The fields that are named; nothing is kept or published."""
    raw = json.dumps(document).encode()
    answer = app.test_client().post(URL, data=raw, content_type="application/json")
    assert answer.status_code == status, answer.get_json()
    assert (rows(TaskRecord), rows(BulkMail), rows(BulkMailRecipient)) == (0, 0, 0)
    return [each["field"] for each in answer.get_json()["errors"]]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "recipients"),
        ({"recipients": TWO, "segment": "all"}, "recipients"),
        ({"recipients": None, "segment": None}, "recipients"),
        ({"recipients": "ada@example.com"}, "recipients"),
        ({"recipients": []}, "recipients"),
        ({"recipients": {"0": "ada@example.com"}}, "recipients"),
        ({"recipients": [*TWO, "a", 5]}, "recipients.2"),
        ({"recipients": [None]}, "recipients.0"),
        ({"recipients": ["a@example.com\r\nBcc: b@example.com"]}, "recipients.0"),
        ({"recipients": ["\ud800@example.com"]}, "recipients.0"),
        ({"recipients": [*addresses(10_000), "one@example.com"]}, "recipients"),
        ({"recipients": 10**400}, "recipients"),
        ({"segment": 5}, "segment"),
        ({"segment": ["all"]}, "segment"),
        ({"recipients": TWO, "subject": ""}, "subject"),
        ({"recipients": TWO, "subject": None}, "subject"),
        ({"recipients": TWO, "subject": "a\nb"}, "subject"),
        ({"recipients": TWO, "subject": "a" * 999}, "subject"),
        ({"recipients": TWO, "body": 1}, "body"),
        ({"recipients": TWO, "body": "\ud800"}, "body"),
        ({"recipients": TWO, "body": "a" * 65_537}, "body"),
        ({"recipients": TWO, "html": " "}, "html"),
        ({"recipients": TWO, "html": "a" * 65_537}, "html"),
        ({"recipients": TWO, "attachments": []}, "attachments"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_field_is_named(app, document, field):
    assert refused(app, document)[0] == field


def test_each_wrong_recipient_is_named_by_its_place(app):
    assert refused(app, {"recipients": ["a", *TWO, 5]}) == ["recipients.0", "recipients.3"]


def test_an_answer_does_not_name_thousands(app):
    assert len(refused(app, {"recipients": ["a"] * 10_000})) == 100


@pytest.mark.parametrize("segment", ["", "none", "All", "a" * 100_000, "\ud800"])
def test_an_unknown_segment_names_the_valid_ones(app, segment):
    assert refused(app, {"segment": segment}, 422) == ["segment"]


def test_ten_thousand_recipients_fit_a_request(app, monkeypatch):
    monkeypatch.setattr(registry, "publish", lambda signature: signature)
    answer = app.test_client().post(URL, json={"recipients": addresses(10_000)})
    assert answer.get_json()["message"] == "Queued 10000 emails"
    assert rows(BulkMailRecipient) == 10_000
