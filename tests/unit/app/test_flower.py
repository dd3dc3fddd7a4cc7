"""Who gets into Flower, and its options."""

import stat

import pytest

from app import flower, settings
from app.manage import services
from app.settings import SettingsError


def loaded(tmp_path, **env):
    return settings.load({"STATE_DIR": str(tmp_path), **env})


PRODUCTION = {"APP_ENV": "production", "SECRET_KEY": "a long and random text"}


def test_a_password_is_made_once_and_only_its_owner_reads_it(tmp_path):
    first, second = {}, {}
    flower.protect(loaded(tmp_path), ["celery", "flower"], first)
    flower.protect(loaded(tmp_path), ["celery", "flower"], second)
    assert first == second
    user, _, password = first["FLOWER_BASIC_AUTH"].partition(":")
    assert user == "flower"
    assert len(password) >= 20
    [file] = (tmp_path / "flower").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_of_two_that_start_together_the_first_ones_password_holds(tmp_path, monkeypatch):
    file = tmp_path / "credentials"
    made = flower.secrets.token_urlsafe

    def meanwhile(length):
        file.write_text("flower:first\n")
        return made(length)

    monkeypatch.setattr(flower.secrets, "token_urlsafe", meanwhile)
    assert flower.kept(file) == "flower:first"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("argv", "env"),
    [
        (["--basic_auth=a:b"], {}),
        (["--basic-auth=a:b"], {}),
        (["--auth=.*@example.com"], {}),
        ([], {"FLOWER_BASIC_AUTH": "a:b"}),
        ([], {"FLOWER_AUTH": ".*@example.com"}),
    ],
)
def test_what_the_user_chose_is_left_alone(tmp_path, argv, env):
    environ = dict(env)
    flower.protect(loaded(tmp_path, **PRODUCTION), argv, environ)
    assert environ == env
    assert not (tmp_path / "flower").exists()


def test_an_empty_choice_is_none(tmp_path):
    environ = {"FLOWER_BASIC_AUTH": ""}
    flower.protect(loaded(tmp_path), ["--basic_auth="], environ)
    assert environ["FLOWER_BASIC_AUTH"]


def test_production_must_choose(tmp_path):
    with pytest.raises(SettingsError, match="FLOWER_BASIC_AUTH"):
        flower.protect(loaded(tmp_path, **PRODUCTION), [], {})
    with pytest.raises(SettingsError, match="FLOWER_BASIC_AUTH"):
        loaded(tmp_path, FLOWER="1", **PRODUCTION)
    assert loaded(tmp_path, FLOWER="1", FLOWER_BASIC_AUTH="a:b", **PRODUCTION)


@pytest.mark.parametrize("given", ["secret", ":secret", "a:", "a:b,c"])
def test_credentials_have_a_user_and_a_password(tmp_path, given):
    with pytest.raises(SettingsError, match="FLOWER_BASIC_AUTH: is not user:password") as caught:
        loaded(tmp_path, FLOWER_BASIC_AUTH=given)
    assert "secret" not in str(caught.value)


def test_its_port_is_nobody_elses(tmp_path):
    with pytest.raises(SettingsError, match="FLOWER_PORT"):
        loaded(tmp_path, FLOWER="1", FLOWER_PORT="5000")
    assert loaded(tmp_path, FLOWER_PORT="5000")


def built(tmp_path, **env):
    env = {"STATE_DIR": str(tmp_path), **env}
    return {each.name: each for each in services.build(settings.load(env), env)}


def test_it_runs_only_where_it_is_asked_for(tmp_path):
    table = built(tmp_path)
    assert "flower" not in table
    assert "--task-events" not in table["worker"].argv


def test_as_a_service_it_keeps_its_history_and_its_password_from_the_command_line(tmp_path):
    table = built(tmp_path, FLOWER="1", FLOWER_PORT="5556", FLOWER_BASIC_AUTH="a:very-secret")
    service = table["flower"]
    assert {"--persistent=True", f"--db={tmp_path}/flower/history"} <= set(service.argv)
    assert "--port=5556" in service.argv
    assert "very-secret" not in " ".join(service.argv)
    assert "very-secret" not in str(service.addresses)
    assert service.questions[0].send.startswith(b"GET /healthcheck ")
    assert service.stage > table["worker"].stage
    assert "--task-events" in table["worker"].argv


def test_its_address_says_where_the_password_is(tmp_path):
    [address] = built(tmp_path, FLOWER="1")["flower"].addresses
    assert address.purpose.endswith(f"are in {tmp_path}/flower/credentials")
    [address] = built(tmp_path, FLOWER="1", FLOWER_BASIC_AUTH="a:b")["flower"].addresses
    assert address.purpose.endswith("are in FLOWER_BASIC_AUTH")
