"""Which addresses may be called: public ones, and those that the settings name."""

from __future__ import annotations

import pytest

from app.services import addresses

PUBLIC = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::5db8:d822"]
PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",  # noqa: S104
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%lo",
    "fc00::1",
    "fec0::1",
    "fd00:ec2::254",
    "ff02::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::",
    "2001:db8::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_called(address):
    assert addresses.may_call("example.com", address, ())


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_may_not(address):
    """In none of the forms that lead to one."""
    assert not addresses.may_call("example.com", address, ())


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "fd00:ec2::254%lo", "0.0.0.0"])  # noqa: S104
def test_what_clouds_keep_keys_at_is_not_local(address):
    allowed = [each for each in addresses.LOCAL if each != "fc00::/7"]
    assert not addresses.may_call("example.com", address, allowed)


@pytest.mark.parametrize(
    ("entry", "host", "address", "may"),
    [
        ("10.1.0.0/16", "a.example", "10.1.2.3", True),
        ("10.1.0.0/16", "a.example", "10.2.2.3", False),
        ("10.1.2.3", "a.example", "10.1.2.3", True),
        ("127.0.0.0/8", "a.example", "::ffff:127.0.0.1", True),
        ("::1", "localhost", "::1", True),
        ("Hooks.Internal", "hooks.internal.", "10.1.2.3", True),
        ("hooks.internal", "a.hooks.internal", "10.1.2.3", False),
    ],
)
def test_an_entry_covers_a_network_or_a_host(entry, host, address, may):
    assert addresses.may_call(host, address, [entry]) is may


def test_an_entry_that_means_nothing_is_named():
    [problem] = addresses.problems(["10.0.0.0/8", "hooks.internal", "10.0.0.0/99"])
    assert "10.0.0.0/99" in problem


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "gopher://example.com",
        "http://",
        "http:///path",
        "http://:80/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://example.com:x/",
        "http://[::1/",
        "http://exa mple.com/",
        "http://example.com/\r\nHost: other",
        "http://example.com\\@127.0.0.1/",
        "http://bücher.example/",
        "http://example.com/" + "a" * 2048,
    ],
)
def test_what_is_no_web_address_is_refused(url):
    with pytest.raises(ValueError, match=r"\.$"):
        addresses.parsed(url)


def test_what_may_be_secret_is_left_out():
    parts = addresses.parsed("https://user:pass@example.com:8443/hook?token=1#part")
    assert addresses.bare(parts) == "https://example.com:8443/hook"
