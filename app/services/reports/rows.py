"""The sections of a report; sums are the database's, over all rows, however few are listed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, func, select

from app import db, patience
from app.models import Dataset, Payment, WebhookDelivery
from app.models.payments import PLACES
from app.services.payments import currencies
from app.services.reports.content import (
    Chart,
    Column,
    Counted,
    Document,
    Section,
    Table,
    charted,
    number,
)
from app.services.reports.reader import Reader, counted, halves, whole
from app.services.reports.types import Scope

MOST = 1000  # rows listed
MOST_OF_SUMMARY = 50  # rows that each section of a summary lists

TITLES = {
    "imports": "Imports",
    "payments": "Payments",
    "webhook_deliveries": "Webhook deliveries",
    "daily_summary": "Daily summary",
    "monthly_summary": "Monthly summary",
}

DATASETS = (
    Column("Begun", 1.6),
    Column("Id", 0.6, right=True),
    Column("File", 3),
    Column("Status"),
    Column("Rows", right=True),
    Column("Bad rows", right=True),
)
TOTALS = (
    Column("Currency"),
    Column("Status"),
    Column("Payments", right=True),
    Column("Amount", 2, right=True),
)
ORDERS = (
    Column("Asked", 1.6),
    Column("Order", 2.2),
    Column("Method", 1.2),
    Column("Status"),
    Column("Currency", 0.9),
    Column("Amount", 1.6, right=True),
)
WEBHOOKS = (
    Column("Begun", 1.6),
    Column("Address", 3.4),
    Column("Event", 1.3),
    Column("State"),
    Column("Attempts", right=True),
    Column("Answer", 0.9, right=True),
)


def read(scope: Scope, made: datetime, shown: Callable[[float], None]) -> Document:
    """What the report of this scope says; `shown` is called with the share that is read."""
    single = SECTIONS.get(scope.type)
    wanted = [single] if single else list(SECTIONS.values())
    most = MOST if single else MOST_OF_SUMMARY
    sections = []
    for done, section in enumerate(wanted):
        shown(done / len(wanted))
        # A year takes longer than a request may; the task's own limit ends it.
        with patience.endless(), db.session() as session:
            sections.append(section(Reader(session, scope, most)))
    return Document(TITLES[scope.type], list(_facts(scope, made)), sections)


def _facts(scope: Scope, made: datetime) -> Iterator[tuple[str, str]]:
    last = "" if scope.first == scope.last else f" to {scope.last}"
    yield "Period", f"{scope.first}{last} ({scope.zone})"
    for name in ("currency", "status"):
        if value := scope.parameters.get(name):
            yield name.capitalize(), value
    yield "Asked for", f"{made.astimezone(scope.zone):%Y-%m-%d %H:%M} ({scope.zone})"


def imports(reader: Reader) -> Section:
    """Datasets by when their import began."""
    kept = reader.within(Dataset.created_at)
    sums = func.sum(Dataset.total_rows - Dataset.bad_rows), func.sum(Dataset.bad_rows)
    query = select(Dataset.status, func.count(), *sums).where(*kept)
    totals = reader.sums(query.group_by(Dataset.status))
    found = select(Dataset).where(*kept).order_by(Dataset.created_at, Dataset.id)
    listed = [_dataset(reader, row) for row in reader.first(found)]
    return Section(
        "Imports",
        _summed("Status", ("Datasets", "Rows", "Bad rows"), totals),
        _chart(reader, "Rows", _by_quality(reader.by_hour(Dataset.created_at, kept, *sums))),
        Table("Datasets", DATASETS, listed, sum(count for _, count, *_ in totals)),
    )


def _by_quality(found: Sequence[Sequence[Any]]) -> list[Counted]:
    imported = [Counted(moment, "Imported", int(good)) for moment, good, _ in found]
    return imported + [Counted(moment, "Bad", int(bad)) for moment, _, bad in found]


def _dataset(reader: Reader, row: Dataset) -> tuple[str, ...]:
    counts = number(row.total_rows - row.bad_rows), number(row.bad_rows)
    return reader.minute(row.created_at), str(row.id), row.name, row.status, *counts


def payments(reader: Reader) -> Section:
    """Payments by when they were asked for; amounts are summed exactly, by their currency."""
    kept = [*reader.within(Payment.created_at), *_filters(reader.scope)]
    keys = Payment.currency, Payment.status
    query = select(*keys, func.count(), *halves(Payment.amount)).where(*kept)
    sums = reader.session.execute(query.group_by(*keys).order_by(*keys))
    totals = [(code, status, count, whole(*parts)) for code, status, count, *parts in sums]
    found = select(Payment).where(*kept).order_by(Payment.created_at, Payment.order_id)
    listed = [_payment(reader, row) for row in reader.first(found)]
    return Section(
        "Payments",
        _by_currency(totals),
        _chart_of_payments(reader, kept),
        Table("Orders", ORDERS, listed, sum(count for _, _, count, _ in totals)),
    )


def _filters(scope: Scope) -> list[ColumnElement[bool]]:
    columns = {"currency": Payment.currency, "status": Payment.status}
    given = scope.parameters
    return [column == given[name] for name, column in columns.items() if name in given]


def _by_currency(totals: Sequence[tuple[str, str, int, Decimal]]) -> Table:
    rows: list[tuple[str, ...]] = []
    bold = set()
    for code in dict.fromkeys(code for code, *_ in totals):
        own = [each for each in totals if each[0] == code]
        rows += [(code, status, number(n), money(amount, code)) for _, status, n, amount in own]
        if len(own) > 1:
            bold.add(len(rows))
            amount = sum((amount for *_, amount in own), Decimal(0))
            rows.append((code, "all", number(sum(n for *_, n, _ in own)), money(amount, code)))
    return Table("Totals", TOTALS, rows, len(rows), frozenset(bold))


def _chart_of_payments(reader: Reader, kept: Sequence[ColumnElement[bool]]) -> Chart | None:
    """Of amounts if one currency was asked for, else of numbers: currencies don't add up."""
    column, state = Payment.created_at, Payment.status
    code = reader.scope.parameters.get("currency")
    if code is None:
        return _chart(
            reader, "Payments", counted(reader.by_hour(column, kept, state, func.count()))
        )
    found = reader.by_hour(column, kept, state, *halves(Payment.amount))
    amounts = [(moment, status, whole(*parts)) for moment, status, *parts in found]
    return _chart(reader, f"Amount in {code}", counted(amounts))


