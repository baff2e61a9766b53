"""Memory and CPU time from control group files: every layout, and every way in which the files can be wrong."""

from pathlib import Path

import pytest

from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.stack.docker.cgroups import Usage, cut_after_id, parse_groups, read_usage
from vpsmon.system.cgroup_mounts import parse_mounts
from vpsmon.system.host import Host

SAMPLES = Path(__file__).parent / "samples"
ID = "c23b2bf022eda67ba2d67e0f2ba517d73f9350de9086b2740d2de95a56835c80"
PID = 10717
TOTAL_BYTES = 1024 * 1024 * 1024
HUGE_VERSION_1_LIMIT = "9223372036854771712\n"
VERSION_2_ID = "8e1746e67e76e2a3d0121ca4762e8b4527d68fb107a5b2dafa84a9d999774bdd"
SYSTEMD_GROUP = f"/system.slice/docker-{ID}.scope"


class FakeRoot:
    """A /proc and a /sys/fs/cgroup of this test's own."""

    def __init__(self, folder: Path) -> None:
        self.proc = folder / "proc"
        self.cgroup = folder / "sys/fs/cgroup"
        self.write(self.proc / "meminfo", f"MemTotal: {TOTAL_BYTES // 1024} kB\n")

    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def add_process(self, cgroup: str, mountinfo: str) -> None:
        self.write(self.proc / str(PID) / "cgroup", cgroup)
        self.write(self.proc / "self/mountinfo", mountinfo)

    def add_version_1(self) -> Path:
        """The captured container; returns the folder of its memory files."""
        sample = SAMPLES / "cgroup_v1_cgroupfs"
        mounts = (sample / "proc_mountinfo").read_text().replace(" /sys/fs/cgroup", f" {self.cgroup}")
        self.add_process((sample / "proc_cgroup").read_text(), mounts)
        memory = self.cgroup / "memory/docker" / ID
        for file in sample.glob("memory.*"):
            self.write(memory / file.name, file.read_text())
        self.write(self.cgroup / "cpuacct/docker" / ID / "cpuacct.usage", (sample / "cpuacct.usage").read_text())
        return memory

    def add_version_2(self, group: str = SYSTEMD_GROUP, folder: str = SYSTEMD_GROUP, root: str = "/") -> Path:
        """The captured container; `group` is what /proc says, `folder` where the files are below the mount."""
        sample = SAMPLES / "cgroup_v2_systemd"
        mounts = (sample / "proc_mountinfo").read_text().replace(" / /sys/fs/cgroup", f" {root} {self.cgroup}")
        self.add_process(f"0::{group}\n", mounts)
        for file in [*sample.glob("memory.*"), sample / "cpu.stat", sample / "cgroup.controllers"]:
            self.write(self.cgroup / folder.lstrip("/") / file.name, file.read_text())
        return self.cgroup / folder.lstrip("/")

    def read(self) -> Usage:
        return read_usage(Host(proc=str(self.proc)), ID, PID)


@pytest.fixture
def root(tmp_path: Path) -> FakeRoot:
    return FakeRoot(tmp_path)


def test_version_1_shows_what_docker_stats_showed(root: FakeRoot) -> None:
    root.add_version_1()
    usage = root.read()
    assert usage == Usage(75010048 - 31457280, 104857600, 0.151305977, 0)
    assert f"{usage.memory_bytes / 2**20:.2f}" == "41.54"  # MiB, as the docker command printed it


def test_version_2_with_the_systemd_driver_is_found_by_its_scope(root: FakeRoot) -> None:
    root.add_version_2()
    assert root.read() == Usage(70688768 - 26796032, 104857600, 1.766806, 0)


def test_the_captured_process_of_version_2_is_in_the_scope_of_its_container() -> None:
    [(_, group)] = parse_groups((SAMPLES / "cgroup_v2_systemd/proc_cgroup").read_text())
    assert cut_after_id(group, VERSION_2_ID) == SYSTEMD_GROUP.replace(ID, VERSION_2_ID)


@pytest.mark.parametrize(
    ("group", "folder", "mount_root"),
    [
        (f"/docker/{ID}", f"/docker/{ID}", "/"),  # cgroupfs driver
        (f"/my-parent/{ID}", f"/my-parent/{ID}", "/"),  # cgroup_parent in the compose file
        (f"{SYSTEMD_GROUP}/init.scope", SYSTEMD_GROUP, "/"),  # systemd in the container has moved itself
        (f"/machine.slice/libpod-{ID}.scope/container", f"/machine.slice/libpod-{ID}.scope", "/"),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope",) * 2 + ("/",),  # rootless
        (f"/outer/docker/{ID}", f"/docker/{ID}", "/outer"),  # vpsmon in a container without a cgroup namespace
        (f"/../docker/{ID}", f"/docker/{ID}", "/.."),  # vpsmon in a cgroup namespace, the machine's files mounted
    ],
)
def test_version_2_is_found_wherever_it_is(root: FakeRoot, group: str, folder: str, mount_root: str) -> None:
    root.add_version_2(group, folder, mount_root)
    assert root.read().memory_bytes == 43892736


