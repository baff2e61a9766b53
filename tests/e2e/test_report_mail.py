"""The report by e-mail, to a real mail server: with and without TLS and a login, and when it is refused."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from tests.kit.command import Workdir
from tests.kit.days import write_two_days
from tests.kit.mail import PASSWORD, USER, MailServer, mail_server, make_certificate
from tests.kit.stack import free_port, silent_server
from tests.kit.telegram import FakeTelegram

# A login without encryption is part of what is tested.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
NO_DOCKER = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
TO = "owner@example.org"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def lived(workdir: Workdir) -> Workdir:
    write_two_days(workdir.path / ".alerts", time.time())
    return workdir


def report(workdir: Workdir, url: str, *options: str, **keys: str) -> tuple[int, str, str]:
    workdir.write_config(**{"EMAIL_TO": TO, "SMTP_URL": url, **keys})
    done = workdir.run("report", "email", *options, env=NO_DOCKER)
    for secret in (PASSWORD, "pa%2Fss", "wrong-secret"):
        assert secret not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def only_mail(server: MailServer) -> tuple[str, str]:
    """Return the plain text and the HTML of the only mail."""
    (mail,) = server.mails
    plain, page = mail.message.get_body(("plain",)), mail.message.get_body(("html",))
    assert plain is not None
    assert page is not None
    return plain.get_content(), page.get_content()


def test_plain_text_and_html_arrive(lived: Workdir) -> None:
    with mail_server() as server:
        assert report(lived, server.url()) == (0, f"e-mail: sent to {TO}\n", "")
    plain, page = only_mail(server)
    assert plain.rstrip().splitlines() == next((lived.path / ".alerts/reports").glob("*.txt")).read_text().splitlines()
    for text in ("Last 24 hours", "▁", "stop the container crm-blog-1", "2 critical, 1 warning, 2 info"):
        assert text in page
    (mail,) = server.mails
    assert mail.sender.startswith("vpsmon@")
    assert (mail.message["To"], mail.message["From"]) == (TO, mail.sender)
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert not mail.was_encrypted


def test_the_chart_is_inside_the_page(lived: Workdir) -> None:
    with mail_server() as server:
        report(lived, server.url(), "--chart")
    _, page = only_mail(server)
    (picture,) = [part for part in server.mails[0].message.walk() if part.get_content_type() == "image/png"]
    assert f'src="cid:{str(picture["Content-ID"]).strip("<>")}"' in page
    assert picture.get_content().startswith(b"\x89PNG")


def test_starttls_is_used_where_it_is_offered_and_the_login_follows(lived: Workdir, certificate: Path) -> None:
    with mail_server(certificate, wants_login=True) as server:
        assert report(lived, server.url(USER, PASSWORD))[0] == 0
    (mail,) = server.mails
    assert (mail.was_encrypted, mail.was_logged_in, mail.sender) == (True, True, USER)


def test_tls_from_the_start(lived: Workdir, certificate: Path) -> None:
    with mail_server(certificate, is_tls_from_start=True, wants_login=True) as server:
        assert report(lived, server.url(USER, PASSWORD))[0] == 0
    assert server.mails[0].was_encrypted


def test_a_login_without_tls_on_this_machine(lived: Workdir) -> None:
    with mail_server(wants_login=True) as server:
        assert report(lived, server.url(USER, PASSWORD), EMAIL_FROM="root@example.org")[0] == 0
    assert (server.mails[0].was_logged_in, server.mails[0].sender) == (True, "root@example.org")


def test_a_password_never_goes_in_the_clear_to_another_machine() -> None:
    from vpsmon.net.smtp import MailServer as Target
    from vpsmon.net.smtp import Rejected, hand_over

    class Elsewhere(Target):
        is_here = False

    with mail_server(wants_login=True) as server:
        target = Elsewhere("127.0.0.1", server.port, False, USER, PASSWORD)
        with pytest.raises(Rejected, match="offers no encryption"):
            hand_over(target, USER, [TO], b"Subject: x\r\n\r\nx\r\n")
    assert server.logins == []


def test_a_certificate_that_nobody_has_signed_is_refused_elsewhere(certificate: Path) -> None:
    from vpsmon.net.smtp import MailServer as Target
    from vpsmon.net.smtp import Rejected, hand_over

    class Elsewhere(Target):
        is_here = False

    with mail_server(certificate, wants_login=True) as server:
        target = Elsewhere("127.0.0.1", server.port, False, USER, PASSWORD)
        with pytest.raises(Rejected, match="certificate that is not right"):
            hand_over(target, USER, [TO], b"Subject: x\r\n\r\nx\r\n")
    assert server.logins == []


def test_several_recipients_and_one_that_is_refused(lived: Workdir) -> None:
    with mail_server() as server:
        server.refused["gone@example.org"] = "550 no such user"
        status, said, _ = report(lived, server.url(), EMAIL_TO=f"{TO}, gone@example.org")
    assert status == 0
    assert "gone@example.org was refused: 550 no such user" in said
    assert server.mails[0].recipients == [TO]


def waiting(workdir: Workdir) -> list[Path]:
    return list((workdir.path / ".alerts/mail").glob("*.eml"))


def check_failure(lived: Workdir, url: str, *words: str, waits: bool = False, **keys: str) -> None:
    """The report fails with one line that says what is wrong, where the report is, and whether it is tried again."""
    status, said, complaint = report(lived, url, **keys)
    assert (status, said) == (1, "")
    assert complaint.count("\n") == 1, complaint
    for word in (*words, str(next((lived.path / ".alerts/reports").glob("*.txt")))):
        assert word in complaint
    assert (len(waiting(lived)), "tries again" in complaint) == (int(waits), waits)


def test_a_refused_recipient(lived: Workdir) -> None:
    with mail_server() as server:
        server.refused[TO] = "550 no such user"
        check_failure(lived, server.url(), "refuses the recipient", TO, "550 no such user", "EMAIL_TO")


def test_a_wrong_password(lived: Workdir, certificate: Path) -> None:
    with mail_server(certificate, wants_login=True) as server:
        check_failure(lived, server.url(USER, "wrong-secret"), "refuses the login", "535", "SMTP_URL")


def test_a_server_that_is_not_there(lived: Workdir) -> None:
    port = free_port()
    check_failure(
        lived, f"smtp://127.0.0.1:{port}", f"127.0.0.1:{port} cannot be reached", "Connection refused", waits=True
    )


def test_a_login_that_the_server_does_not_know(lived: Workdir) -> None:
    with mail_server() as server:
        check_failure(lived, server.url(USER, PASSWORD), "offers no way to log in")


def test_tls_on_a_port_that_speaks_none(lived: Workdir) -> None:
    with mail_server() as server:
        check_failure(lived, f"smtps://127.0.0.1:{server.port}", "does not speak TLS on this port", waits=True)


def test_a_server_that_hangs_up(lived: Workdir) -> None:
    import socket
    import threading

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        threading.Thread(target=lambda: listener.accept()[0].close(), daemon=True).start()
        check_failure(lived, f"smtp://127.0.0.1:{listener.getsockname()[1]}", "broke off", waits=True)


def test_an_address_that_is_none(lived: Workdir) -> None:
    with mail_server() as server:
        check_failure(lived, server.url(), "EMAIL_TO", EMAIL_TO="not an address")
        status, said, complaint = report(lived, server.url(), EMAIL_TO="a@b.example\\nBcc: c@d.example")
    assert (status, said) == (1, "")
    assert "monitor.conf:1: EMAIL_TO: " in complaint
    assert server.mails == []


@pytest.mark.parametrize("url", ["smtp://h:99999", "smtp://"])
def test_a_malformed_url_is_not_repeated(lived: Workdir, url: str) -> None:
    check_failure(lived, url, "SMTP_URL is malformed")


@pytest.mark.parametrize("url", ["smtp://user:secr#et@mail.example.org", "smtp://user:secr/et@h"])
def test_a_password_that_no_url_can_hold_is_a_fault_of_the_configuration(lived: Workdir, url: str) -> None:
    status, said, complaint = report(lived, url)
    assert (status, said) == (1, "")
    assert "monitor.conf:2: SMTP_URL: malformed: write special characters of the password as %XX" in complaint
    assert "secr" not in complaint


def test_a_url_of_another_kind_is_a_fault_of_the_configuration(lived: Workdir) -> None:
    status, _, complaint = report(lived, "https://user:wrong-secret@mail.example.org")
    assert status == 1
    assert "monitor.conf:2: SMTP_URL: expected a URL that begins with smtp:// or smtps://" in complaint


def test_both_tells_of_each_way_and_fails_where_one_does(lived: Workdir, telegram: FakeTelegram) -> None:
    with mail_server() as server:
        server.refused[TO] = "451 try again later"
        lived.write_config(
            EMAIL_TO=TO,
            SMTP_URL=server.url(),
            TELEGRAM_BOT_TOKEN=telegram.token,
            TELEGRAM_CHAT_ID=str(telegram.chat_id),
            TELEGRAM_API_BASE=telegram.url,
        )
        done = lived.run("report", "both", env=NO_DOCKER)
    assert done.returncode == 1
    assert done.stdout == "Telegram: sent\n"
    assert "451 try again later" in done.stderr
    assert len(telegram.messages) == 1


def test_what_the_server_put_off_is_sent_by_a_later_pass_and_once(lived: Workdir) -> None:
    with mail_server() as server:
        server.refused[TO] = "451 greylisted"
        assert report(lived, server.url())[0] == 1
        server.refused.clear()
        lived.run("monitor", "--once", env=NO_DOCKER)
        assert server.mails == []  # ten minutes have not passed
        (path,) = waiting(lived)
        os.utime(path, (time.time() - 601,) * 2)
        lived.run("monitor", "--once", "--no-alerts", env=NO_DOCKER)
        assert server.mails == []
        for _ in range(2):
            lived.run("monitor", "--once", env=NO_DOCKER)
    assert "stop the container crm-blog-1" in only_mail(server)[0]
    assert waiting(lived) == []


def test_what_a_later_pass_finds_refused_is_told_and_not_tried_again(lived: Workdir) -> None:
    with mail_server() as server:
        server.refused[TO] = "451 greylisted"
        report(lived, server.url())
        server.refused[TO] = "550 no such user"
        os.utime(waiting(lived)[0], (0, 0))
        done = lived.run("monitor", "--once", env=NO_DOCKER)
    assert "a report is not sent by e-mail: the mail server" in done.stderr
    assert "550 no such user" in done.stderr
    assert waiting(lived) == []


def test_what_could_not_be_sent_for_a_day_is_given_up_with_a_word(lived: Workdir) -> None:
    report(lived, f"smtp://127.0.0.1:{free_port()}")
    (path,) = waiting(lived)
    old = path.with_name(f"{time.time() - 86_401:.0f}-aaaa.eml")
    path.rename(old)
    os.utime(old, (0, 0))
    done = lived.run("monitor", "--once", env=NO_DOCKER)
    assert "given up" in done.stderr
    assert waiting(lived) == []


def test_selftest_logs_in_and_sends_nothing(lived: Workdir, certificate: Path) -> None:
    with mail_server(certificate, wants_login=True) as server:
        lived.write_config(EMAIL_TO=TO, SMTP_URL=server.url(USER, PASSWORD))
        good = lived.run("selftest", env=NO_DOCKER).stdout
        lived.write_config(EMAIL_TO=TO, SMTP_URL=server.url(USER, "wrong-secret"))
        bad = lived.run("selftest", env=NO_DOCKER).stdout
    assert f"OK    e-mail           127.0.0.1:{server.port}, to {TO}" in good
    assert re.search(r"FAIL  e-mail +.*refuses the login: 535", bad)
    assert PASSWORD not in good
    assert "wrong-secret" not in bad
    assert server.mails == []


def test_status_tells_of_a_report_that_waits(lived: Workdir) -> None:
    assert "waiting for the mail server" not in lived.run("status", env=NO_DOCKER).stdout
    report(lived, f"smtp://127.0.0.1:{free_port()}")
    assert re.search(r"e-mail +1 report waiting for the mail server", lived.run("status", env=NO_DOCKER).stdout)


def test_a_silent_server_costs_one_time_limit() -> None:
    from vpsmon.core.findings import ReadError
    from vpsmon.net import smtp

    with silent_server() as port, pytest.MonkeyPatch.context() as patch, pytest.raises(ReadError, match="in time"):
        patch.setattr(smtp, "_TIMEOUT_SECONDS", 0.3)
        smtp.hand_over(smtp.parse_smtp_url(f"smtp://127.0.0.1:{port}"), USER, [TO], b"x")
