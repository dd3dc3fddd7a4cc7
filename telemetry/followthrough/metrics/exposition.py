"""The host's one `/metrics`: all slots' files merged, whatever state they are in."""

from __future__ import annotations

import functools
import json
import math
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

from ..recorder import account
from . import file

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
KINDS = ("counter", "histogram")

Labels = tuple[tuple[str, str], ...]


@dataclass
class _Family:
    """The samples of one metric, summed over all files."""

    kind: str
    doc: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def add(self, sample: tuple[str, Labels], value: float) -> None:
        self.samples[sample] = self.samples.get(sample, 0.0) + value


class _Errors:
    total = 0


def expose(state_dir: Path) -> bytes:
    """Prometheus text (0.0.4) of all that the processes of `state_dir` counted, living or dead.

    A file that can't be read is left out and counted in telemetry_scrape_errors_total.
    """
    families: dict[str, _Family] = {}
    for path in sorted((state_dir / "metrics").glob("*.db")):
        try:
            samples = _read(path)
        except (OSError, *file.BROKEN):
            _Errors.total += 1
            continue
        _merge(families, path.name.split("_")[0], samples)
    records = [each for kind in account.by_kind(state_dir).items() for each in _records(*kind)]
    return generate_latest(_Registry([*_metrics(families), *records, *_own()]))


@dataclass
class _Registry:
    metrics: Iterable[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.metrics


def _read(path: Path) -> list[tuple[tuple[str, str, str, Labels], float]]:
    if path.name.split("_")[0] not in KINDS:
        raise ValueError(f"no metrics file: {path.name}")
    samples = [(_parse(key), value) for key, value in file.read(path)]
    if not all(math.isfinite(value) and value >= 0 for _, value in samples):
        raise ValueError(f"impossible values in {path.name}")
    return samples


@functools.lru_cache(maxsize=8192)
def _parse(key: str) -> tuple[str, str, str, Labels]:
    metric, name, labels, doc = json.loads(key)
    return metric, name, doc, tuple(sorted(labels.items()))


def _merge(
    families: dict[str, _Family],
    kind: str,
    samples: list[tuple[tuple[str, str, str, Labels], float]],
) -> None:
    for (metric, name, doc, labels), value in samples:
        family = families.setdefault(metric, _Family(kind, doc))
        family.add((name, labels), value)


def _metrics(families: dict[str, _Family]) -> Iterator[Metric]:
    for name, family in sorted(families.items()):
        metric = Metric(name, family.doc, family.kind)
        samples = family.samples if family.kind == "counter" else _cumulated(name, family.samples)
        for (sample, labels), value in sorted(samples.items(), key=_in_order):
            metric.add_sample(sample, dict(labels), value)
        yield metric


def _cumulated(name: str, raw: dict[tuple[str, Labels], float]) -> dict[tuple[str, Labels], float]:
    """Files hold the count of each bucket alone; Prometheus wants those below it added."""
    series: dict[Labels, list[tuple[float, float]]] = {}
    result = {}
    for (sample, labels), value in raw.items():
        bounds = dict(labels)
        if (bound := bounds.pop("le", None)) is None:
            result[sample, labels] = value
        else:
            series.setdefault(tuple(bounds.items()), []).append((float(bound), value))
    for labels, buckets in series.items():
        total = 0.0
        for upper, value in sorted(buckets):
            total += value
            result[f"{name}_bucket", (*labels, ("le", floatToGoString(upper)))] = total
        result[f"{name}_count", labels] = total
    return result


def _in_order(item: tuple[tuple[str, Labels], float]) -> Any:
    (sample, labels), _ = item
    plain = tuple(pair for pair in labels if pair[0] != "le")
    return plain, sample, float(dict(labels).get("le", 0))


# What the recorder keeps, in a sentence for each kind.
RECORDS = {
    "spans": "Spans that ended, sampled",
    "logs": "Log records that are exported by OTLP",
    "events": "Alerts on their way to the spool",
}


def _records(kind: str, totals: account.Totals) -> Iterator[Metric]:
    name, what = f"telemetry_{kind}", RECORDS[kind]
    yield _counter(f"{name}_produced", f"{what}.", totals.produced)
    yield _counter(f"{name}_exported", f"{what}: handed on.", totals.exported)
    held = Metric(f"{name}_held", f"{what}: waiting for the agent.", "gauge")
    held.add_sample(f"{name}_held", {}, totals.held)
    yield held
    dropped = Metric(f"{name}_dropped", f"{what}: lost, by why.", "counter")
    for reason, number in totals.dropped.items():
        dropped.add_sample(f"{name}_dropped_total", {"reason": reason}, number)
    yield dropped


def _counter(name: str, doc: str, value: int) -> Metric:
    metric = Metric(name, doc, "counter")
    metric.add_sample(f"{name}_total", {}, value)
    return metric


def _own() -> Iterator[Metric]:
    errors = Metric("telemetry_scrape_errors", "Metrics files that a scrape left out.", "counter")
    errors.add_sample("telemetry_scrape_errors_total", {}, _Errors.total)
    yield errors
    info = Metric("build_info", "What is running; always 1.", "gauge")
    labels = {"version": _version(), "python": platform.python_version()}
    info.add_sample("build_info", labels, 1)
    yield info


@functools.cache
def _version() -> str:
    try:
        return metadata.version("followthrough")
    except metadata.PackageNotFoundError:
        return "unknown"
