"""What a pass says on standard error: trouble with its state, and the alerts that nobody else will hear of."""

from __future__ import annotations

from vpsmon.config.settings import Settings
from vpsmon.passes.context import StageResult
from vpsmon.state.directory import StateDirectory
from vpsmon.system.log import say

SETUP_HINT = (
    "Telegram is not set up, so alerts go only to this log and to alert_history.log: "
    "put TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID into monitor.conf"
)


def report_problems(settings: Settings, state: StateDirectory, result: StageResult) -> None:
    """Say what was wrong with the state, and the alerts themselves where they cannot go to Telegram."""
    while state.notices:
        say("warning", state.notices.pop(0))
    if result.state_error:
        say("error", result.state_error)
    if settings.has_telegram and not result.state_error:
        return
    for notice in result.notices:
        advice = f" ({notice.advice})" if notice.advice else ""
        name = f"{notice.check} {notice.object}" if notice.object else notice.check
        say(notice.severity, f"{name}: {notice.message}{advice}")
