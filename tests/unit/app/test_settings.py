"""The service's settings."""

from __future__ import annotations

import pytest

from app import settings


def test_the_default_broker_follows_the_embedded_port():
    """Moving the embedded Redis moves everything that talks to it."""
    loaded = settings.load({"REDIS_PORT": "7000"})
    assert loaded.broker_url == loaded.result_backend == "redis://127.0.0.1:7000/0"


def test_telemetry_lives_under_the_state_directory(tmp_path):
    """One directory holds all that the service keeps, unless the kit's own is named."""
    loaded = settings.load({"STATE_DIR": str(tmp_path)})
    assert loaded.telemetry.state_dir == tmp_path / "telemetry"
    assert loaded.database_url == f"sqlite:///{tmp_path}/app.db"
    named = settings.load({"FOLLOWTHROUGH_STATE_DIR": str(tmp_path / "x")})
    assert named.telemetry.state_dir == tmp_path / "x"


def test_production_refuses_defaults_meant_for_development():
    """A default secret, debug mode and eager tasks are all named at once."""
    environ = {"APP_ENV": "production", "FLASK_DEBUG": "1", "CELERY_TASK_ALWAYS_EAGER": "1"}
    with pytest.raises(settings.SettingsError) as caught:
        settings.load(environ)
    names = {problem.split(":")[0] for problem in caught.value.problems}
    assert names == {"SECRET_KEY", "FLASK_DEBUG", "CELERY_TASK_ALWAYS_EAGER"}


def test_problems_of_service_and_kit_are_told_together():
    """One start shows what is wrong in both tables."""
    with pytest.raises(settings.SettingsError) as caught:
        settings.load({"PORT": "x", "FOLLOWTHROUGH_LOG_LEVEL": "loud"})
    assert len(caught.value.problems) == 2


def test_contradictions_of_service_and_kit_are_told_together():
    """Contradictions are listed together as well, and none twice."""
    environ = {
        "PORT": "4318",
        "SMTP_URL": "http://mail",
        "DATABASE_URL": "mysql://db/app",
        "FOLLOWTHROUGH_ALERT_NOTIFIERS": "webhook",
    }
    with pytest.raises(settings.SettingsError) as caught:
        settings.load(environ)
    problems = caught.value.problems
    assert len(problems) == len(set(problems)) == 4


def test_flask_env_is_an_alias_with_a_warning():
    """The old name still works, and says what to use."""
    with pytest.warns(UserWarning, match="APP_ENV"):
        loaded = settings.load({"FLASK_ENV": "testing"})
    assert loaded.env == "testing"


def test_a_password_in_an_address_is_masked():
    """Neither the table nor an error shows a password."""
    environ = {"SMTP_URL": "smtp://me:hunter2@mail:25"}
    rows = settings.describe(settings.load(environ), environ)
    assert not any("hunter2" in row.value for row in rows)
    with pytest.raises(settings.SettingsError) as caught:
        settings.load({"SMTP_URL": "ftp://me:hunter2@mail"})
    assert "hunter2" not in str(caught.value)


def test_every_setting_has_a_sentence():
    """The table has no blank cell where a sentence belongs."""
    rows = settings.describe(settings.load({}), {})
    assert all(row.env and row.doc.endswith(".") for row in rows)
    assert len({row.env for row in rows}) == len(rows)


def test_what_cannot_be_read_hides_no_contradiction():
    """One start tells both kinds of mistakes."""
    with pytest.raises(settings.SettingsError) as caught:
        settings.load({"PORT": "x", "APP_ENV": "production"})
    names = {problem.split(":")[0] for problem in caught.value.problems}
    assert names == {"PORT", "SECRET_KEY"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEB_THREADS", "0"),
        ("CELERY_WORKER_CONCURRENCY", "0"),
        ("CELERY_RESULT_EXPIRES", "0"),
        ("SMTP_URL", "smtp://mail:abc"),
        ("CELERY_BROKER_URL", "redis://host:99999/0"),
        ("CELERY_BROKER_URL", "unix:///run/redis.sock"),
        ("CELERY_BROKER_URL", "redis://[::1"),
        ("DATABASE_URL", "nonsense"),
    ],
)
def test_values_that_cannot_work_are_refused(name, value):
    """What would fail at the first request, or hang, is told at the start."""
    with pytest.raises(settings.SettingsError) as caught:
        settings.load({name: value})
    assert all(name in p or "CELERY_RESULT_BACKEND" in p for p in caught.value.problems)


def test_production_refuses_a_short_secret():
    """What can be guessed signs nothing."""
    with pytest.raises(settings.SettingsError, match="shorter"):
        settings.load({"APP_ENV": "production", "SECRET_KEY": "short"})


@pytest.mark.parametrize(
    ("environ", "trust"),
    [
        ({"APP_ENV": "production"}, ("none",)),
        ({"APP_ENV": "production", "FOLLOWTHROUGH_TRUST": "10.0.0.0/8"}, ("10.0.0.0/8",)),
        ({}, ("all",)),
    ],
)
def test_production_continues_nobody_s_trace(environ: dict[str, str], trust: tuple[str, ...]):
    loaded = settings.load({"SECRET_KEY": "long" * 8, **environ})
    assert loaded.telemetry.trust == trust


def test_production_redelivers_only_what_no_worker_can_hold_still():
    """Elsewhere, such as in tests, it may be shorter."""
    environ = {"APP_ENV": "production", "SECRET_KEY": "long" * 4}
    with pytest.raises(settings.SettingsError, match=r"VISIBILITY_TIMEOUT: .*than 5400"):
        settings.load({**environ, "CELERY_VISIBILITY_TIMEOUT": "5400"})
    settings.load({**environ, "CELERY_VISIBILITY_TIMEOUT": "5401"})
    assert settings.load({"CELERY_VISIBILITY_TIMEOUT": "1"}).visibility_timeout == 1
