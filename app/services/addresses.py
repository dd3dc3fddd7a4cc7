"""Which addresses the service may call, so that a caller can't make it reach into its network."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SCHEMES = ("http", "https")
LONGEST_URL = 2048  # characters
# What is read differently by different parsers of addresses.
UNSAFE = frozenset('\\"<>^`{|}')
# Private networks of a machine and its site, without link-local ones: clouds keep keys there.
LOCAL = (
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::1/128",
    "fc00::/7",
)
_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


def parsed(url: str) -> SplitResult:
    """The parts of an http or https address; raises ValueError saying what is wrong."""
    if len(url) > LONGEST_URL:
        raise ValueError(f"Must have at most {LONGEST_URL} characters.")
    if not url.isascii() or any(each <= " " or each == "\x7f" or each in UNSAFE for each in url):
        raise ValueError("Holds characters that an address may not hold; percent-encode them.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("Is not an address.") from None
    if parts.scheme not in SCHEMES or not parts.hostname or port == 0:
        raise ValueError("Must be an http:// or https:// address.")
    return parts


def bare(parts: SplitResult) -> str:
    """The address without what may be secret in it: user, password, query and fragment."""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def literal(host: str) -> Address | None:
    """The IP address that `host` spells, if it does."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def may_call(host: str, address: str, allowed: Iterable[str]) -> bool:
    """Whether `host`, which means `address`, is public or among the `allowed`."""
    # An IPv6 scope (fe80::1%eth0) has no meaning here.
    reached = _reached(ip_address(address.partition("%")[0]))
    return _is_public(reached) or any(_covers(entry, host, reached) for entry in allowed)


def problems(allowed: Iterable[str]) -> list[str]:
    """A sentence for each entry that is neither a network nor a host."""
    wrong = [entry for entry in allowed if _network(entry) is None and not _is_host(entry)]
    return [f"{entry!r} is neither a network (10.1.0.0/16) nor a host name" for entry in wrong]


def _reached(address: Address) -> Address:
    # IPv6 addresses that stand for an IPv4 one lead where that one does.
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo or address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _covers(entry: str, host: str, address: Address) -> bool:
    network = _network(entry)
    if network is None:
        return entry.lower().rstrip(".") == host.lower().rstrip(".")
    return address in network


def _network(entry: str) -> Network | None:
    try:
        return ip_network(entry, strict=False)
    except ValueError:
        return None


def _is_host(entry: str) -> bool:
    return entry.isascii() and all(each.isalnum() or each in "-._" for each in entry)
