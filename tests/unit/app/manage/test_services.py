"""Which services the settings ask for."""

import signal

import pytest

from app import settings as configuration
from app.manage import services


def built(tmp_path, **env):
    env = {"STATE_DIR": str(tmp_path), **env}
    settings = configuration.load(env)
    return {service.name: service for service in services.build(settings, env)}


def wanted_ports(table):
    return {port.number for service in table.values() for port in service.ports}


def test_by_default_all_run_in_the_order_of_their_needs(tmp_path):
    table = built(tmp_path)
    assert list(table) == ["redis", "mail", "agent", "web", "worker", "beat"]
    assert wanted_ports(table) == {6379, 1025, 9464, 16686, 4318, 5000}
    for name in ("web", "worker", "beat"):
        assert table[name].needs == ("redis",)


def test_a_broker_of_the_user_replaces_the_embedded_one(tmp_path):
    table = built(tmp_path, CELERY_BROKER_URL="redis://127.0.0.1:6379/0")
    assert "redis" not in table
    assert table["worker"].needs == ()


def test_a_mail_server_of_the_user_replaces_the_embedded_one(tmp_path):
    assert "mail" not in built(tmp_path, SMTP_URL="smtp://127.0.0.1:1025")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:4318", "http://collector:4318"])
def test_a_collector_of_the_user_leaves_the_agent_its_metrics_alone(tmp_path, endpoint):
    """Whatever its value: also the embedded receiver's own address turns that one off."""
    agent = built(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)["agent"]
    assert [port.env for port in agent.ports] == ["OTEL_EXPORTER_PROMETHEUS_PORT"]
    assert [address.url for address in agent.addresses] == ["http://127.0.0.1:9464/metrics"]


def test_production_migrates_before_anything_uses_the_database(tmp_path):
    table = built(tmp_path, APP_ENV="production", SECRET_KEY="a long and random text")
    assert table["migrate"].once
    assert all("migrate" in table[name].needs for name in ("web", "worker", "beat"))


def test_redis_keeps_everything_in_its_append_only_file_and_is_private(tmp_path):
    argv = " ".join(built(tmp_path)["redis"].argv)
    for option in (
        "--bind 127.0.0.1",
        "--appendonly yes",
        "--appendfsync everysec",
        "--maxmemory-policy noeviction",
        f"--dir {tmp_path}/redis",
        "--save ",
    ):
        assert option in argv


def test_redis_falls_back_to_the_path(monkeypatch):
    monkeypatch.setattr(services.importlib.util, "find_spec", lambda _: None)
    known = {"redis-server": "/usr/bin/redis-server"}
    monkeypatch.setattr(services.shutil, "which", known.get)
    assert services.redis_program() == "/usr/bin/redis-server"


def test_without_any_redis_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(services.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(services.shutil, "which", lambda _: None)
    with pytest.raises(LookupError, match="install valkey or redis"):
        services.redis_program()


def stage_and_kill(service):
    return service.stage, service.stop[-1].after


def test_even_what_does_not_obey_is_gone_within_ten_seconds(tmp_path):
    """The kills come in the order of the stages, the last before the time is over."""
    table = built(tmp_path).values()
    kills = [service.stop[-1] for service in sorted(table, key=stage_and_kill)]
    times = [kill.after for kill in kills]
    assert {kill.signal for kill in kills} == {signal.SIGKILL}
    assert times == sorted(times)
    assert times[-1] < 10


def test_new_work_stops_first_and_the_broker_last(tmp_path):
    table = built(tmp_path)
    stages = [table[name].stage for name in ("web", "worker", "agent", "redis")]
    assert stages == sorted(set(stages))


def test_an_ipv6_host_is_an_address_in_brackets():
    assert services.url("http", "::", 80, "/x") == "http://[::1]:80/x"
