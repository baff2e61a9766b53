"""The pages of docs/ say what the code does: nothing of the code is missing in them, and nothing in them is made up."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import stat
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import pytest

from tests.contract.test_layers import RANK, ROWS
from tests.kit.command import Workdir, run_command
from tests.kit.host import FakeMachine
from vpsmon.checks import load_checks
from vpsmon.cli import main
from vpsmon.config.settings import DEFAULTS, KINDS, allowed_range
from vpsmon.prometheus.exposition import HELPS
from vpsmon.recovery.rules import load_rules
from vpsmon.trends.history import TIERS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
MANUAL = "\n".join(PAGES.values())
FENCED = re.compile(r"(?ms)^```(\w*)\n(.*?)^```$")
PROSE = FENCED.sub("", MANUAL)
EXIT_STATUSES = re.compile(r"(?:^|[;:]) ?(\d) ")
CHECKS = [*load_checks("kernel"), *load_checks("stack")]
# Of other programs.
NOT_OURS = {
    "DOCKER_HOST",
    "VPSMON_CONFIG",
    "NO_COLOR",
    "CAP_SYSLOG",
    "CAP_KILL",
    "HTTPS_PROXY",
    "MALLOC_TRIM_THRESHOLD_",
    "REDIS_PASSWORD",
    "QUEUE_BULL_PREFIX",
    "DB_POSTGRESDB_POOL_SIZE",
}
# What Docker and Telegram say.
OF_OTHERS = ("driver failed programming external connectivity on endpoint", "bot was blocked by the user")
WALK = "One reading, from /proc to Telegram"
MARKS = ("🔴", "🟠", "🔵", "✅")
# Files that the code names and that are not in the state directory.
ELSEWHERE = {"config.json", "dashboard.json"}


def section(page: str, title: str, level: str = "##") -> str:
    """Return the text below a heading of a page up to the next of that level or above."""
    found = re.search(rf"(?m)^{level} {re.escape(title)}\n", PAGES[page])
    assert found, f"no heading in {page}.md: {level} {title}"
    return re.split(rf"(?m)^#{{2,{len(level)}}} ", PAGES[page][found.end() :], maxsplit=1)[0]


def introduction(page: str) -> str:
    """Return what stands above the first section of a page."""
    return PAGES[page].partition("\n## ")[0]


def read_table(text: str) -> list[list[str]]:
    """Return the cells of the rows of all tables in a text, without heads and rulers."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows if not row[0].startswith("---")]


