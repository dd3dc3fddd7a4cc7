from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from followthrough.alerts import alert as alerts
from followthrough.alerts.alert import Alert, fingerprint, from_json, new_alert, to_json

# A busy machine is no failure.
PATIENT = settings(deadline=None)
TEXT = st.text(max_size=50)
TIMES = st.floats(0, alerts.LATEST)
IDS = st.from_regex(r"\Amsg_[A-Za-z0-9]{1,60}\Z")


@PATIENT
@given(st.builds(Alert, IDS, *[TEXT] * 8, TIMES))
def test_an_alert_survives_json(alert):
    assert from_json(to_json(alert)) == alert


@PATIENT
@given(
    st.fixed_dictionaries(
        {
            name: st.text(st.characters(), max_size=5000)
            for name in ("task", "task_id", "outcome", "error_type", "message", "service")
        }
    )
)
def test_any_text_makes_an_alert_of_at_most_20_kb_on_one_line(members):
    data = to_json(new_alert(**members))
    assert len(data) <= 20_000
    assert b"\n" not in data
    assert to_json(from_json(data)) == data


def test_lone_surrogates_are_replaced():
    assert new_alert(task="t", task_id="1", outcome="failure", message="\ud800!").message == "?!"


@PATIENT
@given(st.tuples(TEXT, TEXT, TEXT), st.tuples(TEXT, TEXT, TEXT))
def test_fingerprints_are_equal_exactly_when_the_cause_is(one, other):
    assert re.fullmatch("[0-9a-f]{16}", fingerprint(*one))
    assert (fingerprint(*one) == fingerprint(*other)) == (one == other)


def test_a_fingerprint_is_the_same_on_every_host_and_release():
    assert fingerprint("tasks.pay", "failure", "ValueError") == "7d855e4dee0f245a"


def test_fields_do_not_run_into_each_other():
    assert fingerprint("ab", "c", "") != fingerprint("a", "bc", "")


@PATIENT
@given(TEXT.filter(bool), TEXT, TEXT, TEXT)
def test_the_same_end_reported_twice_has_one_id(task_id, outcome, message, other):
    one = new_alert(task="t", task_id=task_id, outcome=outcome, message=message)
    two = new_alert(task="t", task_id=task_id, outcome=outcome, message=other)
    assert one.id == two.id


def test_another_outcome_or_task_has_another_id():
    ends = [("1", "failure"), ("1", "revoked"), ("2", "failure")]
    assert len({new_alert(task="t", task_id=i, outcome=o).id for i, o in ends}) == 3


def test_without_a_task_id_each_alert_is_its_own():
    assert len({new_alert(task="t", task_id="", outcome="rejected").id for _ in range(3)}) == 3


def test_a_long_message_is_cut_and_says_how_long_it_was():
    message = new_alert(task="t", task_id="1", outcome="failure", message="x" * 1_000_000).message
    assert len(message) == alerts.MESSAGE_LIMIT
    assert message.endswith("xx... (1000000 characters)")


def test_a_password_in_a_message_is_masked(make_alert):
    message = make_alert(message="can't reach redis://user:hunter2@db/0").message
    assert "hunter2" not in message
    assert "can't reach redis://" in message


def test_members_of_later_versions_are_left_out(make_alert):
    alert = make_alert()
    value = {**json.loads(to_json(alert)), "colour": "red"}
    assert from_json(json.dumps(value)) == alert


GOOD = json.loads(to_json(new_alert(task="t", task_id="1", outcome="failure", timestamp=1)))
BAD = [
    "",
    "{",
    "null",
    "[]",
    "3",
    b"\xff\xfe\xff",
    "[" * 100_000,
    *(json.dumps({k: v for k, v in GOOD.items() if k != name}) for name in GOOD),
    *(json.dumps({**GOOD, name: None}) for name in GOOD),
    *(
        json.dumps({**GOOD, "timestamp": value})
        for value in ("1", True, float("nan"), float("inf"), -1, 1e300, 10**400)
    ),
    *(json.dumps({**GOOD, "id": value}) for value in ("", "msg_", "msg_a\r\nb", "msg_../../x", 1)),
]


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
def test_what_is_no_alert_is_a_value_error(data):
    with pytest.raises(ValueError):  # noqa: PT011
        from_json(data)
