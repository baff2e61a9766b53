"""README and monitor.conf say what the code does: tables, keys and commands are compared with it."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import click
import pytest
import tomli

from tests.kit.command import Workdir
from vpsmon.alerts.refusals import REFUSALS
from vpsmon.checks import load_checks
from vpsmon.cli import main
from vpsmon.config.settings import DEFAULTS, KINDS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
# Only these modules may reach outside the process.
DOORS = {"host.py", "smtp.py"}
# Variables of the environment that the README names, of vpsmon's start and of other programs.
NOT_OURS = {"VPSMON_CONFIG", "DOCKER_HOST", "REDIS_PASSWORD"}
ALL_CHECKS = [*load_checks("kernel"), *load_checks("stack")]


def read_keys(text: str) -> dict[str, object]:
    """Return the keys of a monitor.conf as if every line of the form `#KEY=value` were in force."""
    return tomli.loads(re.sub(r"(?m)^#(?=[A-Z0-9_]+=)", "", text))


def test_monitor_conf_holds_every_key_with_its_default() -> None:
    keys = read_keys((ROOT / "monitor.conf").read_text(encoding="utf-8"))
    defaults = DEFAULTS._asdict()
    assert keys == {key: ",".join(value) if isinstance(value, tuple) else value for key, value in defaults.items()}


def test_every_key_of_monitor_conf_has_a_comment_above_its_group() -> None:
    blocks = re.split(r"(?m)^# ---.*$", (ROOT / "monitor.conf").read_text(encoding="utf-8"))
    for block in blocks[1:]:
        first = next(line for line in block.splitlines() if line)
        assert re.match(r"# \S", first), first


def test_the_table_of_checks_is_that_of_the_code() -> None:
    section = README.partition("## What is checked")[2].partition("\n## ")[0]
    rows = re.findall(r"(?m)^\| `([a-z_0-9]+)` \| ([^|]+?) \|", section)
    assert {name: unit.split()[0].replace("-", "") for name, unit in rows} == {
        name: unit for check in ALL_CHECKS for name, unit in check.ROWS.items()
    }


def test_every_key_named_in_the_readme_exists_and_every_default_is_right() -> None:
    for key, default in re.findall(r"`([A-Z][A-Z0-9_]+)` \((\d+)\)", README):
        assert getattr(DEFAULTS, key) == float(default), key
    names = set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)`", README))
    assert names <= KINDS.keys() | NOT_OURS


def test_every_command_is_in_the_readme_and_has_help() -> None:
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        assert command.help
        assert f"`vpsmon {name}" in README


def test_the_list_of_commands_tells_each_to_its_end(workdir: Workdir) -> None:
    listed = workdir.run("--help", env={"COLUMNS": "80"}).stdout.partition("Commands:\n")[2].splitlines()
    assert len(listed) == len(main.list_commands(click.Context(main)))
    assert all(re.search(r"[^.]\.$", line) for line in listed), listed


def read_anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    text = re.sub(r"(?ms)^```.*?^```$", "", path.read_text(encoding="utf-8"))
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    document = ROOT / name
    text = re.sub(r"(?ms)^```.*?^```$", "", document.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, fragment = target.partition("#")
        if path.startswith("https://"):
            continue
        linked = (document.parent / path) if path else document
        assert linked.exists(), target
        assert not fragment or fragment in read_anchors(linked), target


def test_every_command_of_the_readme_runs(workdir: Workdir) -> None:
    commands = re.findall(r"(?m)^\| `vpsmon ([^`]+)` \|", README)
    assert len(commands) >= 5
    for command in commands:
        words = shlex.split(command)
        if words in (["monitor"], ["uninstall"]):
            continue  # runs until it is stopped: tests/e2e/test_resident.py; would act on whatever is installed here
        done = workdir.run(*words)
        # Without a bot there is nothing to send with.
        allowed = (0, 1) if words == ["selftest", "--send"] else (0, 3)
        assert done.returncode in allowed, (command, done.stderr)


def test_the_manual_has_the_remedy_of_every_refusal_of_telegram() -> None:
    manual = (ROOT / "docs/operate.md").read_text(encoding="utf-8")
    section = manual.partition("### What Telegram refuses")[2].partition("\n#")[0]
    rows = re.findall(r"(?m)^\| (\d+) \| (?:`…(.+?)…`|anything else) \| (.+?) \|$", section)
    assert rows == [(str(each.status), each.phrase, each.remedy) for each in REFUSALS]


def imported_modules(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


def test_only_the_door_reaches_outside() -> None:
    for path in (ROOT / "vpsmon").rglob("*.py"):
        outside = imported_modules(path) & {"subprocess", "urllib.request", "http.client", "smtplib"}
        assert not outside or path.name in DOORS, (path, outside)


def test_no_check_imports_another() -> None:
    for path in (ROOT / "vpsmon/checks").rglob("[a-z]*.py"):
        others = {name for name in imported_modules(path) if re.match(r"vpsmon\.checks\.\w+\.[a-z]", name)}
        assert not others, (path, others)


def test_every_check_module_has_the_shape() -> None:
    for check in ALL_CHECKS:
        assert check.ROWS
        assert all(callable(getattr(check, name)) for name in ("read", "judge"))
        assert check.read.__doc__
        assert check.judge.__doc__


def test_every_test_that_the_threat_model_names_is_there() -> None:
    text = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named, there = set(re.findall(r"`(test_\w+)`", text)), set(re.findall(r"(?m)^def (test_\w+)\(", sources))
    assert named
    assert named - there == set()
    untrusted = text.split("## Not trusted")[1].split("\n\n")[1].splitlines()[2:]
    assert not [row for row in untrusted if "`test_" not in row.split("|")[4]]
