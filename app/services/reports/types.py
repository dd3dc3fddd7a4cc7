"""The types of reports, and the parameters that each takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from app.models.payments import Payment
from app.services.payments import terms

LONGEST = 366  # days
USUAL = 30  # days, of a period that is not given
FIRST, LAST = date(2000, 1, 1), date(2199, 12, 31)
STATUSES = (Payment.PENDING, Payment.COMPLETED, Payment.DECLINED, Payment.FAILED)


class UnknownTypeError(ValueError):
    """There is no such type of report; the message names those there are."""


class ParametersError(ValueError):
    """Parameters are wrong: pairs of a parameter's name and what is wrong with it."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self.fields = fields
        super().__init__("; ".join(f"{field}: {wrong}" for field, wrong in fields))


@dataclass(frozen=True)
class Scope:
    """What a report is of: its type, and its parameters with nothing left open.

    Both days belong to it, and are days of its time zone.
    """

    type: str
    first: date
    last: date
    parameters: Mapping[str, str]
    zone: tzinfo = UTC

    @property
    def start(self) -> datetime:
        """The first moment, in UTC."""
        return datetime.combine(self.first, time(), self.zone).astimezone(UTC)

    @property
    def end(self) -> datetime:
        """The moment after the last, in UTC."""
        after = self.last + timedelta(days=1)
        return datetime.combine(after, time(), self.zone).astimezone(UTC)


def _day(value: object) -> date:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
        return _bounded(_parsed(value))
    # A TypeError would not be told as the parameter's fault.
    raise ValueError("Must be a day, as in 2026-01-31.")


def _parsed(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"There is no day {text}.") from None


def _bounded(day: date) -> date:
    if not FIRST <= day <= LAST:
        raise ValueError(f"Must be from {FIRST} to {LAST}.")
    return day


def _month(value: object) -> date:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d", value, re.ASCII):
        return _day(f"{value}-01")
    raise ValueError("Must be a month, as in 2026-01.")


def _status(text: str) -> str:
    if text not in STATUSES:
        raise ValueError(f"Must be one of {', '.join(STATUSES)}.")
    return text


Day = Annotated[date, BeforeValidator(_day)]


class Parameters(BaseModel):
    """What a caller may give; `scope` fills in the rest."""

    model_config = ConfigDict(extra="forbid", strict=True)

    def period(self, today: date) -> tuple[date, date]:
        """The first and the last day; raises ParametersError."""
        raise NotImplementedError

    def given(self) -> dict[str, str]:
        """The parameters besides the period."""
        return {}

    def named(self, first: date, last: date) -> dict[str, str]:
        """The period as parameters."""
        return {"from": first.isoformat(), "to": last.isoformat()}


class Period(Parameters):
    """By default the 30 days up to today."""

    from_: Day | None = Field(default=None, alias="from")
    to: Day | None = None

    def period(self, today: date) -> tuple[date, date]:
        last = self.to or today
        first = self.from_ or max(FIRST, last - timedelta(days=USUAL - 1))
        if last < first:
            raise ParametersError([("to", f"Must not be before `from`, {first}.")])
        if (last - first).days >= LONGEST:
            raise ParametersError([("to", f"The period has more than {LONGEST} days.")])
        return first, last


class OfPayments(Period):
    currency: Annotated[str, AfterValidator(terms.code)] | None = None
    status: Annotated[str, AfterValidator(_status)] | None = None

    def given(self) -> dict[str, str]:
        both = {"currency": self.currency, "status": self.status}
        return {name: value for name, value in both.items() if value}


class OfDay(Parameters):
    """By default yesterday."""

    date_: Day | None = Field(default=None, alias="date")

    def period(self, today: date) -> tuple[date, date]:
        day = self.date_ or today - timedelta(days=1)
        return day, day

    def named(self, first: date, _last: date) -> dict[str, str]:
        return {"date": first.isoformat()}


class OfMonth(Parameters):
    """By default the month before this one."""

    month: Annotated[date, BeforeValidator(_month)] | None = None

    def period(self, today: date) -> tuple[date, date]:
        first = self.month or (today.replace(day=1) - timedelta(days=1)).replace(day=1)
        return first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)

    def named(self, first: date, _last: date) -> dict[str, str]:
        return {"month": f"{first:%Y-%m}"}


TYPES: dict[str, type[Parameters]] = {
    "imports": Period,
    "payments": OfPayments,
    "webhook_deliveries": Period,
    "daily_summary": OfDay,
    "monthly_summary": OfMonth,
}


def scope(report_type: str, parameters: Mapping[str, object], now: datetime, zone: tzinfo) -> Scope:
    """The scope of a report asked for now; raises UnknownTypeError or ParametersError."""
    if report_type not in TYPES:
        raise UnknownTypeError(f"Must be one of {', '.join(TYPES)}.")
    wanted = _checked(TYPES[report_type], parameters)
    first, last = wanted.period(now.astimezone(zone).date())
    named = {**wanted.named(first, last), **wanted.given()}
    return Scope(report_type, first, last, named, zone)


def _checked(model: type[Parameters], parameters: Mapping[str, object]) -> Parameters:
    try:
        return model.model_validate(dict(parameters))
    except ValidationError as error:
        raise ParametersError([_wrong(each) for each in error.errors()]) from None


def _wrong(error: Any) -> tuple[str, str]:
    return ".".join(map(str, error["loc"])), str(error["msg"]).removeprefix("Value error, ")
