"""Random secrets wherever one can stand: none of them leaves vpsmon, whatever is asked and whatever fails."""

from __future__ import annotations

import random
import string
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.kit.command import Workdir
from tests.kit.engine import FakeEngine, PretendContainer
from tests.kit.telegram import FakeTelegram, refusal
from vpsmon.core import secrets
from vpsmon.core.text import quote_foreign

COMMANDS = (
    ["monitor", "--once"],
    ["monitor", "--once", "--json"],
    ["status"],
    ["selftest"],
    ["selftest", "--send"],
    ["report"],
    ["report", "both"],
    ["export", "--stdout"],
    ["export"],
    ["recover", "--dry-run"],
    ["recover", "--dry-run", "--json"],
)
ALPHABET = string.ascii_letters + string.digits + "!@#$%^&*()-_=+[]{};:,.<>/?|~`'\\\""


class Vault:
    """Makes secrets, and finds them again."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - what a test makes up
        self.made: list[str] = []

    def make(self, alphabet: str = ALPHABET) -> str:
        secret = "x" + "".join(self._chance.choices(alphabet, k=self._chance.randint(9, 24))) + "q"
        self.made.append(secret)
        return secret

    def make_in_url(self) -> str:
        """A password as it stands in a URL; itself it is a secret as well."""
        return quote(self.make(), safe="")

    def find_in(self, text: str) -> list[str]:
        return [each for each in self.made if each in text or quote(each, safe="") in text]


def make_container(vault: Vault, number: int, name: str, image: str) -> PretendContainer:
    quoted, plain = vault.make_in_url(), vault.make(string.ascii_letters + string.digits)
    return PretendContainer(
        f"{number:064x}",
        name,
        "exited",
        restart_count=number,
        image=image,
        environment=[
            "POSTGRES_USER=n8n",
            f"POSTGRES_PASSWORD={vault.make()}",
            f"REDIS_PASSWORD={vault.make()}",
            f"WAHA_API_KEY={vault.make()}",
            f"N8N_ENCRYPTION_KEY={vault.make()}",
            f"DATABASE_URL=postgresql://crm:{quoted}@db:5432/crm",
        ],
        command=["redis-server", "--requirepass", vault.make()],
        start_error=f"no postgresql://crm:{quoted}@db:5432/crm, --requirepass {plain}: PASSWORD={plain}",
    )


@pytest.mark.parametrize("seed", range(2))
def test_no_secret_leaves_by_any_command(workdir: Workdir, telegram: FakeTelegram, seed: int) -> None:
    vault = Vault(seed)
    images = {"postgres": "postgres:16", "redis": "redis:7", "n8n": "n8nio/n8n", "waha": "devlikeapro/waha"}
    containers = [make_container(vault, number, *each) for number, each in enumerate(images.items(), 1)]
    workdir.write_config(
        TELEGRAM_BOT_TOKEN=telegram.token,
        TELEGRAM_CHAT_ID=str(telegram.chat_id),
        TELEGRAM_API_BASE=telegram.url,
        POSTGRES_DSN=f"postgresql://n8n:{vault.make_in_url()}@127.0.0.1:9/n8n",
        REDIS_URL=f"redis://:{vault.make_in_url()}@127.0.0.1:9/0",
        N8N_URL="http://127.0.0.1:9",
        N8N_API_KEY=vault.make(),
        WAHA_URL="http://127.0.0.1:9",
        WAHA_API_KEY=vault.make(),
        HEARTBEAT_URL=f"http://127.0.0.1:9/{vault.make(string.ascii_letters)}",
        SMTP_URL=f"smtp://n8n:{vault.make_in_url()}@127.0.0.1:9",
        EMAIL_TO="owner@example.org",
    )
    vault.made.append(telegram.token)
    with FakeEngine(*containers) as engine:
        for command in COMMANDS:
            telegram.always = refusal(400, f"Bad Request: {vault.made[0]}") if command[0] == "selftest" else None
            done = workdir.run(*command, env={"DOCKER_HOST": engine.host})
            assert "Traceback" not in done.stderr, (command, done.stderr)
            assert not vault.find_in(done.stdout + done.stderr), (command, done.stdout, done.stderr)
    for path in (path for path in Path(workdir.path, ".alerts").rglob("*") if path.is_file()):
        assert not vault.find_in(path.read_text(errors="replace")), path
    assert telegram.messages
    for message in telegram.messages:
        assert not vault.find_in(message.text), message.text


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("FATAL postgresql://crm:S3cretPw@db:5432/crm", "FATAL postgresql://crm:<secret>@db:5432/crm"),
        ("redis://:12#34Pw9@cache:6379 refused", "redis://:<secret>@cache:6379 refused"),
        ("redis-server --requirepass hunter22 --port 1", "redis-server --requirepass <secret> --port 1"),
        ("DB_PASSWORD=hunter22 is wrong", "DB_PASSWORD=<secret> is wrong"),
        ("config: {'password': 'two words', 'user': 'n8n'}", "config: {'password': <secret>, 'user': 'n8n'}"),
        ("N8N_ENCRYPTION_KEY: abcdef", "N8N_ENCRYPTION_KEY: <secret>"),
        ("N8N_SMTP_PASS=Zx9Smtp!Pw", "N8N_SMTP_PASS=<secret>"),
        ("auth: {user: 'n8n', pass: 'Gt7Smtp!Pw'}", "auth: {user: 'n8n', pass: <secret>}"),
        ("passes: 3, bypass: 4", None),
        ("see https://docs.n8n.io/hosting/ and ask root@example.org", None),
        ("the tokenizer took 3 s: passed", None),
    ],
)
def test_what_looks_like_a_credential_in_foreign_text_is_blanked(line: str, shown: str | None) -> None:
    assert quote_foreign(line, 200) == (shown or line)


def test_a_password_that_is_a_name_does_not_spoil_messages() -> None:
    secrets.register_container({"POSTGRES_PASSWORD": "postgres", "POSTGRES_USER": "postgres"}, ())
    assert secrets.redact("container postgres is down") == "container postgres is down"


def test_our_own_sentences_stay_as_they_are() -> None:
    for text in ("neither tells the password: set REDIS_URL", "put TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID into it"):
        assert secrets.redact(text) == text


def test_the_words_of_a_shell_in_a_command_are_looked_at_too() -> None:
    secrets.register_container({}, ("sh", "-c", "redis-server --requirepass 'R3disS3cret9'"))
    assert secrets.redact("AUTH R3disS3cret9 wrong") == "AUTH <secret> wrong"
