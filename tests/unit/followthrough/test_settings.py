"""The settings mechanism: declared once, read strictly, every mistake told at once."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from followthrough.settings import (
    MASK,
    Settings,
    SettingsError,
    describe,
    load,
    parse,
    port_problems,
    without_password,
)


def test_defaults_are_the_standard_ports():
    """With nothing set, the agent listens where OpenTelemetry, Jaeger and Prometheus users look."""
    settings = load(Settings, {})
    assert (settings.otlp_port, settings.console_port, settings.metrics_port) == (4318, 16686, 9464)
    assert settings.embedded


def test_an_empty_value_counts_as_not_set():
    """OpenTelemetry's rule for environment variables holds for every setting."""
    assert load(Settings, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}).embedded


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:4318", "http://collector:4318"])
def test_any_endpoint_turns_the_embedded_store_off(endpoint):
    """Whatever the address is, giving one means that somebody else collects."""
    settings = load(Settings, {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
    assert not settings.embedded
    assert settings.traces_endpoint == f"{endpoint}/v1/traces"


def test_an_address_for_traces_alone_is_taken_as_it_is():
    """OTLP's per-signal address is a full one, and turns the embedded store off as well."""
    settings = load(Settings, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/otlp/spans"})
    assert settings.traces_endpoint == "http://c/otlp/spans"
    assert not settings.embedded


def test_every_wrong_value_is_told_at_once():
    """One start tells all mistakes, each with its name and what is wrong with it."""
    environ = {
        "FOLLOWTHROUGH_OTLP_PORT": "many",
        "FOLLOWTHROUGH_LOG_FORMAT": "xml",
        "OTEL_SDK_DISABLED": "perhaps",
        "FOLLOWTHROUGH_TRACES_MAX_AGE": "nan",
    }
    with pytest.raises(SettingsError) as caught:
        load(Settings, environ)
    assert len(caught.value.problems) == 4
    assert all(any(p.startswith(name) for p in caught.value.problems) for name in environ)


def test_contradictions_are_told():
    """A notifier without its address, and two listeners on one port, are refused."""
    environ = {"FOLLOWTHROUGH_ALERT_NOTIFIERS": "log,webhook", "FOLLOWTHROUGH_OTLP_PORT": "9464"}
    with pytest.raises(SettingsError) as caught:
        load(Settings, environ)
    text = str(caught.value)
    assert "FOLLOWTHROUGH_ALERT_WEBHOOK_URL" in text
    assert "taken by" in text


def test_secrets_are_masked_and_sources_named():
    """The table shows where a value came from, and never a secret."""
    environ = {
        "FOLLOWTHROUGH_ALERT_NOTIFIERS": "webhook",
        "FOLLOWTHROUGH_ALERT_WEBHOOK_URL": "http://user:hunter2@hooks/",
        "FOLLOWTHROUGH_ALERT_WEBHOOK_SECRET": "whsec_hunter2",
    }
    rows = {row.env: row for row in describe(load(Settings, environ), environ)}
    assert rows["FOLLOWTHROUGH_ALERT_WEBHOOK_SECRET"].value == MASK
    assert not any("hunter2" in row.value for row in rows.values())
    assert "environment" in rows["FOLLOWTHROUGH_ALERT_WEBHOOK_URL"].source
    assert rows["FOLLOWTHROUGH_OTLP_PORT"].source == "default"


def test_every_setting_has_a_sentence_and_a_name_of_its_own():
    """The table is the documentation: no blank line, no name twice."""
    rows = describe(load(Settings, {}), {})
    assert all(row.doc.endswith(".") for row in rows)
    assert len({row.env for row in rows}) == len(rows)


@given(st.lists(st.text(string.ascii_letters + "._*", min_size=1)))
def test_lists_are_split_at_commas_and_trimmed(names):
    """Spaces around the commas of a list mean nothing."""
    assert parse(tuple[str, ...], " , ".join(names)) == tuple(names)


@given(st.text(max_size=20))
def test_a_number_parses_or_says_why(text):
    """No text makes the parser fail with anything but its own error."""
    try:
        assert parse(int, text) >= 0
    except ValueError as error:
        assert "whole number" in str(error) or "negative" in str(error)


def test_paths_are_absolute():
    """A process that changes its directory later still finds its files."""
    assert parse(Path, "state").is_absolute()


@given(st.text(max_size=40))
def test_masking_never_fails(text):
    """Masking takes any text, also what only looks like an address."""
    assert isinstance(without_password(text), str)


def test_ports_out_of_range_are_named():
    """Port 0 and 65536 are refused by name."""
    assert len(port_problems(A=0, B=65536, C=80)) == 2


@pytest.mark.parametrize("name", ["PROTOCOL", "TRACES_PROTOCOL"])
@pytest.mark.parametrize("protocol", ["grpc", "http/json"])
def test_a_protocol_that_is_not_spoken_is_refused(name, protocol):
    """Spans sent over HTTP to a gRPC port would all be lost without a word."""
    name = f"OTEL_EXPORTER_OTLP_{name}"
    with pytest.raises(SettingsError) as caught:
        load(Settings, {name: protocol})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{name}: '{protocol}' is not supported; unset it or set http/")


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
        {"OTEL_TRACES_EXPORTER": "console"},
        {"OTEL_SDK_DISABLED": "true"},
    ],
)
def test_the_protocol_of_what_sends_no_span_is_nobodys_affair(environ):
    """The environment may serve other programs, whose metrics or logs go over gRPC."""
    assert load(Settings, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", **environ})


def test_exporters_are_a_list():
    """As in the specification: several, parted by commas."""
    settings = load(Settings, {"OTEL_TRACES_EXPORTER": "otlp, Console"})
    assert settings.traces_exporters == ("otlp", "console")


@pytest.mark.parametrize("exporters", ["none,otlp", "zipkin", "otlp,zipkin"])
def test_exporters_that_can_not_be_are_refused(exporters):
    """One that the kit doesn't have, or none and yet one."""
    with pytest.raises(SettingsError, match="OTEL_TRACES_EXPORTER: "):
        load(Settings, {"OTEL_TRACES_EXPORTER": exporters})


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ("service.name=shop", "shop"),
        ("team=a, service.name = my%20shop ,x=y", "my shop"),
        ("service.name=a,service.name=b", "b"),
        ("service.name=", None),
        ("nothing,my.service.name=x", None),
    ],
)
def test_the_resource_attributes_may_name_the_service(attributes, name):
    """Read as the SDK reads them, so that logs and spans carry one name."""
    assert load(Settings, {"OTEL_RESOURCE_ATTRIBUTES": attributes}).service_name == name


