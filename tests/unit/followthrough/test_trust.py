"""Whose trace context is continued."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from followthrough import trust
from followthrough.settings import Settings, SettingsError, load


def judge(
    environ: dict[str, Any], *networks: str, key: str | None = None, proxies: int = 0
) -> bool:
    return trust.predicate(networks or ("none",), key, proxies)(environ)


def test_all_and_none_say_what_they_mean():
    assert judge({}, "all")
    assert not judge({"REMOTE_ADDR": "127.0.0.1"}, "none")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("fd00::1", True),
        ("11.0.0.1", False),
        ("fe80::1", False),
        ("", False),
        ("unix:", False),
        ("10.1.2.3, 10.1.2.3", False),
    ],
)
def test_networks_are_compared_with_the_raw_address(address: str, expected: bool):
    assert judge({"REMOTE_ADDR": address}, "10.0.0.0/8", "fd00::/8") is expected


def test_what_the_caller_says_of_its_way_is_not_believed_without_proxies():
    environ = {"REMOTE_ADDR": "11.0.0.1", "HTTP_X_FORWARDED_FOR": "10.0.0.1"}
    assert not judge(environ, "10.0.0.0/8")
    orig = {"REMOTE_ADDR": "11.0.0.1"}
    environ = {"REMOTE_ADDR": "10.0.0.1", "werkzeug.proxy_fix.orig": orig}
    assert not judge(environ, "10.0.0.0/8")


def test_each_proxy_is_believed_about_whom_it_has_seen():
    environ = {"REMOTE_ADDR": "10.0.0.9", "HTTP_X_FORWARDED_FOR": "10.6.6.6, 11.0.0.1, 10.0.0.2"}
    assert judge(environ, "10.0.0.0/8", proxies=1)
    assert not judge(environ, "10.0.0.0/8", proxies=2)
    assert not judge(environ, "10.0.0.0/8", proxies=4)
    assert not judge({"REMOTE_ADDR": "10.0.0.9"}, "10.0.0.0/8", proxies=1)


def test_a_key_s_prefix_is_enough():
    assert judge({"HTTP_X_API_KEY": "svc_1234"}, key="X-Api-Key: svc_")
    assert not judge({"HTTP_X_API_KEY": "svc"}, key="X-Api-Key:svc_")
    assert not judge({"HTTP_X_API_KEY": "évc_"}, key="X-Api-Key:svc_")
    assert not judge({}, key="X-Api-Key:svc_")


@given(
    st.dictionaries(st.sampled_from(["REMOTE_ADDR", "HTTP_X_FORWARDED_FOR", "HTTP_K"]), st.text())
)
def test_no_environ_raises(environ: dict[str, str]):
    for proxies in (0, 1, 3):
        judge(environ, "10.0.0.0/8", key="K:secret", proxies=proxies)


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"FOLLOWTHROUGH_TRUST": "all,10.0.0.0/8"}, "name all alone"),
        ({"FOLLOWTHROUGH_TRUST": "tenant"}, "'tenant' is neither"),
        ({"FOLLOWTHROUGH_TRUST_KEY": "hush"}, "not a header and a secret"),
        (
            {"FOLLOWTHROUGH_TRUST_KEY": "X-Key:hush", "FOLLOWTHROUGH_TRUST": "all"},
            "has no effect",
        ),
    ],
)
def test_what_is_wrong_is_said_without_the_secret(environ: dict[str, str], problem: str):
    with pytest.raises(SettingsError, match=problem) as caught:
        load(Settings, environ)
    assert "hush" not in str(caught.value)


def test_with_a_key_alone_nobody_else_is_trusted():
    assert load(Settings, {}).trust == ("all",)
    assert load(Settings, {"FOLLOWTHROUGH_TRUST_KEY": "X-Key:hush"}).trust == ("none",)
