"""Builds the notifiers that settings name; the only place that does."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from ..settings import Settings, SettingsError
from .notifiers import Notifier

GROUP = "followthrough.notifiers"
ENV = "FOLLOWTHROUGH_ALERT_NOTIFIERS"
_NAME = re.compile(r"[a-z0-9_-]+", re.ASCII)


def build(settings: Settings) -> list[Notifier]:
    """One notifier for each name in the settings, in their order.

    Raises SettingsError with all that is wrong: a name nobody offers, a notifier that can't be
    loaded, and what the notifiers find in their own settings.
    """
    known = {entry.name: entry for entry in entry_points(group=GROUP)}
    notifiers: list[Notifier] = []
    wrong: list[str] = []
    for name in dict.fromkeys(settings.notifiers):
        try:
            notifiers.append(_build(name, known, settings))
        except SettingsError as error:
            wrong += error.problems
    if wrong := wrong or _name_problems(notifiers):
        raise SettingsError(wrong)
    return notifiers


def problems(settings: Settings) -> list[str]:
    """What `build` would refuse, one sentence each; for programs that only check the settings."""
    try:
        build(settings)
    except SettingsError as error:
        return error.problems
    return []


def _build(name: str, known: dict[str, EntryPoint], settings: Settings) -> Notifier:
    if name not in known:
        raise _problem(f"{name!r} is no notifier; known are {', '.join(sorted(known))}")
    try:
        factory = known[name].load()
    except (ImportError, AttributeError) as error:
        raise _problem(f"{name!r} can't be loaded: {error}") from error
    return _made(name, factory, settings)


def _made(name: str, factory: Callable[[Settings], Notifier], settings: Settings) -> Notifier:
    try:
        return factory(settings)
    except SettingsError:
        raise
    except Exception as error:  # noqa: BLE001  one of a plug-in, whose text may hold a secret
        raise _problem(f"{name!r} can't be made: {type(error).__name__}") from None


def _name_problems(notifiers: list[Notifier]) -> list[str]:
    # Names become file names of the delivery's progress, so they are safe and differ.
    names = [notifier.name for notifier in notifiers]
    bad = {name for name in names if not _NAME.fullmatch(name) or names.count(name) > 1}
    return [f"{ENV}: {name!r} is not a fit name or has two notifiers" for name in sorted(bad)]


def _problem(text: str) -> SettingsError:
    return SettingsError([f"{ENV}: {text}"])
