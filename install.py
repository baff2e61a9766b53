#!/usr/bin/env python3
"""Bootstrap of vpsmon: puts it into a virtual environment and starts it.

Standard library only. An older Python than the project needs must still be able to parse this file, so that it can say
so: no match, no walrus.
"""

import fcntl
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

if sys.version_info < (3, 10):
    sys.exit("install.py: vpsmon needs Python 3.10 or newer; {} is {}.{}".format(sys.executable, *sys.version_info[:2]))

USAGE = """\
usage: sudo python3 install.py [--prefix FOLDER]
       python3 install.py --try

  --prefix FOLDER   where vpsmon lives, with its monitor.conf and its state [default: /opt/vpsmon]; an installation that
                    is there is upgraded, and goes on as it was if that fails
  --try             try vpsmon from this folder: makes .venv here, installs vpsmon into it and prints one pass of all
                    checks; needs no root and no configuration, changes nothing outside this folder
"""
DEFAULT_PREFIX = "/opt/vpsmon"
ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
# What decides how the environment looks. Code is not among it: the editable install runs it from here.
INPUT_FILES = ("pyproject.toml", "setup.py")
# What an installation is built from.
SOURCES = (*INPUT_FILES, "README.md", "LICENSE", "monitor.conf", "units", "vpsmon")
# Resolved, so that install.py run by .venv/bin/python does not build the environment upon itself.
BASE_PYTHON = os.path.realpath(sys.executable)
APT_COMMAND = ["apt-get", "install", "-y", "python3-venv"]
# What pip and venv print when they fail for a reason that one line can say.
KNOWN_CAUSES = (
    ("No space left on device", "no space left on the disk"),
    ("Disk quota exceeded", "the disk quota is used up"),
    ("WARNING: Retrying (Retry(", "the Python package index cannot be reached; is the network up?"),
    ("ReadTimeoutError", "the Python package index stopped answering"),
)


class InstallError(Exception):
    """What went wrong, in words for the user."""


def main(arguments: list[str]) -> int:
    """Run the command line and return the exit status; with --try, vpsmon takes this process over."""
    if arguments == ["--try"]:
        return guarded(try_out)
    if not arguments or (len(arguments) == 2 and arguments[0] == "--prefix"):
        return guarded(install, os.path.abspath(arguments[1] if arguments else DEFAULT_PREFIX))
    if arguments in (["-h"], ["--help"]):
        print(USAGE, end="")
        return 0
    print(USAGE, end="", file=sys.stderr)
    return 2


def guarded(action: Callable[..., None], *arguments: str) -> int:
    """Run the action; an expected failure becomes one line on stderr and an exit status."""
    try:
        action(*arguments)
    except InstallError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; run it again to start over")
        return 130
    return 0


def try_out() -> None:
    """Make .venv and become `vpsmon monitor --once` in it, so that signals and the exit status need no passing on."""
    make_environment()
    os.chdir(ROOT)  # where monitor.conf is, and .alerts may be
    os.execv(VENV / "bin" / "vpsmon", ["vpsmon", "monitor", "--once"])  # noqa: S606 - a shell would only be in the way


def install(prefix_name: str) -> None:
    """Put vpsmon into the folder and have it install its units; what was there before goes on if that fails."""
    if os.geteuid() != 0:
        raise InstallError("must be run as root: sudo python3 install.py (python3 install.py --try needs no root)")
    if not os.path.isdir("/run/systemd/system"):
        raise InstallError("systemd does not run this machine, so there is nothing to install units into")
    sys.dont_write_bytecode = True  # the checkout is somebody else's
    from vpsmon.installation.paths import find_fault

    fault = find_fault(prefix_name)
    if fault:
        raise InstallError(fault)
    require_own_link(os.path.join(prefix_name, "venv"))
    os.umask(0o022)  # the services are another user, and have to read what is made here
    prefix = Path(prefix_name)
    prefix.mkdir(parents=True, exist_ok=True)
    lock = lock_folder(prefix)
    try:
        version = make_version(prefix, lock)
        change_version(prefix, version, lock)
    finally:
        os.close(lock)


