"""`python3 install.py --try`, run for real on a copy of the checkout by a user who is not root."""

import ast
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# The interpreter below the environment that runs the tests.
PYTHON = os.path.realpath(sys.executable)
STANDARD_LIBRARY = sysconfig.get_path("stdlib")
NOBODY = 65534
AS_NOBODY = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups"
NOT_COPIED = (".*", "__pycache__", "*.egg-info", "build", "dist", "tests")
# A full installation takes half a minute on a small machine with a good network; this is for a bad one.
TIMEOUT_SECONDS = 300


@pytest.fixture(scope="module")
def workspace() -> Iterator[Path]:
    """A folder with a space in its name that any user may enter (pytest's own are closed to all but root)."""
    folder = Path(tempfile.mkdtemp(prefix="vpsmon try "))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def copy_checkout(target: Path) -> Path:
    """A copy of the checkout that belongs to nobody, with a home beside it so that pip finds nothing of root's."""
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*NOT_COPIED))
    home_of(target).mkdir()
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", target, home_of(target)], check=True)
    return target


def home_of(checkout: Path) -> Path:
    return checkout.with_name(f"home of {checkout.name}")


@pytest.fixture
def checkout(workspace: Path, request: pytest.FixtureRequest) -> Path:
    return copy_checkout(workspace / request.node.name)


def environment(checkout: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "XDG_"))}
    return {**kept, "HOME": str(home_of(checkout))}


def without_package_index(checkout: Path) -> dict[str, str]:
    """An environment in which pip knows neither a cache nor a local folder of packages, and gives up early."""
    kept = {name: value for name, value in environment(checkout).items() if not name.startswith("PIP_")}
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", "PIP_RETRIES": "1"}


def try_command(checkout: Path) -> str:
    return f"{PYTHON} {shlex.quote(str(checkout / 'install.py'))} --try"


def run_shell(
    script: str, checkout: Path, variables: dict[str, str] | None = None, namespaces: str = "--mount"
) -> subprocess.CompletedProcess[str]:
    """Run a script as root in namespaces of its own, so that what it mounts is gone with it."""
    return subprocess.run(
        ["unshare", namespaces, "sh", "-ec", script],
        cwd="/",
        env=variables or environment(checkout),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )


def run_try(checkout: Path) -> subprocess.CompletedProcess[str]:
    return run_shell(f"exec {AS_NOBODY} {try_command(checkout)}", checkout)


def signal_midway(checkout: Path, number: signal.Signals) -> tuple[int, str]:
    """Start --try, send the signal to it and its children while .venv is being filled; return status and stderr."""
    # A test run started in the background of a script inherits an ignored SIGINT; a person's terminal has not.
    command = f"env --default-signal=INT {AS_NOBODY} {try_command(checkout)}"
    process = subprocess.Popen(
        shlex.split(command),
        cwd="/",
        env=environment(checkout),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (checkout / ".venv" / "bin" / "python").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, number)
    _, stderr = process.communicate(timeout=60)
    return process.returncode, stderr


