"""Builds the gateway that the setting names; the only place that does.

Beside those that ship, a gateway may come from an installed package (an entry point), or be named
by `module:factory`, an entry point's own notation. The latter needs no package metadata, so it
works for a module of a checkout that isn't installed.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

from app.services.payments import Gateway
from followthrough.settings import SettingsError

if TYPE_CHECKING:
    from app.settings import Settings

GROUP = "followthrough_service.payment_gateways"


def _sandbox(_settings: Settings) -> Gateway:
    from app.services.payments.sandbox import Sandbox  # noqa: PLC0415  needs the tables

    return Sandbox()


def _http(settings: Settings) -> Gateway:
    from app.services.payments.http import HttpGateway  # noqa: PLC0415  needs requests

    return HttpGateway(settings)


SHIPPED: dict[str, Callable[[Settings], Gateway]] = {"sandbox": _sandbox, "http": _http}


@functools.lru_cache(maxsize=8)
def build(settings: Settings) -> Gateway:
    """The gateway of PAYMENT_GATEWAY; a factory is called with the settings.

    Raises SettingsError if nobody offers it or it can't be loaded.
    """
    return _factory(settings.payment_gateway)(settings)


def _factory(name: str) -> Callable[[Settings], Gateway]:
    if name in SHIPPED:
        return SHIPPED[name]
    try:
        factory: Callable[[Settings], Gateway] = _entry(name).load()
    except (ImportError, AttributeError) as error:
        raise _problem(f"{name!r} can't be loaded: {error}") from error
    return factory


def _entry(name: str) -> EntryPoint:
    if ":" in name:
        return EntryPoint(name, name, GROUP)
    offered = {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}
    if name not in offered:
        known = ", ".join(sorted([*SHIPPED, *offered]))
        raise _problem(f"{name!r} is no gateway; known are {known}, or name a module:factory")
    return offered[name]


def _problem(text: str) -> SettingsError:
    return SettingsError([f"PAYMENT_GATEWAY: {text}"])