def names_of(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def rows_by_name(text: str) -> dict[str, list[str]]:
    """Return the rows whose first cell is nothing but a name in backquotes."""
    return {row[0].strip("`"): row[1:] for row in read_table(text) if re.fullmatch(r"`[^`]+`", row[0])}


def list_commands() -> dict[str, click.Command]:
    context = click.Context(main)
    commands = {name: main.get_command(context, name) for name in main.list_commands(context)}
    return {name: command for name, command in commands.items() if command}


# --- commands --------------------------------------------------------------------------------------------------------


def test_there_is_a_section_for_every_command_and_for_no_other() -> None:
    assert set(re.findall(r"(?m)^### `vpsmon ([^`]+)`$", section("operate", "Commands"))) == list_commands().keys()


@pytest.mark.parametrize("name", list_commands())
def test_the_options_and_arguments_of_a_command_are_those_of_the_code(name: str) -> None:
    told = {word for row in read_table(section("operate", f"`vpsmon {name}`", "###")) for word in names_of(row[0])}
    options: set[str] = set()
    values: set[str] = set()
    for parameter in list_commands()[name].params:
        choices = parameter.type.choices if isinstance(parameter.type, click.Choice) else ()
        values |= {str(each) for each in choices}
        if isinstance(parameter, click.Option):
            options |= {f"{word} {parameter.metavar}" if parameter.metavar else word for word in parameter.opts}
    assert told == options | values


def test_the_options_of_all_commands_are_those_of_the_code() -> None:
    above = section("operate", "Commands").partition("\n### ")[0]
    told = {word for row in read_table(above) for word in names_of(row[0]) if word.startswith("-")}
    own = {option for each in main.params for option in each.opts}
    assert told == {"--config FILE", "-h", "--help"} | own - {"--config"}


@pytest.mark.parametrize("name", list_commands())
def test_the_exit_statuses_of_a_command_are_those_of_its_help(name: str) -> None:
    said = re.search(r"(?m)^Exit status: (.*)$", section("operate", f"`vpsmon {name}`", "###"))
    assert said, name
    by_help = " ".join((list_commands()[name].help or "").partition("Exit status")[2].split())
    # 2 is click's own, for every command.
    assert set(re.findall(r"\b[0-3]\b", said[1])) | {"2"} == set(EXIT_STATUSES.findall(by_help)) | {"2"}


def list_command_lines() -> Iterator[str]:
    for _, block in FENCED.findall(MANUAL + README):
        for line in block.splitlines():
            command = re.match(r"(?:\$ )?(?:sudo )?vpsmon(?= )(.*)", line)
            if command and not re.match(r" (?:\d|\S*: )", command[1]):
                yield command[1]
    yield from (line.removeprefix("vpsmon") for line in re.findall(r"`(?:sudo )?(vpsmon [^`…]+)`", PROSE + README))


@pytest.mark.parametrize("line", sorted(set(list_command_lines())))
def test_every_command_line_can_be_typed(line: str) -> None:
    words = shlex.split(re.split(r" [|>] ", line)[0], comments=True)
    name, *rest = words[2:] if words[0] == "--config" else words
    command = list_commands().get(name)
    assert command, line
    command.make_context(name, rest)


# --- configuration ---------------------------------------------------------------------------------------------------


def show(key: str) -> tuple[str, str]:
    """Return default and range of a key as the manual writes them."""
    value, kind = getattr(DEFAULTS, key), KINDS[key]
    text = ",".join(value) if kind == "tuple" else value
    default = f'"{text}"' if isinstance(text, str) else str(text).lower()
    lowest, highest = allowed_range(key)
    return f"`{default}`", f"{lowest} to {highest}" if kind in ("int", "float") else "-"


def test_every_key_is_there_with_its_default_and_its_range() -> None:
    rows = rows_by_name(PAGES["configuration"])
    assert rows.keys() == KINDS.keys()
    for key, (default, unit, span, meaning) in rows.items():
        assert (default, span) == show(key), key
        assert unit, key
        assert meaning, key


def test_every_key_that_is_named_exists_and_every_default_is_right() -> None:
    for key, default in re.findall(r"`([A-Z][A-Z0-9_]+)` \((\d+)\)", MANUAL):
        assert getattr(DEFAULTS, key) == float(default), key
    assert set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)`", PROSE)) <= KINDS.keys() | NOT_OURS


# --- checks and rules ------------------------------------------------------------------------------------------------


def test_every_row_has_its_unit_and_a_section_of_its_own() -> None:
    units = {name: unit for check in CHECKS for name, unit in check.ROWS.items()}
    told = {name: cells[0].replace("-", "") for name, cells in rows_by_name(introduction("checks")).items()}
    assert told == units
    assert re.findall(r"(?m)^## `([^`]+)`$", PAGES["checks"]) == list(told)
    for name, unit in units.items():
        rows = {row[0]: row[1] for row in read_table(section("checks", f"`{name}`")) if len(row) == 2}
        assert rows.keys() == {"unit", "reads", "warning", "critical", "resolved", "skipped", ""}, name
        assert re.match(rf"{re.escape(unit) or '-'}\b|-$", rows["unit"]), name


def test_every_rule_has_its_words_its_pause_and_a_section() -> None:
    rules = {rule.name: rule for rule in load_rules()}
    told = rows_by_name(introduction("recovery"))
    assert list(told) == list(rules)
    for name, (words, pause, attempts) in told.items():
        assert tuple(names_of(words)) == rules[name].commands
        assert pause == f"{rules[name].cooldown_seconds:g} s"
        assert attempts
        rows = [row[0] for row in read_table(section("recovery", f"`{name}`"))]
        assert rows[1:6] == ["detects", "acts", "verifies", "undoes", "leaves alone"], name


# --- metrics, units and files ----------------------------------------------------------------------------------------


def test_every_metric_is_there_and_no_other() -> None:
    of_checks = {name for check in [*CHECKS, *load_checks("export")] for name in getattr(check, "METRICS", {})}
    rows = rows_by_name(section("prometheus", "The metrics"))
    assert rows.keys() == of_checks | HELPS.keys()
    assert all(len(cells) == 5 and all(cells) for cells in rows.values())


def test_the_labels_are_those_of_a_real_export(workdir: Workdir) -> None:
    workdir.write_config(TELEGRAM_BOT_TOKEN="1:a", TELEGRAM_CHAT_ID="1", TELEGRAM_API_BASE="http://127.0.0.1:9")
    workdir.run("monitor", "--once", "--no-alerts")
    labels: dict[str, set[str]] = {}
    for name, inside in re.findall(r"(?m)^([a-z_]+)(?:\{(.*)\})? ", workdir.run("export", "--stdout").stdout):
        labels.setdefault(name, set()).update(re.findall(r'(\w+)="', inside))
    rows = rows_by_name(section("prometheus", "The metrics"))
    assert len(labels) >= 15
    assert {name: set(names_of(rows[name][1])) for name in labels} == labels


def test_every_unit_is_there_and_no_other() -> None:
    units = {path.name for path in (ROOT / "units").iterdir() if path.suffix[1:] in _UNIT_KINDS}
    assert rows_by_name(section("internals", "Units").partition("\n### ")[0]).keys() == units


def test_the_memory_of_the_units_is_that_of_their_files() -> None:
    told = rows_by_name(section("internals", "Memory of the units", "###"))
    keys = ("MemoryMin", "MemoryMax", "OOMScoreAdjust")
    for path in (ROOT / "units").iterdir():
        found = [re.search(rf"(?m)^{key}=(.*)$", path.read_text(encoding="utf-8")) for key in keys]
        values = [each[1] if each else "-" for each in found]
        assert told.pop(path.name, ["-"] * len(keys)) == values, path.name
    assert not told


_UNIT_KINDS = {"service", "timer", "socket", "path", "slice", "target"}


# What stands for a time in the name of a file.
NAMED_BY_TIME = re.compile(r"YYYY-MM-DD|…")


def find_row(rows: dict[str, list[str]], name: str) -> list[str] | None:
    """Return the row of a file, also where its name has a time in it."""
    patterns = {row: NAMED_BY_TIME.sub(lambda found: ".+", re.escape(row).replace("\\-", "-")) for row in rows}
    return next((rows[row] for row, pattern in patterns.items() if re.fullmatch(pattern, name)), None)


def read_constants() -> Iterator[str]:
    """Yield every text in the code of vpsmon, those between the braces of an f-string too."""
    for path in (ROOT / "vpsmon").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def list_state_files() -> set[str]:
    """Return the file names that the code writes below the state directory, as they stand in it."""
    names = {f"history_{kind}_{tier.name}.log" for kind, tiers in TIERS.items() for tier in tiers}
    for text in read_constants():
        names |= set(re.findall(r"^(?:[a-z_]+/)?[a-z_]+\.(?:jsonl?|log|prom|lock)$", text))
    templates = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "units").iterdir())
    return names.union(re.findall(r"@STATE@/([a-z_./]+)", templates)) - ELSEWHERE