def make_version(prefix: Path, lock: int) -> Path:
    """Return the environment with this version in it, made unless it is there: its name says what it is made from."""
    version = prefix / f"venv-{fingerprint(prefix)}"
    stamp = version / "installed"
    if stamp.is_file():
        return version
    require_ensurepip()
    empty_environment(version)
    say(f"making {version} (about a minute)")
    # A build leaves its traces beside what it builds: not in the folder of whoever runs this.
    source = version / "source"
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, source / name)
    # Nothing comes from the network whose hash is not in the lock file; .ci/lock writes that.
    locked = ["--require-hashes", "--requirement", str(source / "vpsmon" / "requirements.lock")]
    own = ["--no-deps", "--no-build-isolation", str(source)]
    fill_environment(version, [["--no-cache-dir", *each] for each in (locked, own)], lock)
    shutil.rmtree(source)
    run_quietly([str(version / "bin" / "vpsmon"), "install", "--dry-run"], lock)  # it runs at all
    stamp.touch()
    return version


def fingerprint(prefix: Path) -> str:
    """A name for everything that decides how an environment looks: the sources, the Python, and its own place."""
    digest = hashlib.sha256(f"{BASE_PYTHON!a} {sys.version_info[:3]} {str(prefix)!a}".encode())
    for name in SOURCES:
        for path in sorted([ROOT / name, *(ROOT / name).rglob("*")]):
            if path.is_file() and path.suffix != ".pyc":
                digest.update(f"\n{str(path.relative_to(ROOT))!a} ".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def change_version(prefix: Path, version: Path, lock: int) -> None:
    """Let the link `venv` lead to this version and run its `vpsmon install`; turn it back if that fails."""
    link = prefix / "venv"
    before = os.readlink(str(link)) if link.is_symlink() else None
    turn_link(link, version.name)
    if not run_vpsmon_install(prefix, lock):
        if before in (None, version.name) or not (prefix / before / "installed").is_file():
            raise InstallError("vpsmon is not installed yet; mend what is said above, then run this again")
        turn_link(link, before)
        outcome = "runs on" if run_vpsmon_install(prefix, lock) else "could not be started again either"
        raise InstallError(f"the upgrade failed, as said above; the version from before {outcome}")
    from vpsmon.installation.paths import is_own_environment

    for old in prefix.glob("venv-*"):
        if old != version and is_own_environment(str(old)):
            shutil.rmtree(old)


def require_own_link(link: str) -> None:
    """Raise InstallError where somebody else's environment is in the place of ours."""
    from vpsmon.installation.paths import is_own_link

    if os.path.lexists(link) and not is_own_link(link):
        raise InstallError(f"{link} is there already and not vpsmon's: choose another folder with --prefix")


def turn_link(link: Path, target: str) -> None:
    """Let a link lead elsewhere, at one instant."""
    new = link.with_name("venv.new")
    if new.is_symlink():
        new.unlink()
    new.symlink_to(target)
    os.replace(str(new), str(link))


def run_vpsmon_install(prefix: Path, lock: int) -> bool:
    """Run the installed version's own part, which holds the lock as well and may ask; return whether it succeeded."""
    command = [str(prefix / "venv" / "bin" / "vpsmon"), "--config", str(prefix / "monitor.conf"), "install"]
    sys.stdout.flush()
    return subprocess.run(command, pass_fds=(lock,)).returncode == 0


def make_environment(extra: str = "") -> None:
    """Make .venv with vpsmon and the named extra in it, unless it is there and up to date."""
    lock = lock_folder(ROOT)
    try:
        if not is_up_to_date(extra):
            remake_environment(extra, lock)
    finally:
        os.close(lock)


def lock_folder(folder: Path) -> int:
    """Wait until no other process installs into a folder; closing the descriptor returned unlocks it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("waiting for another installation in this folder")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def is_up_to_date(extra: str) -> bool:
    """Whether .venv was finished, for this Python, in this place, from the project files as they are now."""
    stamp = stamp_file(extra)
    return stamp.is_file() and stamp.read_text() == stamp_text() and os.access(VENV / "bin" / "vpsmon", os.X_OK)


def stamp_file(extra: str) -> Path:
    return VENV / f"installed{extra and '-' + extra}"


def stamp_text() -> str:
    """The fingerprint of an environment; its path is in it because console scripts stop working when they are moved."""
    digest = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in INPUT_FILES))
    return f"{BASE_PYTHON!a} {sys.version_info[:3]}\n{str(VENV)!a}\n{digest.hexdigest()}\n"


def remake_environment(extra: str, lock: int) -> None:
    """Make .venv from nothing; the stamps are written last, so that a killed run never looks finished."""
    require_ensurepip()
    empty_environment(VENV)
    say(f"making {VENV} (about half a minute, this once)")
    project = f"{ROOT}[{extra}]" if extra else str(ROOT)
    fill_environment(VENV, [["--editable", project]], lock)
    # An editable install compiles nothing; where PYTHONDONTWRITEBYTECODE is set, every start would do it again.
    run_quietly([str(VENV / "bin" / "python"), "-m", "compileall", "-q", str(ROOT / "vpsmon")], lock)
    for stamp in {stamp_file(""), stamp_file(extra)}:
        stamp.write_text(stamp_text())


def fill_environment(venv: Path, installs: list[list[str]], lock: int) -> None:
    """Make an environment in an empty folder, with what pip is told to install, one call after the other."""
    python = str(venv / "bin" / "python")
    # In two steps, because venv keeps to itself why its own call of ensurepip failed.
    run_quietly([BASE_PYTHON, "-m", "venv", "--without-pip", str(venv)], lock)
    run_quietly([python, "-m", "ensurepip", "--default-pip"], lock)
    # Wheels only: a small server has no compiler, and psycopg2 without one fails in pages of noise.
    pip_install = ["-m", "pip", "install", "--no-input", "--only-binary", ":all:"]
    for arguments in installs:
        run_quietly([python, *pip_install, *arguments], lock)


def empty_environment(venv: Path) -> None:
    """Leave an empty folder: one that cannot be written shows here, before anything slow."""
    from vpsmon.installation.paths import MARK

    for stamp in venv.glob("installed*"):
        stamp.unlink()  # first, for a removal killed midway must not leave what looks finished
    if venv.exists():
        shutil.rmtree(venv)
    venv.mkdir()
    (venv / MARK).touch()


def require_ensurepip() -> None:
    """Debian and Ubuntu split ensurepip from Python, and `python3 -m venv` fails halfway without it."""
    if has_ensurepip():
        return
    command = shlex.join(APT_COMMAND)
    if os.geteuid() != 0:
        raise InstallError(f"this Python cannot make virtual environments yet; run as root: {command}")
    say(f"running {command}")
    apt_install()
    importlib.invalidate_caches()
    if not has_ensurepip():
        raise InstallError(f"{BASE_PYTHON} has no ensurepip although this succeeded: {command}")


def has_ensurepip() -> bool:
    """Whether it is really there: a folder that only kept its __pycache__ is found as well, but has no origin."""
    spec = importlib.util.find_spec("ensurepip")
    return spec is not None and spec.origin is not None


def apt_install() -> None:
    """Run the apt command; a machine that never fetched the package lists needs an update before."""
    try:
        run_quietly(APT_COMMAND)
    except InstallError:
        run_quietly(["apt-get", "update"])
        run_quietly(APT_COMMAND)


def run_quietly(command: list[str], *kept_descriptors: int) -> None:
    """Run a command that asks nothing and prints nothing unless it fails.

    It holds the lock as well: when install.py alone is killed, pip goes on, and the next run has to wait for it.
    """
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        pass_fds=kept_descriptors,
    )
    if result.returncode != 0:
        raise InstallError(failure_text(command, result.stdout))


def failure_text(command: list[str], output: str) -> str:
    """One line with the cause and the command; for an unknown cause, the end of what the command printed before it."""
    failed = f"this command failed: {shlex.join(command)}"
    for sign, cause in KNOWN_CAUSES:
        if sign in output:
            return f"{cause} - {failed}"
    return "\n".join([failed, *(f"  {line}" for line in output.splitlines()[-20:])])


def say(text: str) -> None:
    """Everything install.py says goes to stderr: stdout belongs to vpsmon."""
    print(f"install.py: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
