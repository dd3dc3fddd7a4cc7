"""Mails as files."""

from email import message_from_bytes

import pytest
from aiosmtpd.smtp import Envelope

from app.manage.mail import Files


def envelope(text=b"Subject: Hello\r\n\r\nText.\r\n"):
    made = Envelope()
    made.mail_from = "us@example.com"
    made.rcpt_tos = ["ada@example.com", "bo@example.com"]
    made.content = text
    return made


def test_a_mail_is_kept_whole_with_its_envelope(tmp_path):
    kept = Files(tmp_path / "mail").keep(envelope())
    message = message_from_bytes(kept.read_bytes())
    assert message["Subject"] == "Hello"
    assert message.get_payload() == "Text.\n"
    assert message["X-Envelope-From"] == "us@example.com"
    assert message["X-Envelope-To"] == "ada@example.com, bo@example.com"


def test_nothing_but_whole_mails_is_left_in_the_directory(tmp_path):
    files = Files(tmp_path)
    files.keep(envelope())
    files.keep(envelope())
    assert [path.suffix for path in tmp_path.iterdir()] == [".eml", ".eml"]


def test_the_oldest_mails_go_first(tmp_path):
    files = Files(tmp_path, kept=2)
    kept = [files.keep(envelope()) for _ in range(4)]
    assert sorted(tmp_path.iterdir()) == kept[2:]


@pytest.mark.parametrize("reason", [OSError(28, "No space left on device")])
def test_a_full_disk_is_a_temporary_refusal(tmp_path, monkeypatch, reason):
    """The sender is told to try again, and nothing is lost."""
    import asyncio

    files = Files(tmp_path)

    def fail(_envelope):
        raise reason

    monkeypatch.setattr(files, "keep", fail)
    assert asyncio.run(files.handle_DATA(None, None, envelope())).startswith("452 ")
