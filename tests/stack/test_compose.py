"""docker-compose.yml and the Dockerfile."""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.error
import urllib.request
from base64 import b64encode

import pytest

from app import queues
from tests.stack import traffic
from tests.stack.native import NOT_RUN, SECRETS, Stack, compose, image_files
from tests.stack.programs import program, run
from tests.support import HOME

pytestmark = pytest.mark.stack
OURS = ["agent", "beat", "flower", "mail", "migrate", "web", "worker"]
SERVICES = sorted([*OURS, "grafana", "jaeger", "otel-collector", "prometheus", "redis"])


def test_compose_reads_the_file():
    """Compose's own loader, which checks the specification's schema, takes the file."""
    services = compose(**SECRETS)
    assert sorted(services) == SERVICES
    assert services["worker"]["deploy"]["replicas"] == 2


def test_the_profile_queues_adds_a_worker_for_each_queue():
    """They take from every queue there is, and each is asked by its own name."""
    services = compose(**SECRETS, COMPOSE_PROFILES="queues")
    dedicated = {name: each for name, each in services.items() if name not in SERVICES}
    taken = []
    for name, service in dedicated.items():
        command, (_, check) = service["command"], service["healthcheck"]["test"]
        taken += command[command.index("-Q") + 1].split(",")
        assert f"--destination {command[command.index('-n') + 1].removesuffix('%h')}" in check, name
        assert service["stop_grace_period"] == services["worker"]["stop_grace_period"]
    assert sorted(taken) == sorted(queues.NAMES)


def test_compose_refuses_a_word_it_does_not_know(tmp_path):
    """The check above can fail: a misspelt key is an error."""
    text = (HOME / "docker-compose.yml").read_text().replace("healthcheck:", "helthcheck:", 1)
    (tmp_path / "docker-compose.yml").write_text(text)
    with pytest.raises(AssertionError, match="helthcheck"):
        run("compose", tmp_path / "docker-compose.yml", env=SECRETS)


def test_a_secret_that_is_missing_is_named():
    """Nothing starts with a default secret: each one without a value is an error."""
    for secret in SECRETS:
        env = {key: value for key, value in os.environ.items() if key not in SECRETS}
        rest = {key: value for key, value in SECRETS.items() if key != secret}
        done = subprocess.run(
            [program("compose"), "docker-compose.yml"],
            cwd=HOME,
            env={**env, **rest},
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode != 0
        assert f"{secret} is missing a value" in done.stderr


@pytest.mark.parametrize("name", [n for n in SERVICES if n != "migrate"])
def test_each_service_stays_up_and_stops_in_time(name):
    """Every service restarts, has time to stop, keeps to loopback and a version."""
    service = compose(**SECRETS)[name]
    assert service["restart"] == "unless-stopped"
    assert service["stop_grace_period"]
    assert {port["host_ip"] for port in service.get("ports", [])} <= {"127.0.0.1"}
    assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
    # The Collector's image has nothing that could ask.
    assert ("healthcheck" in service) != (name == "otel-collector")


def test_our_services_share_a_state_directory():
    """Metrics, alerts and schedules of one host are in one volume, on a read-only system."""
    services = compose(**SECRETS)
    for service in (services[name] for name in OURS):
        assert service["image"].startswith("followthrough:")
        assert [v["source"] for v in service["volumes"]] == ["state"]
        assert service["read_only"]
        assert service["init"]


def test_health_checks_fail_while_nothing_runs(tmp_path):
    """A health check that can't fail would tell nothing."""
    stack = Stack(tmp_path)
    for name in [n for n in SERVICES if n not in {"migrate", "grafana", "worker"}]:
        assert not stack.healthy(name), name


@pytest.mark.parametrize("name", sorted({*SERVICES} - {"migrate", *NOT_RUN}))
def test_each_command_runs_and_its_health_check_passes(stack, name):
    """The commands as written, on the image's files alone, become healthy in Compose's eyes."""
    for replica in stack.replicas(name):
        assert stack.healthy(name, replica)
        assert stack.running[replica].popen.poll() is None


def test_flower_asks_who_is_there(stack):
    """Flower answers nobody without the password."""
    address = stack.url("flower", 5555, "/api/workers")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(address, timeout=10).close()
    refused.value.close()
    assert refused.value.code == 401
    word = b64encode(SECRETS["FLOWER_BASIC_AUTH"].encode()).decode()
    request = urllib.request.Request(address, headers={"Authorization": f"Basic {word}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert json.loads(answer.read()) is not None


def test_our_services_write_to_their_volume_and_home_only(stack, tmp_path):
    """The image's file system is read-only in Compose; nothing was written into its copy here."""
    answer = traffic.send_email(stack)
    assert traffic.ended(stack, answer["task_id"])["state"] == "SUCCESS"
    assert files(stack.image) == files(image_files(tmp_path / "image"))


def files(folder):
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    )


def test_the_image_is_small_and_not_root():
    """Only what is copied reaches the build; hashes are required; root runs nothing."""
    text = (HOME / "Dockerfile").read_text()
    admitted = {
        line[1:]
        for line in (HOME / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied == admitted
    assert all((HOME / source).exists() for source in copied)
    assert "--require-hashes" in text
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["app"]
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.13-slim\S*$", text, re.MULTILINE)
