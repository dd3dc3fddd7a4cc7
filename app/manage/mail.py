"""The development mail server: takes every mail and keeps it as a file.

Run it with `python -m app.manage.mail`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope

from app import settings as configuration

HOST = "127.0.0.1"
KEPT = 1000  # mails; the oldest go first
# So that failures can be tried: mail to these domains is refused, for good or for now.
REFUSALS = {
    "refused.example.com": "550 5.1.1 There is no such mailbox (this domain refuses all mail)",
    "busy.example.com": "450 4.2.1 The mailbox is busy (this domain always says so)",
}


class Files:
    """Keeps each mail in `directory` as one .eml file, its envelope in two headers on top."""

    def __init__(self, directory: Path, kept: int = KEPT) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.kept = kept

    async def handle_RCPT(  # noqa: N802
        self, _server: Any, _session: Any, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        refusal = REFUSALS.get(address.rpartition("@")[2].lower())
        if refusal is None:
            envelope.rcpt_tos.append(address)
        return refusal or "250 2.1.5 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802
        try:
            self.keep(envelope)
        except OSError as error:
            sys.stderr.write(f"mail not kept: {error}\n")
            return "452 4.3.1 The mail could not be kept; try again later"
        return "250 2.0.0 Kept"

    def keep(self, envelope: Envelope) -> Path:
        """Write the mail so that no reader sees a part of it; returns its file."""
        recipients = ", ".join(map(str, envelope.rcpt_tos))
        head = f"X-Envelope-From: {envelope.mail_from}\nX-Envelope-To: {recipients}\n"
        # Names sort by time of arrival.
        name = f"{time.time_ns()}-{uuid.uuid4().hex[:8]}"
        draft = self.directory / f".{name}.tmp"
        draft.write_bytes(head.encode() + _unix(envelope.content))
        kept = draft.replace(self.directory / f"{name}.eml")
        self._forget_oldest()
        sys.stdout.write(f"mail to {recipients} kept in {kept.name}\n")
        sys.stdout.flush()
        return kept

    def _forget_oldest(self) -> None:
        mails = sorted(self.directory.glob("*.eml"))
        for mail in mails[: max(0, len(mails) - self.kept)]:
            mail.unlink(missing_ok=True)


def _unix(content: bytes | str | None) -> bytes:
    raw = content.encode() if isinstance(content, str) else content or b""
    return raw.replace(b"\r\n", b"\n")


async def serve(directory: Path, port: int) -> None:
    """Take mails on `port` until SIGTERM or SIGINT."""
    files = Files(directory)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # Without a name of its own it would ask the network for one.
    server = await loop.create_server(
        lambda: SMTP(files, hostname="localhost", enable_SMTPUTF8=True, loop=loop), HOST, port
    )
    await stop.wait()
    server.close()


def main() -> int:
    settings = configuration.load()
    asyncio.run(serve(settings.state_dir / "mail", settings.mail_port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
