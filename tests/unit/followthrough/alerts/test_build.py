from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from followthrough.alerts import build as module
from followthrough.alerts.build import build, problems
from followthrough.settings import Settings, SettingsError, load

WEBHOOK = {"FOLLOWTHROUGH_ALERT_WEBHOOK_URL": "http://127.0.0.1:9/"}


def settings(names, **env):
    return load(Settings, {"FOLLOWTHROUGH_ALERT_NOTIFIERS": names, **env})


PLUGIN = SimpleNamespace(
    good=lambda _settings: SimpleNamespace(name="good"),
    failing=lambda _settings: {}["canary"],
    climbing=lambda _settings: SimpleNamespace(name="../up"),
)


def offer(monkeypatch, **values):
    """Makes the entry points those given; `plugin:good` and `plugin:climbing` can be loaded."""
    monkeypatch.setitem(sys.modules, "plugin", PLUGIN)
    entries = [EntryPoint(name, value, module.GROUP) for name, value in values.items()]
    monkeypatch.setattr(module, "entry_points", lambda **_group: entries)


def test_by_default_alerts_are_logged():
    assert [notifier.name for notifier in build(load(Settings, {}))] == ["log"]


def test_notifiers_come_in_the_order_of_the_settings_and_once():
    built = build(settings("webhook,log,webhook", **WEBHOOK))
    assert [notifier.name for notifier in built] == ["webhook", "log"]


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(SettingsError) as caught:
        build(settings("log,pigeon"))
    assert caught.value.problems == [
        "FOLLOWTHROUGH_ALERT_NOTIFIERS: 'pigeon' is no notifier; known are log, webhook"
    ]


def test_all_that_is_wrong_is_told_at_once():
    """What the settings' own look has let through: an address with a gap, names, a secret."""
    env = {
        "FOLLOWTHROUGH_ALERT_WEBHOOK_URL": "http://host/a b",
        "FOLLOWTHROUGH_ALERT_WEBHOOK_SECRET": "canary!",
    }
    found = problems(settings("pigeon,webhook,owl", **env))
    assert [problem.split(": ")[0] for problem in found] == [
        "FOLLOWTHROUGH_ALERT_NOTIFIERS",
        "FOLLOWTHROUGH_ALERT_WEBHOOK_URL",
        "FOLLOWTHROUGH_ALERT_WEBHOOK_SECRET",
        "FOLLOWTHROUGH_ALERT_NOTIFIERS",
    ]
    assert "canary" not in str(found)


def test_a_notifier_that_fails_at_its_making_is_a_problem_too(monkeypatch):
    """Its error's text may hold a secret and is left out."""
    offer(monkeypatch, other="plugin:failing")
    assert problems(settings("other")) == [
        "FOLLOWTHROUGH_ALERT_NOTIFIERS: 'other' can't be made: KeyError"
    ]


def test_settings_that_can_be_built_have_no_problems():
    assert problems(settings("log,webhook", **WEBHOOK)) == []


def test_others_come_through_the_entry_points(monkeypatch):
    offer(monkeypatch, other="plugin:good")
    assert [notifier.name for notifier in build(settings("other"))] == ["good"]


@pytest.mark.parametrize(
    "values", [{"a": "plugin:climbing"}, {"a": "plugin:good", "b": "plugin:good"}]
)
def test_a_name_that_would_mix_up_progress_files_is_refused(monkeypatch, values):
    offer(monkeypatch, **values)
    with pytest.raises(SettingsError, match="is not a fit name"):
        build(settings(",".join(values)))


@pytest.mark.parametrize("value", ["no_such_package:build", "json:no_such_function"])
def test_one_that_can_not_be_loaded_is_named(monkeypatch, value):
    offer(monkeypatch, other=value)
    with pytest.raises(SettingsError, match="'other' can't be loaded"):
        build(settings("other"))
