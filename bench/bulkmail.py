"""How long a mail to many takes to queue, and how much memory."""

from __future__ import annotations

import sys
import tempfile
import time
import uuid
from pathlib import Path

from app import create_app, db, settings
from app.services import bulkmail
from app.tasks.email import send_bulk_emails
from tests.support import redis_server

RECIPIENTS = 10_000


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else RECIPIENTS
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory)) as (_, url):
        env = {
            "STATE_DIR": f"{directory}/state",
            "CELERY_BROKER_URL": url,
            "OTEL_TRACES_EXPORTER": "none",
        }
        loaded = settings.load(env)
        db.upgrade(loaded)
        with create_app(loaded, role="worker").app_context():
            measure(number)


def measure(number: int) -> None:
    queued(kept([bulkmail.Recipient(f"warm{n}@example.com") for n in range(bulkmail.BATCH)]))
    task_id = kept([bulkmail.Recipient(f"person{n}@example.com") for n in range(number)])
    before = peak()
    begin, busy = time.monotonic(), time.process_time()
    result = queued(task_id)
    seconds, busy = time.monotonic() - begin, time.process_time() - busy
    took = f"{seconds:.1f} s, {busy:.1f} s of CPU"
    print(f"mail to many     {result['sent']:,} mails queued in {took}")
    print(f"peak memory      {peak():.0f} MiB, {before:.0f} MiB before")


def kept(recipients: list[bulkmail.Recipient]) -> str:
    """What the request does."""
    task_id = str(uuid.uuid4())
    bulkmail.keep(task_id, recipients)
    return task_id


def queued(task_id: str) -> dict[str, object]:
    result: dict[str, object] = send_bulk_emails.apply(
        kwargs={"body": "Text."}, task_id=task_id
    ).get()
    return result


def peak() -> float:
    # Not getrusage's: that also counts what the process was before its program began.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
