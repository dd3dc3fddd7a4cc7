"""Redaction shared by logs, spans and alerts: secrets by their name, by their look, and in texts.

`docs/logs.md` lists what is found and what is not. A value is first asked cheaply whether it can
hold a secret at all: most can't, and all that is told passes through here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

MASK = "********"
CUT = "..."
DEPTH = 4
LIMIT = 16_000  # characters of a text; the rest is cut off
MOST = 1000  # values within one
_SHORT = 80
_NUMBER_OF_A_CARD = range(10**11, 10**19)

TEXT, WEAK, STRONG, SAFE = range(4)
"""What a name says of its value: nothing; secret unless it is a number; secret; never a secret."""

_SAFE = frozenset(
    [
        "timestamp",
        "level",
        "logger",
        "service",
        "trace_id",
        "span_id",
        "request_id",
        "task_id",
        "task",
        "queue",
        "attempt",
        "outcome",
        "duration",
        "wait",
        "method",
        "route",
        "status",
        "error_type",
        "error.type",
        "exception.type",
        "http.request.id",
        "http.request.method",
        "http.route",
        "http.response.status_code",
        "url.scheme",
        "server.address",
        "client.address",
        "network.peer.address",
        "network.protocol.version",
        "messaging.system",
        "messaging.destination.name",
        "messaging.operation.name",
        "messaging.operation.type",
        "messaging.message.id",
        "celery.task_name",
        "celery.outcome",
        "celery.root_id",
        "celery.parent_id",
        "celery.group_id",
        "celery.chord",
        "celery.origin",
        "celery.reply_to",
        "celery.worker",
        "celery.pool",
        "celery.eta",
        "celery.expires",
    ]
)
_STRONG = re.compile(
    r"passw(?:or)?[dt]|passphrase|passcode|secret(?!ar)|credential|authorization|cookie|csrf|xsrf|"
    r"(?:private|api|access|account|shared|encryption|signing|master|client|storage)key|"
    r"cardnumber|creditcard|connectionstring|mnemonic|seedphrase|jwt$"
)
_STRONG_WORDS = frozenset(
    [
        "pwd",
        "pass",
        "pw",
        "pin",
        "cvv",
        "cvc",
        "otp",
        "totp",
        "mfa",
        "ssn",
        "sig",
        "signature",
        "assertion",
    ]
)
_STRONG_NAMES = frozenset(["samlresponse", "codeverifier"])
_WEAK = re.compile(r"token(?!i[sz])|sess(?:ion)?(?:id|key)$|^session$|^auth$|(?:basic|http|x)auth$")
_WEAK_WORDS = frozenset(["sid"])
# What is told about a secret, and is none.
_ABOUT = frozenset(
    [
        "count",
        "counts",
        "length",
        "len",
        "size",
        "limit",
        "type",
        "name",
        "names",
        "attempts",
        "expires",
        "expiry",
        "expired",
        "ttl",
        "age",
        "at",
        "in",
        "until",
        "url",
        "uri",
        "path",
        "file",
        "field",
        "required",
        "changed",
        "valid",
        "policy",
        "provider",
        "status",
        "error",
        "errors",
        "enabled",
        "version",
    ]
)
_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+")

_NAMES = [
    "pass",
    "pwd",
    "pw",
    "secret",
    "token",
    "auth",
    "key",
    "cred",
    "cookie",
    "sess",
    "sid",
    "pin",
    "cvv",
    "cvc",
    "otp",
    "mfa",
    "csrf",
    "xsrf",
    "card",
    "sig",
    "ssn",
    "nstring",
    "n_string",
    "mnemonic",
    "seed",
    "jwt",
    "assertion",
    "saml",
    "verifier",
]

# Each begins with plain characters, so that a search skips fast to where it can match.
_SHAPES = re.compile(
    r"""-----BEGIN[ A-Z]{0,30}PRIVATE\ KEY[ A-Z]{0,10}-----
        (?:.*?-----END[ A-Z]{0,30}PRIVATE\ KEY[ A-Z]{0,10}-----|.*)
    |A(?:KIA|SIA|BIA|CCA|ROA|IDA)[A-Z0-9]{16}(?![A-Za-z0-9])
    |AIza[\w-]{30,}|AGE-SECRET-KEY-1[0-9A-Z]{20,}|GOCSPX-[\w-]{10,}
    |NRAK-[A-Z0-9]{20,}|PMAK-[\w-]{20,}|SG\.[\w-]{10,}\.[\w-]{10,}|SK[0-9a-f]{32}(?!\w)
    |dapi[0-9a-f]{32}|do[opr]_v1_[0-9a-f]{40,}|dp\.[a-z]{2,5}\.\w{20,}
    |discord(?:app)?\.com/api/webhooks/\d+/[\w-]+
    |eyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]*
    |gh[opsur]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|gl[a-z]{2,5}-[\w-]{16,}|glsa_\w{20,}
    |hf_[A-Za-z0-9]{20,}|hooks\.slack\.com/services/[\w/]+|hv[bsr]\.[\w-]{16,}
    |key-[0-9a-f]{32}(?!\w)|lin_api_\w{20,}|npm_[A-Za-z0-9]{30,}|pypi-[\w-]{16,}
    |[rs]k_(?:live|test)_\w{8,}|pk_live_\w{8,}|rubygems_[0-9a-f]{40,}
    |sk-[\w-]{16,}|shp[acps][ats]_[0-9a-fA-F]{24,}|sntrys_\w{20,}|sq0[a-z]{3}-[\w-]{16,}
    |whsec_[A-Za-z0-9+/=]{8,}|xapp-[\w-]{8,}|xox[a-z]-[\w-]{8,}|ya29\.[\w-]{10,}
    """,
    re.VERBOSE | re.DOTALL,
)
_NUMBERED = re.compile(r"\d(?:\d{7,9}:[\w-]{35}(?![\w-])|(?:[ -]?\d){11,18}(?!\d))", re.ASCII)
_IN_URL = re.compile(r"://(?:(?P<user>[^\s/:@]*):[^\s/?#'\"]+|[\w-]{20,})@")
_BEARER = re.compile(
    r"\b(?P<kind>bearer|basic)\s+(?=\S*[\d=]|\S{20})[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE
)
# To the line's end: schemes, parameters, several cookies.
_HEADER = re.compile(
    r"(?P<key>(?<![\w-])(?:(?:proxy-)?authorization|(?:set-)?cookie2?)\s{0,9}[:=][ \t]{0,9})"
    r"(?![ \t])(?:=[ ]?\"[^\"\r\n]*\"|[^\r\n\"'])+",
    re.IGNORECASE,
)
_QUOTED = r"(?P<open>\\{0,4}[\"'])(?P<inner>(?:(?!(?P=open)).){0,4000})(?:(?P=open)|\Z)"
# A name up to its value, and the value, which is looked for only where the name is a secret's.
_PAIR = (
    re.compile(
        r"(?P<key>(?<![\w.-])[\w.-]{2,64}|\b(?:api|access|secret|private)\ key)"
        r"\\{0,4}[\"']?\]?\s{0,9}(?:=>|[=:])\s{0,9}b?"
    ),
    re.compile(_QUOTED + r"|(?P<value>[^\s,;&)}\]\"'<>]+)", re.DOTALL),
)
_TUPLE = (
    re.compile(r"(?<=[\"'])(?P<key>[\w.-]{2,64})\\{0,4}[\"']\s{0,9},\s{0,9}b?"),
    re.compile(_QUOTED, re.DOTALL),
)
_FLAG = (re.compile(r"(?P<key>--[\w-]{2,64})\s{1,9}"), re.compile(r"(?P<value>[^\s-]\S*)"))
_ELEMENT = (
    re.compile(r"<(?P<key>[\w:.-]{2,64})>"),
    re.compile(r"(?P<value>[^<]+)(?=</)"),
)
_NOTHING = frozenset(["none", "null", "true", "false", "undefined", "''", '""'])


def text(value: str) -> str:
    """`value` with its secrets masked, cut at LIMIT characters."""
    if len(value) <= _SHORT:
        return _short(value)
    if len(value) <= LIMIT:
        return _cut(_masked(value))
    return _cut(_masked(_cut(value)))


def _cut(value: str) -> str:
    """At the end of a word, lest half a secret stays that looks like none."""
    if len(value) <= LIMIT:
        return value
    kept = value[: LIMIT - len(CUT) - 1]
    words, space, _ = kept.rpartition(" ")
    return f"{words if space and len(kept) - len(words) < LIMIT // 4 else kept} {CUT}"


@functools.lru_cache(maxsize=4096)
def _short(value: str) -> str:
    return _masked(value)


def _masked(value: str) -> str:
    value = _SHAPES.sub(_shape, value)
    value = _NUMBERED.sub(_numbered, value)
    if "://" in value:
        value = _IN_URL.sub(_in_url, value)
    low = value.lower()
    if "bearer" in low or "basic" in low:
        value = _BEARER.sub(rf"\g<kind> {MASK}", value)
    if not any(map(low.__contains__, _NAMES)):
        return value
    return _named(value, low)


def _named(value: str, low: str) -> str:
    if "cookie" in low or "authorization" in low:
        value = _HEADER.sub(rf"\g<key>{MASK}", value)
    if "=" in value or ":" in value:
        value = _pairs(value, *_PAIR)
    if "," in value:
        value = _pairs(value, *_TUPLE)
    if "--" in value:
        value = _pairs(value, *_FLAG)
    return _pairs(value, *_ELEMENT) if "</" in value else value


def _pairs(text: str, names: re.Pattern[str], values: re.Pattern[str]) -> str:
    parts, at, done = list[str](), 0, 0
    while (name := names.search(text, at)) is not None:
        at = name.end()
        of = kind(name["key"].strip("-"))
        found = values.match(text, at) if of in (WEAK, STRONG) else None
        if found is not None and (masked := _value_masked(of, found)) is not None:
            parts += (text[done:at], masked)
            at = done = found.end()
    return "".join([*parts, text[done:]]) if parts else text


def _value_masked(of: int, found: re.Match[str]) -> str | None:
    groups = found.groupdict()
    value = groups.get("value") or groups.get("inner") or ""
    if not value.strip("*") or value.lower() in _NOTHING:
        return None
    if of == WEAK and value.replace(".", "", 1).isdigit():
        return None
    quote = groups.get("open") or ""
    return f"{quote}{MASK}{quote}"


def _shape(found: re.Match[str]) -> str:
    start = found.start()
    # In the middle of a word, as in `task-...`, it is a part of that.
    return found[0] if start and found.string[start - 1].isalnum() else MASK


def _numbered(found: re.Match[str]) -> str:
    number, start = found[0], found.start()
    if start and (found.string[start - 1].isalnum() or found.string[start - 1] in "-_."):
        return number
    if found.end() < len(found.string) and found.string[found.end()].isalpha():
        return number
    return MASK if ":" in number or _is_card(number.replace(" ", "").replace("-", "")) else number


_CARDS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}|6(?:011|5\d\d|4[4-9]\d)\d{12}"
    r"|62\d{14,17}",
    re.ASCII,
)


def _is_card(digits: str) -> bool:
    """By its issuer's prefix and length, and its check digit (ISO/IEC 7812-1)."""
    if not _CARDS.fullmatch(digits):
        return False
    doubled = [int(digit) * 2 for digit in digits[-2::-2]]
    total = sum(map(int, digits[-1::-2])) + sum(each // 10 + each % 10 for each in doubled)
    return total % 10 == 0


def _in_url(found: re.Match[str]) -> str:
    user = found["user"]
    return f"://{MASK}@" if user is None else f"://{user}:{MASK}@"


def kind(name: str) -> int:
    """What a name says of its value: SAFE, TEXT, WEAK or STRONG."""
    return _kind(name[:200])


@functools.lru_cache(maxsize=4096)
def _kind(name: str) -> int:
    if name in _SAFE:
        return SAFE
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _ABOUT:
        return TEXT
    joined = "".join(words)
    if _STRONG.search(joined) or joined in _STRONG_NAMES or not _STRONG_WORDS.isdisjoint(words):
        about_it = words[-1] == "id" and "secret" not in words
        return TEXT if about_it else STRONG
    if _WEAK.search(joined) or not _WEAK_WORDS.isdisjoint(words):
        return TEXT if words[-1] == "id" and "token" in words else WEAK
    return TEXT


def fields(values: Mapping[Any, Any], depth: int = DEPTH) -> dict[str, Any]:
    """A copy of `values` in which what a name calls secret, and secrets in texts, are masked."""
    return _fields(values, depth, iter(range(MOST)))


def value_of(name: str, value: Any) -> Any:
    """A single value with its secrets masked, as the one of this name."""
    of = kind(name)
    return value if of == SAFE else _value(of, value, DEPTH, iter(range(MOST)))


def _fields(values: Mapping[Any, Any], depth: int, budget: Iterator[int]) -> dict[str, Any]:
    found = {}
    for key, value in values.items():
        if key in _SAFE:
            found[key] = value
        elif next(budget, None) is None:
            found[CUT] = CUT
            break
        else:
            name = key if type(key) is str else shown(key)
            found[text(name)] = _value(kind(name), value, depth, budget)
    return found


def _value(of: int, value: Any, depth: int, budget: Iterator[int]) -> Any:
    if value is None or value is True or value is False or value == "":
        return value
    if of == STRONG:
        return MASK
    as_it_is = _TYPES.get(type(value))
    if as_it_is is not None and (of != WEAK or type(value) is not str):
        return as_it_is(value)
    return MASK if of == WEAK else _other(value, depth, budget)


def _integer(value: int) -> Any:
    return MASK if value in _NUMBER_OF_A_CARD and _is_card(str(value)) else value


_TYPES: dict[type, Callable[[Any], Any]] = {str: text, int: _integer, float: lambda value: value}


def _other(value: Any, depth: int, budget: Iterator[int]) -> Any:
    if isinstance(value, Mapping):
        return _fields(value, depth - 1, budget) if depth > 0 else CUT
    if isinstance(value, list | tuple):
        return _items(value, depth - 1, budget) if depth > 0 else CUT
    if isinstance(value, AbstractSet) and len(value) > MOST:
        return CUT
    return text(shown(value))


def _items(values: Any, depth: int, budget: Iterator[int]) -> list[Any]:
    of, found = TEXT, list[Any]()
    if len(values) == 2 and isinstance(values[0], str):  # noqa: PLR2004  a pair, as of headers
        of = kind(values[0]) % SAFE
    for value in values:
        if next(budget, None) is None:
            found.append(CUT)
            break
        found.append(_value(of if found else TEXT, value, depth, budget))
    return found


def shown(value: Any) -> str:
    """A value as text, whatever its `__repr__` does; a text, also one of a subclass, as it is."""
    try:
        return str.__str__(value) if isinstance(value, str) else repr(value)
    except Exception:  # noqa: BLE001  a host's __repr__ may raise anything
        return f"<{type(value).__name__} that can't be shown>"