def test_every_file_of_the_state_directory_is_there_and_no_other() -> None:
    rows = rows_by_name(section("internals", "The state directory"))
    told = {name for name in rows if name not in ("lock", ".vpsmon") and not NAMED_BY_TIME.search(name)}
    assert told == list_state_files()


def test_the_files_that_are_written_are_in_the_table_with_their_mode(workdir: Workdir, machine: FakeMachine) -> None:
    workdir.write_config(TELEGRAM_BOT_TOKEN="1:a", TELEGRAM_CHAT_ID="1", TELEGRAM_API_BASE="http://127.0.0.1:9")
    for words in (["monitor", "--once"], ["recover"], ["export"], ["monitor", "--once"]):
        workdir.run(*words)
    told = rows_by_name(section("internals", "The state directory"))
    folder = workdir.path / ".alerts"
    written = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    assert len(written) >= 10
    for name, path in written.items():
        row = find_row(told, name)
        assert row, name
        assert row[0] == f"{stat.S_IMODE(path.stat().st_mode):04o}", name


# --- text ------------------------------------------------------------------------------------------------------------


def list_messages() -> list[str]:
    """Return what alerts say in the examples: the line below the mark, and the one with the arrow."""
    lines = [
        line
        for language, block in FENCED.findall(MANUAL + README)
        if not language
        for line in ["", *block.splitlines()]
    ]
    return [line for above, line in pairwise(lines) if line.startswith("→ ") or above.startswith(MARKS)]


def list_quotations() -> list[str]:
    """Return what the tables for bad nights quote."""
    rows = [*read_table(section("operate", "At 3 a.m.")), *read_table(section("operate", "Troubleshooting"))]
    return [quotation for row in rows for quotation in names_of(row[0]) if not quotation.startswith("vpsmon")]


def find_strange_words(message: str) -> str:
    """Return three words in a row that no text of the code has; names, numbers and units come alone."""
    words = {text.strip() for text in [*read_constants(), *OF_OTHERS] if len(text.strip()) >= 4}
    for text in sorted(words | {text[:1].upper() + text[1:] for text in words}, key=len, reverse=True):
        message = message.replace(text, "|")
    found = re.search(r"(?:[A-Za-z][a-z']+[ ,]+){2}[A-Za-z][a-z']+", message)
    return found[0] if found else ""


