"""`vpsmon report`: gathers, keeps, and prints or sends; says on one line each how it went."""

from __future__ import annotations

import os
from collections.abc import Callable

from vpsmon.config.settings import Config
from vpsmon.core.findings import ReadError
from vpsmon.jobs.start import EXIT_FAILED
from vpsmon.report.archive import keep
from vpsmon.report.compose import compose
from vpsmon.report.gather import gather
from vpsmon.report.model import Report
from vpsmon.report.text import format_text
from vpsmon.state.directory import StateDirectory, StateError
from vpsmon.state.shm_fallback import SparedState
from vpsmon.system.host import Host
from vpsmon.system.log import say
from vpsmon.system.terminal import print_text, wants_colour

_TELEGRAM_MISSING = "Telegram is not set up: put TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID into monitor.conf"
_EMAIL_MISSING = "e-mail is not set up: put EMAIL_TO and SMTP_URL into monitor.conf"


def run(config: Config, where: str, with_chart: bool) -> int:
    """Make the report and return the exit status of the command."""
    host, state = Host(), SparedState(config.state_directory)
    run = _Run(host, config, state, compose(gather(host, config, state)))
    run.keep(with_chart)
    if where == "print":
        run.print()
    if where in ("telegram", "both"):
        run.send("Telegram", config.settings.has_telegram, _TELEGRAM_MISSING, where == "both", run.send_by_telegram)
    if where in ("email", "both"):
        run.send("e-mail", config.settings.has_email, _EMAIL_MISSING, where == "both", run.send_by_email)
    for notice in state.notices:
        say("warning", notice)
    return EXIT_FAILED if run.has_failed else 0


class _Run:
    """One report on its way; `has_failed` when something that was asked for could not be done."""

    def __init__(self, host: Host, config: Config, state: StateDirectory, report: Report) -> None:
        self.has_failed = False
        self._host, self._config, self._state, self._report = host, config, state, report
        self._plain = format_text(report, with_colour=False)
        self._chart: bytes | None = None
        self._text_path = self._chart_path = ""

    def keep(self, with_chart: bool) -> None:
        """Write the report into the state directory, and its chart."""
        content = f"{self._plain}\n".encode("utf-8", "replace")
        self._text_path = self._keep("the report", ".txt", content)
        if with_chart:
            self._chart = self._draw()
            self._chart_path = self._keep("the chart", ".png", self._chart) if self._chart else ""

    def _keep(self, what: str, ending: str, content: bytes) -> str:
        try:
            return keep(self._state, self._report.wall_seconds, ending, content)
        except StateError as error:
            self._fail(f"{what} is not kept: {error}")
            return ""

    def _draw(self) -> bytes | None:
        from vpsmon.report.chart import NoChart, draw_chart

        try:
            return draw_chart(self._report, os.path.join(self._state.path, "fonts"))
        except NoChart as reason:
            say("warning", str(reason))
        except Exception as error:
            # A picture is no reason to lose the text.
            say("warning", f"there is no chart: unexpected {type(error).__name__} of matplotlib: please report this")
        return None

    def print(self) -> None:
        """Print the report, and where the chart is."""
        print_text(format_text(self._report, wants_colour()))
        if self._chart_path:
            print_text(f"\nchart: {self._chart_path}")

    def send(
        self, name: str, is_set_up: bool, how_to_set_up: str, may_be_missing: bool, way: Callable[[], str]
    ) -> None:
        """Send the report in one way and say how it went; with `may_be_missing`, one that is not set up is no fault."""
        if not is_set_up and may_be_missing:
            print_text(f"{name}: left out, {how_to_set_up}")
        elif not is_set_up:
            self._fail(f"the report is not sent: {how_to_set_up}{self._tell_place()}")
        else:
            try:
                print_text(f"{name}: {way()}")
            except (ReadError, StateError) as error:
                self._fail(f"the report is not sent by {name}: {error}{self._tell_place()}")

    def send_by_telegram(self) -> str:
        """Return what became of it. Raises ReadError, StateError."""
        from vpsmon.report.sending import send_by_telegram

        return send_by_telegram(self._host, self._config, self._state, self._report, os.path.basename(self._chart_path))

    def send_by_email(self) -> str:
        """Return to whom it went. Raises ReadError, StateError."""
        from vpsmon.report.sending import send_by_email

        return send_by_email(self._config, self._state, self._report, self._plain, self._chart)

    def _tell_place(self) -> str:
        return f"; it is in {self._text_path}" if self._text_path else ""

    def _fail(self, text: str) -> None:
        self.has_failed = True
        say("error", text)
