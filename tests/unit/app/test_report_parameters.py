"""What a report is asked for is of a closed set, or refused by its name."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select

from app import db
from app.models import TaskRecord
from app.services.reports.types import ParametersError, scope
from tests.unit.app.test_bad_input import fields, refused

URL = "/api/generate-report"
OTHER = (True, 1, 1.5, [], {})
NO_DAYS = (
    *OTHER,
    "",
    "2026",
    "20261123",
    "2026-W01-1",
    "2026-02-30",
    "1999-12-31",
    "2200-01-01",
    "9999-12-31",
    "2026-11-23T00:00",
    "2026-11-23\n",
    "٢٠٢٦-11-23",
    "\x00",
    "9" * 9999,
)
WRONG = {
    ("payments", "from"): NO_DAYS,
    ("imports", "to"): NO_DAYS,
    ("payments", "currency"): (*OTHER, "", "usd", "XXX", "A" * 9999, "\x00"),
    ("payments", "status"): (*OTHER, "", "done", "delivered"),
    ("webhook_deliveries", "currency"): ("USD",),
    ("webhook_deliveries", "first"): ("2026-11-23",),
    ("daily_summary", "date"): NO_DAYS,
    ("daily_summary", "from"): ("2026-11-23",),
    ("monthly_summary", "month"): (
        *OTHER,
        "",
        "2026",
        "2026-13",
        "2026-1",
        "1999-12",
        "2026-11-01",
    ),
}


@pytest.mark.parametrize(("report_type", "name"), WRONG)
def test_a_wrong_parameter_is_named(eager, report_type, name):
    """And nothing is published."""
    for value in WRONG[report_type, name]:
        answer = eager.post(URL, json={"report_type": report_type, "parameters": {name: value}})
        assert fields(answer) == [f"parameters.{name}"], value
    assert published() == 0


def published():
    with db.session() as session:
        return session.scalar(select(func.count()).select_from(TaskRecord))


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({}, ["report_type"]),
        ({"report_type": 1}, ["report_type"]),
        ({"report_type": None}, ["report_type"]),
        ({"report_type": "payments", "parameters": None}, ["parameters"]),
        ({"report_type": "payments", "parameters": []}, ["parameters"]),
        ({"report_type": "payments", "parameters": {"a": 1, "to": 1}},
         ["parameters.to", "parameters.a"]),
        ({"report_type": "payments", "more": 1}, ["more"]),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(eager, document, named):
    assert fields(eager.post(URL, json=document)) == named
    assert published() == 0


@pytest.mark.parametrize("report_type", ["", "sales", "Payments", "\x00", "\ud800", "p" * 9999])
def test_an_unknown_type_is_told_the_valid_ones(eager, report_type):
    document = refused(eager.post(URL, json={"report_type": report_type}), 422)
    assert [each["field"] for each in document["errors"]] == ["report_type"]
    for name in ("imports", "payments", "webhook_deliveries", "daily_summary", "monthly_summary"):
        assert name in document["detail"]
    assert published() == 0


def asked(report_type, now="2026-11-23T23:30", zone="UTC", **parameters):
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    given = {name.rstrip("_"): value for name, value in parameters.items()}
    return scope(report_type, given, moment, ZoneInfo(zone))


def test_a_period_ends_no_day_before_it_begins_and_after_at_most_366():
    assert asked("imports", from_="2024-01-01", to="2024-12-31").last == date(2024, 12, 31)
    assert asked("imports", from_="2024-01-01", to="2024-01-01").first == date(2024, 1, 1)
    for to in ("2023-12-31", "2025-01-01"):
        with pytest.raises(ParametersError) as caught:
            asked("imports", from_="2024-01-01", to=to)
        assert [field for field, _ in caught.value.fields] == ["to"]


@pytest.mark.parametrize(
    ("report_type", "parameters"),
    [
        ("payments", {"from": "2026-10-25", "to": "2026-11-23"}),
        ("daily_summary", {"date": "2026-11-22"}),
        ("monthly_summary", {"month": "2026-10"}),
    ],
)
def test_what_is_left_open_is_filled_in(report_type, parameters):
    assert asked(report_type).parameters == parameters


def test_today_is_that_of_the_time_zone():
    assert asked("daily_summary", zone="Asia/Kolkata").parameters == {"date": "2026-11-23"}
    assert asked("imports", zone="Asia/Kolkata").last == date(2026, 11, 24)


def test_a_day_has_the_hours_that_it_has_in_the_time_zone():
    day = asked("daily_summary", zone="Europe/Berlin", date="2026-10-25")
    assert (day.end - day.start).total_seconds() == 25 * 3600
    month = asked("monthly_summary", month="2028-02")
    assert (month.first, month.last) == (date(2028, 2, 1), date(2028, 2, 29))


@pytest.mark.parametrize("day", ["2000-01-01", "2199-12-31"])
def test_the_first_and_the_last_day_there_are(day):
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        assert (
            asked("daily_summary", zone=zone, date=day).start
            < asked("imports", zone=zone, from_=day, to=day).end
        )
    assert asked("imports", to=day).last.isoformat() == day