@pytest.mark.parametrize("message", sorted(set(list_messages())))
def test_every_message_is_made_of_words_of_the_code(message: str) -> None:
    assert find_strange_words(message) == ""


def test_every_quotation_of_the_tables_for_bad_nights_is_of_the_code() -> None:
    texts = list(read_constants())
    for quotation in list_quotations():
        for part in re.split("…|NAME", quotation):
            assert any(part.strip(" :") in text for text in texts) or not find_strange_words(part), quotation


def test_every_page_is_in_the_contents() -> None:
    told = re.findall(r"(?m)^\| \[(\w[\w-]*)\.md\]\(\1\.md\) \|", PAGES["MONITORING"])
    assert sorted([*told, "MONITORING"]) == sorted(PAGES)


@pytest.mark.parametrize("page", ["operate", "internals", "prometheus"])
def test_every_chapter_of_a_long_page_is_in_its_contents(page: str) -> None:
    told = re.findall(r"\[([^]]+)\]\(#", introduction(page))
    headings = re.findall(r"(?m)^## (.+)$", FENCED.sub("", PAGES[page]))
    assert [each.lower() for each in told] == [each.lower() for each in headings]


def test_the_rooms_of_the_code_are_in_the_order_of_their_imports() -> None:
    told = list(rows_by_name(section("internals", "The rooms of the code").partition("\n### ")[0]))
    order = [room for row in ROWS for room in row if (ROOT / "vpsmon" / room).is_dir()]
    assert sorted(told) == sorted(order)
    assert [RANK[room] for room in told] == sorted(RANK[room] for room in told)


def test_a_reading_passes_each_module_of_its_way_once() -> None:
    told = list(names_of(" ".join(row[0] for row in read_table(section("internals", WALK, "###"))[1:])))
    assert len(told) == len(set(told)) >= 15
    assert all((ROOT / module).is_file() for module in told)


def test_the_readme_has_a_row_for_every_rule() -> None:
    rows = read_table(README.partition("\n## What is repaired\n")[2].partition("\n## ")[0])[1:]
    assert sorted(tuple(names_of(row[0])) for row in rows) == sorted(tuple(rule.commands) for rule in load_rules())


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the program, to add files to."""
    shutil.copytree(ROOT / "vpsmon", tmp_path / "vpsmon", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def read_example(title: str) -> str:
    (code,) = [code for language, code in FENCED.findall(section("internals", title)) if language == "python"]
    return str(code)


def run_python(folder: Path, *words: str) -> str:
    done = run_command([sys.executable, *words], folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_check_of_the_manual_works_as_soon_as_its_file_is_there(copy: Path) -> None:
    (copy / "vpsmon/checks/kernel/open_files.py").write_text(read_example("Add a check"))
    rows = json.loads(run_python(copy, "-m", "vpsmon", "monitor", "--once", "--json"))["checks"]
    (row,) = [row for row in rows if row["check"] == "open_files"]
    assert row["status"] == "ok"
    assert row["value"] > 0
    assert "vpsmon_open_files" in run_python(copy, "-m", "vpsmon", "export", "--stdout")


DETECT = """
from tests.unit.test_recovery_rules import container, finding, look
from vpsmon.recovery.rules import container_full, list_rule_names
from vpsmon.config.settings import DEFAULTS
full = finding("container_memory", "critical", "blog"), finding("container_memory", "critical", "postgres")
seen = look(container("blog"), container("shop"), container("postgres"), findings=full)
(incident,) = container_full.detect(seen, DEFAULTS, {})
assert incident.name == "blog" and incident.steps[0].action.verb == "restart_container"
assert container_full.verify(seen, incident.target, DEFAULTS) == "failing"
assert container_full.verify(look(container("blog")), incident.target, DEFAULTS) == "repaired"
print(list_rule_names())
"""


def test_the_rule_of_the_manual_is_found_and_decides(copy: Path) -> None:
    (copy / "vpsmon/recovery/rules/container_full.py").write_text(read_example("Add a recovery rule"))
    shutil.copytree(ROOT / "tests", copy / "tests", ignore=shutil.ignore_patterns("__pycache__", "fixtures"))
    assert "container_full" in run_python(copy, "-c", DETECT)


@pytest.mark.parametrize("title", ["Add a check", "Add a recovery rule"])
def test_the_code_of_the_manual_is_as_clean_as_ours(title: str, copy: Path) -> None:
    folder = "checks/kernel" if title == "Add a check" else "recovery"
    path = copy / "vpsmon" / folder / "example.py"
    path.write_text(read_example(title))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for tool in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy", "--strict"]):
        run_python(copy, "-m", *tool, str(path))
