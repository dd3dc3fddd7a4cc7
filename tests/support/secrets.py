"""Made-up secrets of many kinds: (what must not come out, the text it stands in)."""

from __future__ import annotations

import string

_LETTERS = (string.ascii_letters + string.digits) * 3
_HEX = "0123456789abcdef" * 4
_B64 = "dGhpcyBpcyBhIHNlY3JldCE4NTc2NDMyMQ"


def _look(prefix: str, rest: str) -> tuple[str, str]:
    # In two parts, so that no scanner takes this file for a leak.
    return rest, f"used {prefix}{rest} for it"


BY_LOOK = {
    "aws access key id": _look("AK" + "IA", "IOSFODNN7EXAMPLE"),
    "aws temporary key id": _look("AS" + "IA", "IOSFODNN7EXAMPLE"),
    "github token": _look("gh" + "p_", _LETTERS[:36]),
    "github app token": _look("gh" + "s_", _LETTERS[5:41]),
    "github fine-grained token": _look("github_" + "pat_", _LETTERS[:60]),
    "gitlab token": _look("gl" + "pat-", _LETTERS[:20]),
    "slack bot token": _look("xo" + "xb-", "123456789012-" + _LETTERS[:24]),
    "slack app token": _look("xa" + "pp-1-", _LETTERS[:30]),
    "slack webhook": _look("https://hooks.slack.com/ser" + "vices/", "T000/B000/" + _LETTERS[:24]),
    "discord webhook": _look("https://discord.com/api/web" + "hooks/1/", _LETTERS[:40]),
    "stripe secret key": _look("sk_" + "live_", _LETTERS[:24]),
    "stripe restricted key": _look("rk_" + "test_", _LETTERS[:24]),
    "webhook secret": _look("wh" + "sec_", _B64),
    "openai key": _look("s" + "k-proj-", _LETTERS[:40]),
    "anthropic key": _look("s" + "k-ant-api03-", _LETTERS[:40]),
    "google api key": _look("AI" + "za", _LETTERS[:35]),
    "google oauth token": _look("ya" + "29.", _LETTERS[:40]),
    "google client secret": _look("GOC" + "SPX-", _LETTERS[:28]),
    "sendgrid key": _look("S" + "G.", _LETTERS[:22] + "." + _LETTERS[:43]),
    "twilio key": _look("S" + "K", _HEX[:32]),
    "mailgun key": _look("ke" + "y-", _HEX[:32]),
    "npm token": _look("np" + "m_", _LETTERS[:36]),
    "pypi token": _look("py" + "pi-", "AgEIcHlwaS5vcmc" + _LETTERS[:50]),
    "digitalocean token": _look("do" + "p_v1_", _HEX[:64]),
    "shopify token": _look("sh" + "pat_", _HEX[:32]),
    "square token": _look("sq0" + "atp-", _LETTERS[:22]),
    "databricks token": _look("da" + "pi", _HEX[:32]),
    "vault token": _look("hv" + "s.", _LETTERS[:24]),
    "hugging face token": _look("h" + "f_", _LETTERS[:34]),
    "telegram bot token": _look("1234567890:", "A" + _LETTERS[:34]),
    "jwt": _look("ey" + "J", "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0." + _LETTERS[:43]),
    "private key": _look(
        "-----BEGIN RSA PRI" + "VATE KEY-----\n", _B64 + "\n-----END RSA PRIVATE KEY-----"
    ),
    "cut private key": _look("-----BEGIN PRI" + "VATE KEY-----\n", _B64),
    "age key": _look("AGE-SECRET-" + "KEY-1", "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"),
    "grafana token": _look("gl" + "sa_", _LETTERS[:32]),
    "new relic key": _look("NR" + "AK-", "ABCDEFGHJKLMNPQRSTUVWXYZ123"),
    "visa": _look("", "4111 1111 1111 1111"),
    "mastercard": _look("", "5555555555554444"),
    "amex": _look("", "3782-822463-10005"),
}
BY_NAME = {
    "password pair": ("hunter2", "connect with password=hunter2 now"),
    "password of a repr": ("hunter2", "{'user': 'bob', 'password': 'hunter2'}"),
    "password with spaces": ("hunter2 and more", 'passphrase: "hunter2 and more"'),
    "password in json": ("hunter2", '{"db_password": "hunter2", "x": 1}'),
    "password in json in json": ("hunter2", '{"body": "{\\"password\\": \\"hunter2\\"}"}'),
    "password flag": ("hunter2", "mysqldump --password hunter2 --host db"),
    "password element": ("hunter2", "<user><password>hunter2</password></user>"),
    "camel case": ("hunter2", "clientSecret=hunter2"),
    "basic auth url": ("hunter2", "GET https://bob:hunter2@host/path"),
    "at sign in a url's password": ("ter2", "redis://:hun@ter2@host:6379/0"),
    "broker url": ("hunter2", "amqp://guest:hunter2@rabbit//"),
    "token as a url's user": ("abcdefghijklmnopqrst", "https://abcdefghijklmnopqrst@host/x.git"),
    "query": ("hunter2hunter2", "GET /cb?state=1&access_token=hunter2hunter2&x=1"),
    "signed url": (_HEX[:64], f"https://s3/x?X-Amz-Signature={_HEX[:64]}"),
    "sas": (_B64, f"https://blob/x?sv=2024&sig={_B64}"),
    "bearer": (_B64, f"Authorization: Bearer {_B64}"),
    "bearer alone": (_B64, f"sent bearer {_B64}"),
    "basic": (_B64, f"'Authorization': 'Basic {_B64}'"),
    "digest": ("hunter2", 'authorization: Digest username="bob", response="hunter2"'),
    "headers as tuples": (_B64, f"[('accept', '*/*'), ('authorization', 'Bearer {_B64}')]"),
    "bytes headers": ("hunter2", "{b'x-api-key': b'hunter2'}"),
    "cookie header": ("hunter2", "Cookie: theme=dark; sid=hunter2"),
    "set-cookie header": ("hunter2", "Set-Cookie: remember=hunter2; Path=/"),
    "session id": ("hunter2hunter2", "sessionid=hunter2hunter2"),
    "csrf token": ("hunter2hunter2", "X-CSRF-Token: hunter2hunter2"),
    "connection string": ("hunter2", "Server=db;User Id=sa;Password=hunter2;Encrypt=yes"),
    "azure storage": (_B64, f"AccountName=x;AccountKey={_B64}==;"),
    "libpq": ("hunter2", "host=db user=app password=hunter2 dbname=x"),
    "environment": ("hunter2", "PGPASSWORD=hunter2 psql"),
    "aws secret": (_LETTERS[:40], f"aws_secret_access_key = {_LETTERS[:40]}"),
    "otp": ("123456", "otp=123456"),
    # With a letter, as three digits alone are in many a timestamp and id.
    "cvv": ("123x", "cvv: 123x"),
    "totp seed": ("JBSWY3DPEHPK3PXP", "otpauth://totp/x?secret=JBSWY3DPEHPK3PXP"),
}
ALL = {**BY_LOOK, **BY_NAME}