def assert_one_line(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    """It failed with one line that holds these parts, beside the line that announced the work."""
    lines = [line for line in result.stderr.splitlines() if not line.startswith("install.py: making ")]
    assert result.returncode == 1
    assert len(lines) == 1 and lines[0].startswith("install.py: "), result.stderr
    assert all(part in lines[0] for part in parts), lines[0]
    assert result.stdout == ""


@pytest.fixture(scope="module")
def tried(workspace: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The one full installation of this file: a first run killed midway, then one that finishes."""
    checkout = copy_checkout(workspace / "tried")
    status, _ = signal_midway(checkout, signal.SIGKILL)
    assert status == -signal.SIGKILL
    assert not (checkout / ".venv" / "installed").exists()
    return checkout, run_try(checkout)


def test_runs_one_pass_after_a_try_that_was_killed(tried: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    checkout, result = tried
    assert result.returncode == 0, result.stderr
    assert "memory_available" in result.stdout
    assert "install.py: making" in result.stderr
    assert (checkout / ".venv" / "installed").stat().st_uid == NOBODY


def test_second_try_installs_nothing(tried: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    checkout, _ = tried
    stamp_before = (checkout / ".venv" / "installed").stat().st_mtime_ns
    result = run_try(checkout)
    assert result.returncode == 0, result.stderr
    assert "memory_available" in result.stdout
    assert "install.py" not in result.stderr
    assert (checkout / ".venv" / "installed").stat().st_mtime_ns == stamp_before


def test_waits_for_another_installation(tried: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    checkout, _ = tried
    lock = os.open(checkout, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    process = subprocess.Popen(
        shlex.split(f"{AS_NOBODY} {try_command(checkout)}"),
        cwd="/",
        env=environment(checkout),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "waiting for another installation" in process.stderr.readline()
    os.close(lock)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "memory_available" in stdout


def test_does_not_trust_an_environment_that_was_moved(
    tried: tuple[Path, subprocess.CompletedProcess[str]], workspace: Path
) -> None:
    moved = workspace / "moved"
    subprocess.run(["cp", "-a", tried[0], moved], check=True)
    subprocess.run(["cp", "-a", home_of(tried[0]), home_of(moved)], check=True)
    script = f"exec {AS_NOBODY} {try_command(moved)}"
    result = run_shell(script, moved, without_package_index(moved), namespaces="--net")
    assert_one_line(result, "cannot be reached")


def test_no_network_is_one_line_with_the_command(checkout: Path) -> None:
    script = f"exec {AS_NOBODY} {try_command(checkout)}"
    result = run_shell(script, checkout, without_package_index(checkout), namespaces="--net")
    assert_one_line(result, "package index cannot be reached", f"'{checkout}/.venv/bin/python' -m pip install")


def test_interrupt_is_one_line_and_status_130(checkout: Path) -> None:
    status, stderr = signal_midway(checkout, signal.SIGINT)
    assert status == 130
    assert stderr.splitlines()[1:] == ["install.py: interrupted; run it again to start over"]


def test_refusal_of_pip_shows_what_pip_said(checkout: Path) -> None:
    project_file = checkout / "pyproject.toml"
    text = project_file.read_text()
    assert '"tomli>=' in text
    project_file.write_text(text.replace('"tomli>=', '"tomli>=999.'))
    result = run_try(checkout)
    assert result.returncode == 1
    assert "this command failed: " in result.stderr
    assert "No matching distribution found for tomli>=999." in result.stderr
    assert "Traceback" not in result.stderr


def test_folder_of_another_user(checkout: Path) -> None:
    os.chown(checkout, 0, 0)
    assert_one_line(run_try(checkout), f"{checkout}/.venv: Permission denied")


def test_read_only_folder(checkout: Path) -> None:
    folder = shlex.quote(str(checkout))
    mount = f"mount --bind {folder} {folder}; mount -o remount,ro,bind {folder}"
    result = run_shell(f"{mount}; exec {AS_NOBODY} {try_command(checkout)}", checkout)
    assert_one_line(result, f"{checkout}/.venv: Read-only file system")


def test_full_disk(checkout: Path) -> None:
    # Room for the checkout and the start of an environment.
    small_disk = (
        f"mount -t tmpfs -o size=8m,mode=1777 tmpfs /mnt; cp -a {shlex.quote(str(checkout))} /mnt/checkout; "
        f"exec {AS_NOBODY} {try_command(Path('/mnt/checkout'))}"
    )
    assert_one_line(run_shell(small_disk, checkout), "no space left on the disk", "/mnt/checkout/.venv")


def overlay(*folders: str) -> str:
    """A script that makes changes to these folders invisible to everyone else and void afterwards."""
    mounts = [
        f"mkdir -p /mnt{folder}/upper /mnt{folder}/work; "
        f"mount -t overlay overlay -o lowerdir={folder},upperdir=/mnt{folder}/upper,workdir=/mnt{folder}/work {folder}"
        for folder in folders
    ]
    return "; ".join(["mount -t tmpfs tmpfs /mnt", *mounts])


def test_missing_ensurepip_names_the_apt_command(checkout: Path) -> None:
    hide = f"{overlay(STANDARD_LIBRARY)}; rm -r {STANDARD_LIBRARY}/ensurepip"
    result = run_shell(f"{hide}; exec {AS_NOBODY} {try_command(checkout)}", checkout)
    assert_one_line(result, "run as root: apt-get install -y python3-venv")
    assert not (checkout / ".venv").exists()


@pytest.mark.skipif(os.path.realpath("/usr/bin/python3") != PYTHON, reason="apt has venv for its own Python only")
def test_missing_ensurepip_is_installed_by_root(checkout: Path) -> None:
    """The environment itself is not made (its folder is read-only): the other tests do that."""
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    folder = shlex.quote(str(checkout))
    script = (
        f"{overlay('/usr', '/var')}; apt-get remove -qq --yes {package} >/dev/null 2>&1; "
        f"! {PYTHON} -c 'import ensurepip' 2>/dev/null; rm -rf /var/lib/apt/lists/*; "
        f"mount --bind {folder} {folder}; mount -o remount,ro,bind {folder}; "
        f"{try_command(checkout)} || {PYTHON} -c 'import ensurepip; print(\"ensurepip is here\")'"
    )
    result = run_shell(script, checkout)
    assert result.stdout == "ensurepip is here\n", result.stderr
    assert "install.py: running apt-get install -y python3-venv\n" in result.stderr


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--try", "more"], ["--prefix"]])
def test_anything_else_is_wrong_usage(arguments: list[str]) -> None:
    result = subprocess.run([PYTHON, ROOT / "install.py", *arguments], capture_output=True, text=True)
    assert result.returncode == 2
    usage = "usage: sudo python3 install.py [--prefix FOLDER]\n       python3 install.py --try\n"
    assert result.stderr.startswith(usage)


def test_parses_on_a_python_too_old_for_the_project() -> None:
    ast.parse((ROOT / "install.py").read_text(), feature_version=(3, 6))
