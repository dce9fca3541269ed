"""A Ray cluster of two hosts, which are two network namespaces with a cable between them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep

import psutil
import pytest

from tests.cluster.commands import wait_until
from tests.cluster.test_batches import assert_whole, count_records, expected, finish, source

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="needs root and ip"),
]
HOSTS = {"bgexp-a": "10.77.5.1", "bgexp-b": "10.77.5.2"}
HEAD, OTHER = HOSTS
PORT = 6399
RAY = str(Path(sys.executable).with_name("ray"))
# Without a token: a head that has one in its home asks all others for it.
RAY_SETTINGS = {
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
}
__all__ = ["expected", "source"]  # fixtures


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


def on_host(host, *command):
    return ["ip", "netns", "exec", host, *command]


@pytest.fixture
def hosts(monkeypatch):
    """Two hosts that reach each other and nothing else, with a Ray node of one core each."""
    for name, value in RAY_SETTINGS.items():
        monkeypatch.setenv(name, value)
    try:
        ip("link", "add", "bgexp-va", "type", "veth", "peer", "name", "bgexp-vb")
        for (host, address), cable in zip(HOSTS.items(), ("bgexp-va", "bgexp-vb"), strict=True):
            ip("netns", "add", host)
            ip("link", "set", cable, "netns", host)
            ip("-n", host, "address", "add", f"{address}/24", "dev", cable)
            for device in ("lo", cable):
                ip("-n", host, "link", "set", device, "up")
        with TemporaryDirectory(prefix="ray-") as folder:  # a socket's path is short
            start_ray(HEAD, "--head", f"--port={PORT}", f"--temp-dir={folder}")
            start_ray(OTHER, f"--address={HOSTS[HEAD]}:{PORT}")
            yield
    finally:
        for host in HOSTS:
            if Path("/run/netns", host).exists():
                for process in list_processes(host):
                    process.kill()
                ip("netns", "delete", host)


def start_ray(host, *words):
    arguments = ["start", *words, f"--node-ip-address={HOSTS[host]}", "--num-cpus=1"]
    result = subprocess.run(on_host(host, RAY, *arguments), capture_output=True, timeout=180)
    assert result.returncode == 0, result.stderr.decode()


def list_processes(host):
    pids = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True, check=True)
    for pid in pids.stdout.split():
        try:
            yield psutil.Process(int(pid))
        except psutil.NoSuchProcess:
            continue


def count_workers(host):
    return sum("MapWorker" in " ".join(process.cmdline()) for process in list_processes(host))


@pytest.mark.usefixtures("hosts")
def test_both_hosts_work_and_one_that_is_cut_off_loses_nothing(source, tmp_path, expected):
    output = tmp_path / "out"
    words = [
        *(f"input={source}", f"output={output}", f"runs_dir={tmp_path / 'runs'}", "device=cpu"),
        *("refine=none", "detector.image_size=256", "engine=ray"),
        *(f"engine.address={HOSTS[HEAD]}:{PORT}", "engine.min_workers=2", "engine.max_workers=2"),
    ]
    process = subprocess.Popen(
        on_host(HEAD, sys.executable, "-m", "bgexp.cli.main", "batch", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: count_workers(HEAD) and count_workers(OTHER), process)
    wait_until(lambda: count_records(output) >= 40, process)
    ip("-n", OTHER, "link", "set", "bgexp-vb", "down")
    sleep(1)
    code, text = finish(process)
    assert code == 0, text
    assert_whole(source, output, expected)
