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
