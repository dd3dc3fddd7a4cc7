"""Whose trace context is continued: all callers', nobody's, some networks', who shows a key.

It decides on a WSGI environ as the server made it, before any middleware changed it.
"""

from __future__ import annotations

import functools
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

Network = IPv4Network | IPv6Network
Predicate = Callable[[Mapping[str, Any]], bool]

ALL, NONE = "all", "none"
# Where werkzeug's ProxyFix, wrapped around the app, keeps what it has changed.
_BEFORE_PROXY_FIX = "werkzeug.proxy_fix.orig"


@dataclass(frozen=True)
class Trust:
    """The settings FOLLOWTHROUGH_TRUST, ..._TRUST_KEY and ..._PROXIES, read."""

    networks: tuple[Network, ...] = ()
    header: str = ""
    secret: str = field(default="", repr=False)
    proxies: int = 0

    def __call__(self, environ: Mapping[str, Any]) -> bool:
        """Whether this request comes from a trusted network or shows the key."""
        return self._shows_key(environ) or _is_within(self._address(environ), self.networks)

    def _shows_key(self, environ: Mapping[str, Any]) -> bool:
        if not self.secret:
            return False
        shown = str(environ.get(self.header, ""))[: len(self.secret)]
        return hmac.compare_digest(shown.encode(errors="replace"), self.secret.encode())

    def _address(self, environ: Mapping[str, Any]) -> str:
        if not self.proxies:
            raw = environ.get(_BEFORE_PROXY_FIX) or environ
            return str(raw.get("REMOTE_ADDR") or "")
        # Each proxy adds whom it has seen at the right; what stands before that is the caller's.
        hops = str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(",")
        return hops[-self.proxies].strip() if len(hops) >= self.proxies else ""


def everyone(_environ: Mapping[str, Any]) -> bool:
    """The predicate of `all`."""
    return True


def predicate(trust: Sequence[str], key: str | None, proxies: int) -> Predicate:
    """The predicate of the settings; raises ValueError where `problems` finds any."""
    if tuple(trust) == (ALL,):
        return everyone
    header, secret = _key(key) if key else ("", "")
    return Trust(tuple(_network(each) for each in trust if each != NONE), header, secret, proxies)


def problems(trust: Sequence[str], key: str | None) -> list[str]:
    """What is wrong with these settings, one sentence each; a key's text is left out."""
    found = []
    words = [each for each in trust if each in (ALL, NONE)]
    if words and len(trust) > 1:
        found.append(f"FOLLOWTHROUGH_TRUST: names {words[0]} and others; name {words[0]} alone")
    found += [
        f"FOLLOWTHROUGH_TRUST: {each!r} is neither all, none nor a network; "
        "give one as in 10.0.0.0/8"
        for each in trust
        if each not in (ALL, NONE) and not _is_network(each)
    ]
    if key and not all(_key(key)):
        found.append(
            "FOLLOWTHROUGH_TRUST_KEY: is not a header and a secret; give them as in X-Key:secret"
        )
    if key and tuple(trust) == (ALL,):
        found.append(
            "FOLLOWTHROUGH_TRUST_KEY: has no effect, as FOLLOWTHROUGH_TRUST is all; "
            "set that to none or to networks"
        )
    return found


def _key(text: str) -> tuple[str, str]:
    header, _, secret = text.partition(":")
    name = header.strip().upper().replace("-", "_")
    return (f"HTTP_{name}" if name else "", secret.strip())


def _network(text: str) -> Network:
    return ip_network(text, strict=False)


def _is_network(text: str) -> bool:
    try:
        _network(text)
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=1024)
def _is_within(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in network for network in networks if network.version == found.version)
