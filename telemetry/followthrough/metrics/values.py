"""prometheus_client's Counter and Histogram over the shared store, and over nothing else.

The host's own prometheus_client metrics and PROMETHEUS_MULTIPROC_DIR are left alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import prometheus_client
from prometheus_client.mmap_dict import mmap_key
from prometheus_client.utils import floatToGoString

from .store import Number, current

Numbers = tuple[Number, tuple[float, ...], tuple[Number, ...]]


class Value(Number):
    """A number of this process's files; made at zero, so that the series exists."""

    __slots__ = ()

    def __init__(
        self,
        kind: str,
        metric: str,
        name: str,
        labels: Sequence[str],
        values: Sequence[str],
        help_text: str,
    ) -> None:
        super().__init__(kind, mmap_key(metric, name, list(labels), list(values), help_text))
        self.inc(0.0)

    def get(self) -> float:
        return current.get(self)

    def set_exemplar(self, exemplar: Any) -> None:
        """The files hold no exemplars."""

    def get_exemplar(self) -> None:
        return None


class Counter(prometheus_client.Counter):
    """A counter that all processes of the host share."""

    @property
    def number(self) -> Number:
        """What `inc` adds to."""
        number: Number = self._value
        return number

    def _metric_init(self) -> None:
        self._value: Any = _value(self, "_total", self._labelnames, self._labelvalues)
        self._created = time.time()


class Histogram(prometheus_client.Histogram):
    """A histogram that all processes of the host share."""

    @property
    def numbers(self) -> Numbers:
        """What `observe` adds to: the sum, and of the buckets the first whose bound is as high."""
        return self._sum, tuple(self._upper_bounds), tuple(self._buckets)

    def _metric_init(self) -> None:
        self._created = time.time()
        self._sum: Any = _value(self, "_sum", self._labelnames, self._labelvalues)
        names = (*self._labelnames, "le")
        self._buckets: Any = [
            _value(self, "_bucket", names, (*self._labelvalues, floatToGoString(bound)))
            for bound in self._upper_bounds
        ]


def _value(metric: Any, suffix: str, labels: Sequence[str], values: Sequence[str]) -> Value:
    name = metric._name  # noqa: SLF001  subclasses share it
    return Value(metric._type, name, name + suffix, labels, values, metric._documentation)  # noqa: SLF001
