"""Messages put aside: whole, private, bounded, and shown without their secrets."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from followthrough import quarantine
from followthrough.quarantine import QuarantineError, from_json, new, to_json


@given(payload=st.binary(max_size=200), error=st.text(max_size=50), queue=st.text(max_size=20))
def test_any_item_is_read_as_it_was_written(payload: bytes, error: str, queue: str) -> None:
    item = new(payload, raw=True, error=error, queue=queue)
    assert from_json(to_json(item)) == item


@given(st.binary(max_size=100))
def test_any_other_file_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(QuarantineError):
        from_json(data)


def test_only_its_owner_reads_an_item(tmp_path: Path) -> None:
    item = new(b"x", task="t")
    assert quarantine.keep(tmp_path, item) == 0
    (path,) = quarantine.folder(tmp_path).iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert quarantine.items(tmp_path) == [item]


def test_the_oldest_items_go_for_newer_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "ITEMS", 3)
    ids = iter("abcde")
    monkeypatch.setattr(quarantine.secrets, "token_hex", lambda _: next(ids))
    dropped = [quarantine.keep(tmp_path, new(b"x", task=str(n))) for n in range(5)]
    assert dropped == [0, 0, 0, 1, 1]
    assert {item.task for item in quarantine.items(tmp_path)} == {"2", "3", "4"}


def test_large_items_go_sooner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "BYTES", 5000)
    assert quarantine.keep(tmp_path, new(b"x" * 3000)) == 0
    assert quarantine.keep(tmp_path, new(b"y" * 3000)) == 1
    assert len(quarantine.items(tmp_path)) == 1


def test_a_long_payload_is_cut_and_says_so() -> None:
    item = new(b"x" * (quarantine.PAYLOAD + 1))
    assert (len(item.payload), item.is_whole) == (quarantine.PAYLOAD, False)
    assert new(b"x").is_whole


def test_an_item_is_found_by_a_part_of_its_id_if_that_names_one(tmp_path: Path) -> None:
    items = [new(b"x"), new(b"y")]
    for item in items:
        quarantine.keep(tmp_path, item)
    assert quarantine.find(tmp_path, items[0].id[-8:]) == items[0]
    with pytest.raises(QuarantineError, match="2 items"):
        quarantine.find(tmp_path, items[0].id[:4])
    with pytest.raises(QuarantineError, match="no item"):
        quarantine.find(tmp_path, "nothing")
    quarantine.drop(tmp_path, items[0])
    assert quarantine.items(tmp_path) == [items[1]]


def test_what_is_shown_holds_no_secrets() -> None:
    body = base64.b64encode(json.dumps([[], {"password": "hunter2"}, {}]).encode()).decode()
    message = {"body": body, "properties": {"body_encoding": "base64"}, "headers": {"task": "t"}}
    shown = quarantine.shown(new(json.dumps(message).encode(), error="token=hunter2"))
    assert "hunter2" not in json.dumps(shown)
    assert shown["payload"]["headers"] == {"task": "t"}
    assert "password" in json.dumps(shown)


def test_garbage_is_shown_as_text() -> None:
    assert quarantine.shown(new(b"[[[\xff", raw=True))["payload"] == "[[[�"
