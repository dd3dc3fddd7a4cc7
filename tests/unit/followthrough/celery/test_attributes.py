"""A span's attributes are what a message says, as far as it is of the right kind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from followthrough import names
from followthrough.celery import attributes

ANY = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers() | st.none())
HEADERS = st.dictionaries(
    st.sampled_from(
        ["eta", "expires", "parent_id", "root_id", "group", "origin", "retries", "timelimit"]
    ),
    ANY,
)


@given(HEADERS, st.text())
def test_whatever_a_message_says_the_attributes_are_plain_and_short(
    headers: dict[str, object], task_id: str
) -> None:
    found = attributes.of_message(headers, task_id)
    assert all(isinstance(value, str | int | float) for value in found.values())
    assert all(len(value) <= attributes.LONGEST for value in found.values() if type(value) is str)


def test_what_says_nothing_is_left_out() -> None:
    headers = {"root_id": "a", "retries": 0, "timelimit": [None, None], "eta": None}
    assert attributes.of_message(headers, "a") == {names.MESSAGING_MESSAGE_ID: "a"}


def test_limits_are_told_apart() -> None:
    found = attributes.of_message({"timelimit": [None, 2.5]}, "a")
    assert found[names.CELERY_SOFT_TIME_LIMIT] == 2.5
    assert names.CELERY_TIME_LIMIT not in found


def test_listed_arguments_are_found_by_name_or_place_and_hold_no_secret() -> None:
    def run(order_id: int, token: str = "", note: object = None) -> None: ...

    found = attributes.arguments(run, ("order_id", "token", "note", "none"), (5,), {"token": "x"})
    assert found == {"celery.arg.order_id": 5, "celery.arg.token": "********"}
    found = attributes.arguments(run, ("note",), (1, "t", {"password": "geheim-x"}), {})
    assert "geheim" not in str(found)
    assert "celery.arg.note" in found


@given(st.lists(st.text(), max_size=4), st.dictionaries(st.text(), st.text(), max_size=3))
def test_arguments_that_do_not_fit_raise_nothing(args: list[str], kwargs: dict[str, str]) -> None:
    def run(only: object) -> None: ...

    attributes.arguments(run, ("only", "other"), args, kwargs)


def test_a_message_without_an_id_has_no_empty_one() -> None:
    assert attributes.of_message({}, "") == {}