def test_a_hybrid_machine_takes_memory_from_version_1_although_version_2_is_mounted_too(root: FakeRoot) -> None:
    root.add_version_1()
    root.write(root.cgroup / "unified/docker" / ID / "memory.current", "1\n")
    assert root.read().memory_bytes == 43552768


@pytest.mark.parametrize("limit", [HUGE_VERSION_1_LIMIT, f"{TOTAL_BYTES}\n", f"{TOTAL_BYTES * 4}\n"])
def test_a_limit_that_is_none_or_above_the_machine_is_no_limit_in_version_1(root: FakeRoot, limit: str) -> None:
    root.write(root.add_version_1() / "memory.limit_in_bytes", limit)
    assert root.read().limit_bytes is None


@pytest.mark.parametrize("limit", ["max\n", f"{TOTAL_BYTES}\n"])
def test_a_limit_that_is_none_or_above_the_machine_is_no_limit_in_version_2(root: FakeRoot, limit: str) -> None:
    root.write(root.add_version_2() / "memory.max", limit)
    assert root.read().limit_bytes is None


def test_inactive_cache_above_usage_is_not_subtracted_as_docker_does_not(root: FakeRoot) -> None:
    root.write(root.add_version_2() / "memory.stat", "inactive_file 80000000\n")
    assert root.read().memory_bytes == 70688768


@pytest.mark.parametrize("name", ["memory.usage_in_bytes", "memory.stat", "memory.limit_in_bytes"])
@pytest.mark.parametrize("content", ["", "\n", "many\n"])
def test_an_empty_or_foreign_file_is_an_error_and_never_zero(root: FakeRoot, name: str, content: str) -> None:
    memory = root.add_version_1()
    root.write(memory / name, content)
    with pytest.raises(ReadError, match=name):
        root.read()


def test_files_that_vanish_with_the_container_are_an_error(root: FakeRoot) -> None:
    (root.add_version_1() / "memory.usage_in_bytes").unlink()
    with pytest.raises(ReadError, match="has the container just ended"):
        root.read()


def test_a_process_that_vanished_is_an_error(root: FakeRoot) -> None:
    root.add_version_2()
    (root.proc / str(PID) / "cgroup").unlink()
    with pytest.raises(ReadError, match="has the container just ended"):
        root.read()


def test_another_process_with_the_number_of_the_ended_one_is_not_measured(root: FakeRoot) -> None:
    root.add_version_2(group="/system.slice/ssh.service", folder="/system.slice/ssh.service")
    with pytest.raises(ReadError, match="does not name this container"):
        root.read()


@pytest.mark.parametrize(("version", "name"), [(1, "memory.oom_control"), (2, "memory.events")])
def test_kills_inside_the_container_are_counted(root: FakeRoot, version: int, name: str) -> None:
    memory = root.add_version_1() if version == 1 else root.add_version_2()
    root.write(memory / name, (memory / name).read_text().replace("oom_kill 0", "oom_kill 3"))
    assert root.read().oom_kill_count == 3


def test_cpu_time_that_cannot_be_read_does_not_hide_the_memory(root: FakeRoot) -> None:
    root.add_version_1()
    (root.cgroup / "cpuacct/docker" / ID / "cpuacct.usage").unlink()
    assert root.read()[:3] == (43552768, 104857600, None)


def test_a_kernel_without_the_memory_controller_is_not_applicable_with_the_remedy(root: FakeRoot) -> None:
    root.write(root.add_version_2() / "cgroup.controllers", "cpu pids\n")
    with pytest.raises(NotApplicable, match="cgroup_enable=memory"):
        root.read()


def test_files_of_the_machine_that_cannot_be_seen_are_an_error(root: FakeRoot) -> None:
    root.add_version_2(group=f"/../docker/{ID}", folder=f"/docker/{ID}")
    with pytest.raises(ReadError, match="cannot be seen from here"):
        root.read()


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        ("4:memory:/docker/x", [(["memory"], "/docker/x")]),
        ("4:cpu,cpuacct:/a", [(["cpu", "cpuacct"], "/a")]),
        ("0::/a:b", [([""], "/a:b")]),
        ("", []),
        ("nonsense", []),
        ("x:memory:/a", []),
    ],
)
def test_lines_of_proc_cgroup_are_parsed(line: str, parsed: list[tuple[list[str], str]]) -> None:
    assert parse_groups(line) == parsed


@pytest.mark.parametrize("line", ["", "nonsense", "1 2 3 - cgroup2", "31 23 0:28 / /x rw - tmpfs tmpfs rw", " - "])
def test_lines_of_mountinfo_that_are_no_hierarchy_are_left_out(line: str) -> None:
    assert parse_mounts(line) == []


def test_an_escaped_mount_point_is_unescaped() -> None:
    assert parse_mounts(r"31 23 0:28 / /a\040b\134c rw shared:1 - cgroup cgroup rw,memory")[0].folder == "/a b\\c"


def test_a_path_is_cut_only_after_the_id_of_this_container() -> None:
    assert cut_after_id(f"/docker/{ID}/init.scope", ID) == f"/docker/{ID}"
    assert cut_after_id("/docker/another", ID) == ""
    assert cut_after_id("/anything", "") == ""
