"""What all sections of a report ask the database: rows of a period, and sums by the hour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    func,
    literal,
    literal_column,
    select,
    type_coerce,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.models.payments import PLACES
from app.services.reports.content import Counted
from app.services.reports.types import Scope

HALF = 10**9  # an amount is added up in two parts, as SQLite's sums end at 64 bits

Column = InstrumentedAttribute[Any]


@dataclass(frozen=True)
class Reader:
    """Reads for one report, at most `most` rows of a kind."""

    session: Session
    scope: Scope
    most: int

    def within(self, column: Column) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        """The conditions that keep what is in the period."""
        return column >= self.scope.start, column < self.scope.end

    def sums(self, query: Select[*tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Of each row the first column, and the others as integers."""
        found = self.session.execute(query)
        # PostgreSQL's sums are decimals.
        return sorted((key, *map(int, sums)) for key, *sums in found)

    def first(self, query: Select[Any]) -> Iterable[Any]:
        return self.session.scalars(query.limit(self.most))

    def by_hour(
        self, column: Column, conditions: Iterable[ColumnElement[bool]], *values: Any
    ) -> list[tuple[Any, ...]]:
        """The hour as text, then what was selected, of which there may be several an hour."""
        moment = self._moment(column)
        groups = [moment, *(each for each in values if isinstance(each, InstrumentedAttribute))]
        query = select(moment, *values).where(*conditions).group_by(*groups).order_by(*groups)
        found = self.session.execute(query)
        return [(self._local(text), *others) for text, *others in found]

    @property
    def _knows_zones(self) -> bool:
        return self.session.get_bind().dialect.name != "sqlite"

    def _moment(self, column: Column) -> ColumnElement[str]:
        if self._knows_zones:
            # Written out, as PostgreSQL takes two placeholders for two expressions.
            zone = literal(str(self.scope.zone), literal_execute=True)
            written: ColumnElement[str] = literal_column("'YYYY-MM-DD HH24'")
            return func.to_char(func.timezone(zone, column), written)
        # Some zones begin their hours and days at a quarter past.
        return func.substr(column, 1, literal_column("13" if self._is_utc else "16"))

    @property
    def _is_utc(self) -> bool:
        # Zones whose offset changes have none without a moment.
        return self.scope.zone.utcoffset(None) == timedelta(0)

    def _local(self, text: str) -> str:
        if self._knows_zones or self._is_utc:
            return text
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
        return f"{moment.astimezone(self.scope.zone):%Y-%m-%d %H}"

    def minute(self, moment: datetime) -> str:
        """A time of the table as people in the report's zone read it."""
        # SQLite forgets the time zone; the tables are in UTC.
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return f"{aware.astimezone(self.scope.zone):%Y-%m-%d %H:%M}"


def halves(column: Column) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """The sum of amounts in two parts, for `whole`."""
    units = type_coerce(column, BigInteger)
    return func.sum(units // HALF), func.sum(units % HALF)


def whole(high: Any, low: Any) -> Decimal:
    return Decimal(int(high) * HALF + int(low)).scaleb(-PLACES)


def counted(found: Iterable[Sequence[Any]]) -> list[Counted]:
    """Rows of an hour, a state and a value, as series in the order of their names."""
    made = [Counted(moment, state.capitalize(), value) for moment, state, value in found]
    return sorted(made, key=lambda each: each.name)