def _payment(reader: Reader, row: Payment) -> tuple[str, ...]:
    asked, amount = reader.minute(row.created_at), money(row.amount, row.currency)
    return asked, row.order_id, row.method, row.status, row.currency, amount


def money(amount: Decimal, code: str) -> str:
    """With as many digits behind the point as the currency has."""
    return f"{amount:,.{currencies.DIGITS.get(code, PLACES)}f}"


def webhook_deliveries(reader: Reader) -> Section:
    """Webhooks by when they were first tried."""
    column, state = WebhookDelivery.created_at, WebhookDelivery.state
    kept = reader.within(column)
    query = select(state, func.count(), func.sum(WebhookDelivery.attempts)).where(*kept)
    totals = reader.sums(query.group_by(state))
    found = select(WebhookDelivery).where(*kept).order_by(column, WebhookDelivery.id)
    listed = [_delivery(reader, row) for row in reader.first(found)]
    by_hour = reader.by_hour(column, kept, state, func.count())
    return Section(
        "Webhook deliveries",
        _summed("State", ("Webhooks", "Attempts"), totals),
        _chart(reader, "Webhooks", counted(by_hour)),
        Table("Webhooks", WEBHOOKS, listed, sum(count for _, count, _ in totals)),
    )


def _delivery(reader: Reader, row: WebhookDelivery) -> tuple[str, ...]:
    answer = "none" if row.status_code is None else str(row.status_code)
    begun, attempts = reader.minute(row.created_at), number(row.attempts)
    return begun, row.url, row.event or "", row.state, attempts, answer


SECTIONS = {
    "payments": payments,
    "imports": imports,
    "webhook_deliveries": webhook_deliveries,
}


def _chart(reader: Reader, what: str, sums: Sequence[Counted]) -> Chart | None:
    return charted(what, reader.scope.first, reader.scope.last, sums)


def _summed(key: str, names: Sequence[str], totals: Sequence[Sequence[Any]]) -> Table:
    """Totals by a key, and those of all together where there are several."""
    columns = (Column(key), *(Column(name, right=True) for name in names))
    rows = [(name, *map(number, sums)) for name, *sums in totals]
    bold = frozenset({len(rows)} if len(rows) > 1 else ())
    if bold:
        columnwise = zip(*(sums for _, *sums in totals), strict=True)
        rows.append(("all", *(number(sum(each)) for each in columnwise)))
    return Table("Totals", columns, rows, len(rows), bold)
