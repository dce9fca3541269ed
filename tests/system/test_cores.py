"""Cores by affinity, by a cgroup's quota, and by OMP_NUM_THREADS."""

import os

import pytest

from bgexp.system import cores

V1 = "12:memory:/x\n4:cpu,cpuacct:/docker/ab\n"


@pytest.fixture(autouse=True)
def _64_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)), raising=False)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),  # half a core
        ("0::/\n", {"cpu.max": "max 100000"}, 64),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "12800000 100000"}, 64),  # more than there are
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/host/ab\n", {"cpu.max": "200000 100000"}, 2),  # of the host, not mounted here
        ("0::/../x\n", {"cpu.max": "200000 100000"}, 2),
        (V1, {"cpu,cpuacct/docker/ab/cpu.cfs_quota_us": "50000",
              "cpu,cpuacct/docker/ab/cpu.cfs_period_us": "100000"}, 1),
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "400000",
              "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 4),
        (V1, {"cpu,cpuacct/docker/ab/cpu.cfs_quota_us": "-1",
              "cpu,cpuacct/docker/ab/cpu.cfs_period_us": "100000"}, 64),
        ("0::/\n", {"cpu.max": "nonsense"}, 64),
        ("0::/\n", {"cpu.max": "1 0"}, 64),
        ("nonsense\n", {}, 64),
        (None, {}, 64),
    ],
)  # fmt: skip
def test_a_cgroups_quota(tmp_path, monkeypatch, groups, files, expected):
    if groups is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert cores.count_available_cores(tmp_path) == expected
    monkeypatch.setattr(cores, "_read_quotas", lambda _root: iter([0.5]))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert (cores.count_own_cores(), cores.count_threads_each(4)) == (1, 1)


@pytest.mark.parametrize(
    ("threads", "expected"),
    [("2", 2), ("1,1", 1), ("4, 2", 4), (" 3 ", 3), ("0", 1), ("", 64), ("²", 64), ("-1", 64)],
)
def test_the_threads_that_are_set(monkeypatch, threads, expected):
    monkeypatch.setattr(cores, "_read_quotas", lambda _root: iter(()))
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert cores.count_own_cores() == expected
