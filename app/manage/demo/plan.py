"""What the demo does, as plain values.

A place such as `{import.result.data_id}` is filled from the last answer about that earlier step,
for which the step waits; `{service}`, `{hook}` and `{run}` are the service's and the demo's
receiver's addresses, and a text that no other run has.
"""

from __future__ import annotations

from app.manage.demo.step import Step, get, mail, payment, refused

# It waits 30 seconds between its two tries, so it comes first.
PAYMENTS = (
    payment(
        "error_then_success",
        "payment, tried twice",
        shows={"result.status": "success"},
        says="charged once, although the first answer got lost",
    ),
    payment(
        "success",
        "payment",
        shows={"result.status": "success", "result.amount": "12.50"},
        says="{result.amount} charged as {result.transaction_id}",
    ),
    payment(
        "declined",
        "payment, declined",
        ends="FAILURE",
        shows={"retryable": False},
        says="failed for good: {error}",
    ),
    get(
        "payment-shown",
        "payment, as kept",
        "/api/payments/{success.result.order_id}",
        "{order_id}: {status}",
        shows={"status": "completed"},
    ),
    refused(
        "unknown-method",
        "payment, unknown method",
        "/api/process-payment",
        422,
        json={"order_id": "demo-{run}", "amount": 1, "payment_method": "seashells"},
    ),
)

MAILS = (
    mail("mail", "mail", "ada@example.com", says="sent to {result.recipient}"),
    mail(
        "refused-mail",
        "mail, refused",
        "ada@refused.example.com",
        ends="FAILURE",
        says="failed for good: {error}",
    ),
    mail(
        "busy-mail",
        "mail, tried again",
        "ada@busy.example.com",
        ends="RETRY",
        says="not waited for: {error}",
    ),
    Step(
        "bulk-mail",
        "mail to many",
        "/api/send-bulk-emails",
        json={
            "recipients": ["ada@example.com", "grace@example.com", "alan@refused.example.com"],
            "subject": "News from the demo",
            "body": "To all.",
        },
        shows={"result.total": 3, "result.sent": 3},
        says="{result.sent} queued, a task each; the mail server refuses one of them",
    ),
    refused(
        "no-address",
        "mail to many, no address",
        "/api/send-bulk-emails",
        400,
        json={"recipients": ["ada@example.com", "nobody"]},
    ),
    refused(
        "no-recipient",
        "mail, without recipient",
        "/api/send-email",
        400,
        json={"subject": "Hello", "body": "To nobody."},
    ),
)

FILES = (
    Step(
        "import",
        "CSV import",
        "/api/import-csv",
        file="orders.csv",
        form={"chunk_size": "500"},
        shows={"result.processed": "{rows}", "result.bad_rows": 1},
        says="{result.processed} rows; line {result.errors.0.line}: {result.errors.0.reason}",
    ),
    Step(
        "process",
        "process data",
        "/api/process-data/{import.result.data_id}",
        shows={"result.steps_completed": 4},
        says="{result.steps_completed} steps over dataset {result.data_id}",
    ),
    get(
        "dataset",
        "dataset, as kept",
        "/api/datasets/{process.result.data_id}",
        "{name}: {rows} rows, {bad_rows} bad",
        shows={"status": "completed"},
    ),
    get(
        "datasets",
        "datasets",
        "/api/datasets?limit=5",
        "the newest: {datasets.0.name}",
        after=("import",),
    ),
    Step(
        "report",
        "report",
        "/api/generate-report",
        json={"report_type": "imports", "parameters": {}},
        after=("import",),
        says="{result.file_path}",
    ),
    get("download", "report, downloaded", "/api/reports/{report.task_id}", "{type}, {bytes} bytes"),
    refused(
        "unknown-report",
        "report, unknown type",
        "/api/generate-report",
        422,
        json={"report_type": "horoscope"},
    ),
    Step(
        "image",
        "thumbnails",
        "/api/process-image",
        file="gradient.png",
        form={"sizes": "64x64,128x128"},
        shows={"result.width": 320},
        says="{result.thumbnails.0.size} and {result.thumbnails.1.size} of {result.width} pixels",
    ),
    get(
        "thumbnail",
        "thumbnail, downloaded",
        "/api/images/{image.result.image_id}/64x64",
        "{type}, {bytes} bytes",
    ),
)

