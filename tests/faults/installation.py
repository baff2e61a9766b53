"""One installation and a Bot API that hears of it, with an alert that is new whenever a test wants one."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.kit.command import ConfigValue, Workdir
from tests.kit.telegram import FakeTelegram

ONCE = ["monitor", "--once"]


class Installation:
    """Passes of one installation, and what must be so after every one of them.

    A folder of its own is a disk that is too full: an alert that nobody has told before.
    """

    def __init__(self, workdir: Workdir, telegram: FakeTelegram, first_number: int = 0) -> None:
        self.workdir = workdir
        self.telegram = telegram
        self._number = first_number

    @property
    def path(self) -> Path:
        return self.workdir.path

    @property
    def state(self) -> Path:
        return self.path / ".alerts"

    def have_a_new_alert(self, **keys: ConfigValue) -> str:
        """Fill a disk that nobody has heard of, and return its name."""
        self._number += 1
        name = f"disk-{self._number:05d}-"
        (self.path / name).mkdir()
        settings: dict[str, ConfigValue] = {
            "TELEGRAM_BOT_TOKEN": self.telegram.token,
            "TELEGRAM_CHAT_ID": str(self.telegram.chat_id),
            "TELEGRAM_API_BASE": self.telegram.url,
            "DISK_PATHS": str(self.path / name),
            "DISK_WARNING_PCT": 0,
            "DISK_CRITICAL_PCT": 0,
        }
        self.workdir.write_config(**{**settings, **keys})
        return name

    def finish(self) -> None:
        """Run a pass in peace: it clears up what those before it have left."""
        done = self.workdir.run(*ONCE)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert "unreadable" not in done.stderr

    def list_messages(self, name: str) -> list[str]:
        """Return the texts about a disk that is too full."""
        return [each.text for each in self.telegram.messages if name in each.text and "CRITICAL" in each.text]

    def expect_told(self, name: str, in_flight: int) -> None:
        """The alert arrived, and only what was in flight in a bad moment arrived again, under the same id."""
        about = self.list_messages(name)
        identities = {text.rpartition("id ")[2] for text in about}
        assert len(identities) == 1, about
        assert len(about) <= 1 + in_flight, about
        history = (self.state / "alert_history.log").read_text()
        assert len(re.findall(f"CRITICAL disk_usage.*{name}", history)) == 1

    def expect_sound_state(self) -> None:
        """Every file can be read, and nothing of a change is left half done."""
        names = {path.name for path in self.state.iterdir()}
        assert not {name for name in names if "corrupt" in name or name == "commit.json"}, names
        for path in self.state.glob("*.json"):
            assert json.loads(path.read_text())["schema"] == 1, path
        assert json.loads((self.state / "outbox.json").read_text())["entries"] == []
        for path in self.state.glob("*.log"):
            assert path.read_bytes().endswith(b"\n"), path
