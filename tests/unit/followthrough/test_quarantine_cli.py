"""The command that looks at messages in quarantine, and sends or removes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from followthrough import attempts, quarantine
from followthrough.cli import main
from tests.support import free_port, redis_server

MESSAGE = {
    "body": "W10=",
    "headers": {"task": "t", "id": "1"},
    "properties": {"body_encoding": "base64", "priority": 0},
}


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FOLLOWTHROUGH_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("CELERY_BROKER_URL", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as (_redis, url):
        yield url


def kept(state: Path, payload: bytes = json.dumps(MESSAGE).encode(), **said: Any) -> str:
    values = {"queue": "q", "task": "t", "task_id": "1", "error": "it broke", **said}
    item = quarantine.new(payload, **values)
    quarantine.keep(state, item)
    return item.id


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(["quarantine", *argv])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_list_has_a_line_for_each_message(state: Path, capsys: Any) -> None:
    assert run(capsys, "list") == (0, f"nothing in {state}/quarantine\n", "")
    ids = [kept(state), kept(state, b"x", raw=True, task="a\x1b[2Jb")]
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["ID", *ids]
    assert "a?[2Jb" in out


def test_one_is_shown_and_dropped(state: Path, capsys: Any) -> None:
    item = kept(state)
    code, out, _ = run(capsys, "show", item[-8:])
    assert (code, json.loads(out)["payload"]["body"]) == (0, [])
    assert run(capsys, "drop", item) == (0, f"dropped {item}\n", "")
    assert quarantine.items(state) == []


@pytest.mark.parametrize("action", ["show", "drop", "requeue"])
def test_an_id_that_is_none_is_said_with_code_2(state: Path, capsys: Any, action: str) -> None:
    code, out, err = run(capsys, action, "nothing")
    assert (code, out) == (2, "")
    assert err.startswith("followthrough quarantine: no item in")


def test_a_message_goes_back_to_its_queue_as_it_was(state: Path, capsys: Any, broker: str) -> None:
    item = kept(state)
    attempts.note_death(state, "1")
    assert run(capsys, "requeue", item, "--broker", broker)[0] == 0
    with redis.Redis.from_url(broker) as client:
        assert json.loads(client.rpop("q")) == MESSAGE
    assert quarantine.items(state) == []
    assert attempts.of(state, "1").deaths == 0


def test_garbage_goes_back_to_its_list_as_it_was(state: Path, capsys: Any, broker: str) -> None:
    item = kept(state, b"[[[\xff", raw=True, broker=broker, prefix="p-")
    assert run(capsys, "requeue", item)[0] == 0
    with redis.Redis.from_url(broker) as client:
        assert client.rpop("p-q") == b"[[[\xff"


@pytest.mark.parametrize(
    ("said", "payload", "reason"),
    [
        ({"broker": "redis://:**@h/0"}, b"{}", "without its password"),
        ({"broker": "redis://:********@h/0"}, b"{}", "without its password"),
        ({"queue": ""}, b"{}", "which queue"),
        ({}, b"x" * (quarantine.PAYLOAD + 1), "let its sender send it again"),
    ],
)
def test_what_can_t_be_sent_says_why(
    state: Path, capsys: Any, said: dict[str, str], payload: bytes, reason: str
) -> None:
    code, _, err = run(capsys, "requeue", kept(state, payload, **said))
    assert code == 2
    assert reason in err
    assert len(quarantine.items(state)) == 1


def test_a_broker_that_is_down_leaves_the_message_where_it_is(state: Path, capsys: Any) -> None:
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    code, _, err = run(capsys, "requeue", kept(state), "--broker", url)
    assert code == 2
    assert "can't be sent to" in err
    assert "secret" not in err
    assert len(quarantine.items(state)) == 1