OUTGOING = (
    Step(
        "call",
        "external API",
        "/api/call-external-api",
        json={
            "endpoint": "{service}/api/sessions",
            "payload": {"subject": "demo", "lifetime": 60},
        },
        says="it answered; its session is for {result.subject}",
    ),
    Step(
        "lost-call",
        "external API, 404",
        "/api/call-external-api",
        json={"endpoint": "{service}/api/no-such-route", "payload": {}},
        ends="FAILURE",
        says="failed for good: {error}",
    ),
    Step(
        "webhook",
        "webhook",
        "/api/send-webhook",
        json={"url": "{hook}/hook", "event": "demo.ran", "event_data": {"run": "{run}"}},
        shows={"result.status": "delivered"},
        says="{result.status}, answered with {result.status_code}",
    ),
    Step(
        "gone-webhook",
        "webhook, receiver gone",
        "/api/send-webhook",
        json={"url": "{hook}/gone", "event": "demo.ran", "event_data": {"run": "{run}"}},
        ends="FAILURE",
        says="failed for good: {error}",
    ),
)

SOURCES = (
    Step(
        "single",
        "ETL of one source",
        "/api/etl/single/1",
        shows={"result.saved": True},
        says="{result.saved_records} of {result.records} records saved",
    ),
    Step(
        "parallel",
        "ETL of three at a time",
        "/api/etl/parallel",
        json={"source_ids": [1, 2, 3]},
        shows={"result.total_sources": 3},
        says="{result.total_records} records of {result.total_sources} sources",
    ),
    Step(
        "group",
        "fetch of two sources",
        "/api/etl/group",
        json={"source_ids": [1, 2]},
        says="{result.0.records} and {result.1.records} records",
    ),
    refused("no-source", "ETL, unknown source", "/api/etl/single/999999", 404),
    get("sources", "sources", "/api/sources", "{sources.0.name}, {sources.1.name} and more"),
    get(
        "records",
        "records of a source",
        "/api/sources/{single.result.source_id}/records?limit=1",
        "the first is {records.0.key}",
    ),
    get("samples", "sample source", "/api/samples/orders", "orders to fetch"),
)

TASKS = (
    Step(
        "cancel",
        "cancel the mail that waits",
        "/api/task-cancel/{busy-mail.task_id}",
        status=200,
        ends="",
        says="it was {was}",
    ),
    get(
        "cancelled",
        "the cancelled mail",
        "/api/task-status/{cancel.task_id}?wait=5",
        "{state}: {status}",
        shows={"state": "REVOKED"},
    ),
    refused(
        "too-late",
        "cancel what has ended",
        "/api/task-cancel/{mail.task_id}",
        409,
    ),
    get("tasks", "tasks of this caller", "/api/tasks?limit=5", "the newest: {tasks.0.name}"),
    Step(
        "session",
        "session",
        "/api/sessions",
        json={"subject": "demo", "lifetime": 60},
        status=201,
        ends="",
        says="begun for {subject}",
    ),
    get(
        "session-shown",
        "session, by its token",
        "/api/sessions/current",
        "that of {subject}",
        headers={"Authorization": "Bearer {session.token}"},
        shows={"subject": "demo"},
    ),
    get(
        "session-ended",
        "session, ended",
        "/api/sessions/current",
        "{status}",
        method="DELETE",
        headers={"Authorization": "Bearer {session.token}"},
        after=("session-shown",),
    ),
)

MONITORING = (
    get("workers", "workers", "/monitoring/workers", "{workers.0.name}"),
    get("queues", "queues", "/monitoring/queues", "email: {queues.email.length} waiting"),
    get("worker-health", "workers' health", "/monitoring/health", "{status}"),
    get("alive", "health", "/healthz", "{status}"),
    get("ready", "readiness", "/readyz", "{status}"),
    get("document", "OpenAPI document", "/openapi.json", "OpenAPI {openapi}"),
    get("docs", "page of the API", "/docs", "{type}, {bytes} bytes"),
)

PLAN = (*PAYMENTS, *MAILS, *FILES, *OUTGOING, *SOURCES, *TASKS, *MONITORING)
