"""What the dashboards show, as data; generate.py makes Grafana's JSON of it."""  # noqa: INP001  a script's part, no package

from __future__ import annotations

from dataclasses import dataclass

TASK = 'task=~"$task"'
ENDS = f'celery_task_results_total{{{TASK}, outcome!~"retry|requeued|publish_failed"}}'
FAILURES = f'celery_task_results_total{{{TASK}, outcome!~"success|ignored"}}'
# As the alerts have it.
ERRORS = (("green", None), ("red", 0.05))
SPANS = "traces_span_metrics_duration_seconds_bucket"


@dataclass(frozen=True)
class Query:
    """An expression and the legend of its series; `exemplars` puts traces on the graph."""

    expr: str
    legend: str = ""
    exemplars: bool = False


@dataclass(frozen=True)
class Panel:
    """What one panel shows; `width` is in Grafana's 24 columns, `unit` one of Grafana's ids.

    `colours` are steps: each colour holds from its value on, the first from the start.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    colours: tuple[tuple[str, float | None], ...] = (("blue", None),)


def quantiles(metric: str, labels: str, by: str, *, exemplars: bool = False) -> tuple[Query, ...]:
    """Median and 95th percentile of a histogram, one pair of series a value of label `by`."""
    rate = f"sum by (le, {by}) (rate({metric}{{{labels}}}[$__rate_interval]))"
    return tuple(
        Query(f"histogram_quantile({q}, {rate})", f"{{{{{by}}}}} p{q * 100:.0f}", exemplars)
        for q in (0.5, 0.95)
    )


ROWS: dict[str, tuple[Panel, ...]] = {
    "Now": (
        Panel(
            "Requests",
            "Requests answered per second, mean of 5 minutes.",
            "reqps",
            (Query("sum(job:http_server_requests:rate5m)"),),
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Request errors",
            "Share of requests answered with a 5xx status, mean of 5 minutes.",
            "percentunit",
            (Query("max(job:http_server_request_errors:ratio_rate5m)"),),
            kind="stat",
            width=4,
            height=4,
            colours=ERRORS,
        ),
        Panel(
            "Tasks published",
            "Tasks handed to the broker per second, mean of 5 minutes.",
            "ops",
            (Query(f"sum(task:celery_tasks_published:rate5m{{{TASK}}})"),),
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Tasks ended",
            "Tasks that ended per second, however; retries are not ends. Mean of 5 minutes.",
            "ops",
            (Query(f"sum(task:celery_task_ends:rate5m{{{TASK}}})"),),
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Worst task",
            "Share of failures among the ended tasks of the task name that fails most.",
            "percentunit",
            (Query(f"max(task:celery_task_failures:ratio_rate5m{{{TASK}}})"),),
            kind="stat",
            width=4,
            height=4,
            colours=ERRORS,
        ),
        Panel(
            "Targets up",
            "Share of the scraped targets that answered Prometheus.",
            "percentunit",
            (Query("avg(up)"),),
            kind="stat",
            width=4,
            height=4,
            colours=(("red", None), ("green", 1)),
        ),
    ),
    "Requests": (
        Panel(
            "Requests by route and status",
            "Requests per second; the route is the template, empty where none matched.",
            "reqps",
            (
                Query(
                    "sum by (http_request_method, http_route, http_response_status_code) "
                    "(rate(http_server_request_duration_seconds_count[$__rate_interval]))",
                    "{{http_request_method}} {{http_route}} {{http_response_status_code}}",
                ),
            ),
        ),
        Panel(
            "Request duration",
            "Time to answer, by route.",
            "s",
            quantiles("http_server_request_duration_seconds_bucket", "", "http_route"),
        ),
    ),
    "Tasks": (
        Panel(
            "Published and ended",
            "Lines apart mean a queue that grows: more is published than ends.",
            "ops",
            (
                Query(
                    f"sum(rate(celery_tasks_published_total{{{TASK}}}[$__rate_interval]))",
                    "published",
                ),
                Query(
                    f"sum(rate({ENDS}[$__rate_interval]))",
                    "ended",
                ),
            ),
        ),
        Panel(
            "Attempts by outcome",
            "Every attempt that ended, by how: success, failure, retry, revoked and so on.",
            "ops",
            (
                Query(
                    f"sum by (outcome) (rate(celery_task_results_total{{{TASK}}}"
                    "[$__rate_interval]))",
                    "{{outcome}}",
                ),
            ),
        ),
        Panel(
            "Task duration",
            "Time an attempt ran, by task, failures included.",
            "s",
            quantiles("celery_task_duration_seconds_bucket", TASK, "task"),
        ),
        Panel(
            "Failures by error",
            "How many attempts failed in the shown time, by task and exception.",
            "short",
            (
                # Not increase(): a series begins with its first failure, which that doesn't see.
                Query(
                    "sum by (task, error_type) (clamp_min("
                    f"{FAILURES} - ({FAILURES} offset $__range or 0 * {FAILURES}), 0)) > 0"
                ),
            ),
            kind="table",
        ),
    ),
    "From the traces": (
        Panel(
            "Publishing",
            "Time web and workers wait for the broker to take a task. Dots are traces.",
            "s",
            quantiles(SPANS, 'span_kind="SPAN_KIND_PRODUCER"', "service_name", exemplars=True),
        ),
        Panel(
            "Calls to others",
            "Time of client spans, such as sending a mail. Dots are traces.",
            "s",
            quantiles(SPANS, 'span_kind="SPAN_KIND_CLIENT"', "span_name", exemplars=True),
        ),
        Panel(
            "Newest requests",
            "The newest traces of the web service; a click opens one.",
            "none",
            (),
            kind="traces",
            width=24,
        ),
    ),
    "Telemetry itself": (
        Panel(
            "Errors inside telemetry",
            "Errors that were swallowed so that the service went on; 0 is right.",
            "short",
            (
                Query(
                    "sum by (where) (increase(telemetry_errors_total[$__rate_interval]))",
                    "{{where}}",
                ),
                Query(
                    "sum(increase(telemetry_scrape_errors_total[$__rate_interval]))",
                    "files left out of a scrape",
                ),
            ),
        ),
        Panel(
            "Spans through the Collector",
            "Spans per second that came in and that went on to Jaeger after sampling.",
            "ops",
            (
                Query(
                    "sum(rate(otelcol_receiver_accepted_spans_total[$__rate_interval]))",
                    "received",
                ),
                Query(
                    "sum(rate(otelcol_exporter_sent_spans_total[$__rate_interval]))", "to Jaeger"
                ),
            ),
        ),
    ),
}
