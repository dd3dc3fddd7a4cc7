"""The `followthrough` command."""

from __future__ import annotations

import pytest

from followthrough import cli


def test_settings_are_shown_with_their_source_and_secrets_masked(monkeypatch, capsys):
    monkeypatch.setenv("FOLLOWTHROUGH_ALERT_NOTIFIERS", "webhook")
    monkeypatch.setenv("FOLLOWTHROUGH_ALERT_WEBHOOK_URL", "http://127.0.0.1/hook")
    monkeypatch.setenv("FOLLOWTHROUGH_ALERT_WEBHOOK_SECRET", "whsec_c2VjcmV0c2VjcmV0c2VjcmV0")
    assert cli.main(["settings"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "4318" in lines["FOLLOWTHROUGH_OTLP_PORT"]
    assert "default" in lines["FOLLOWTHROUGH_OTLP_PORT"]
    assert "environment" in lines["FOLLOWTHROUGH_ALERT_WEBHOOK_SECRET"]
    assert "whsec_c2Vj" not in lines["FOLLOWTHROUGH_ALERT_WEBHOOK_SECRET"]


def test_wrong_settings_are_all_told_at_once(monkeypatch, capsys):
    monkeypatch.setenv("FOLLOWTHROUGH_OTLP_PORT", "x")
    monkeypatch.setenv("FOLLOWTHROUGH_TRACES_MAX_AGE", "y")
    assert cli.main(["settings"]) == 2
    told = capsys.readouterr().err
    assert "FOLLOWTHROUGH_OTLP_PORT" in told
    assert "FOLLOWTHROUGH_TRACES_MAX_AGE" in told


def test_a_command_is_needed():
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 2