def test_the_service_name_wins_over_the_resource_attributes():
    """The specification's order."""
    environ = {"OTEL_SERVICE_NAME": "web", "OTEL_RESOURCE_ATTRIBUTES": "service.name=shop"}
    assert load(Settings, environ).service_name == "web"


ADDRESSES = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "FOLLOWTHROUGH_ALERT_WEBHOOK_URL",
]
WRONG_ADDRESSES = [
    "collector:4318",
    "collector",
    "//collector:4318",
    "http://",
    "http://canary:99999",
    "http://user:canary@host:0",
    "http://host:canary",
    "http://[canary",
    "ftp://canary/",
]


@pytest.mark.parametrize("env", ADDRESSES)
@pytest.mark.parametrize("address", WRONG_ADDRESSES)
def test_an_address_that_is_none_is_refused(env, address):
    """At load, by name, and without the address, which may hold a password."""
    notifiers = {"FOLLOWTHROUGH_ALERT_NOTIFIERS": "webhook"} if "WEBHOOK" in env else {}
    with pytest.raises(SettingsError) as caught:
        load(Settings, {env: address, **notifiers})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{env}: ")
    assert "canary" not in problem


@pytest.mark.parametrize("address", ["https://c", "http://[::1]:4318/x", "HTTP://u:p@c:1/?q"])
def test_an_address_that_is_one_is_taken(address):
    """Any host, port, path and user."""
    assert load(Settings, {"OTEL_EXPORTER_OTLP_ENDPOINT": address})


def test_the_schedule_delay_is_in_milliseconds_and_not_zero():
    """A second by default; the SDK would refuse 0 later and with a traceback."""
    assert load(Settings, {}).bsp_schedule_delay == 1000
    assert load(Settings, {"OTEL_BSP_SCHEDULE_DELAY": "60000"}).bsp_schedule_delay == 60000
    with pytest.raises(SettingsError, match="OTEL_BSP_SCHEDULE_DELAY"):
        load(Settings, {"OTEL_BSP_SCHEDULE_DELAY": "0"})
