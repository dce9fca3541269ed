"""The call that is made to fail is the one that was chosen."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.calls import COMPILER

pytestmark = pytest.mark.skipif(
    COMPILER is None or sys.platform != "linux", reason="needs a C compiler"
)

WATCHED = """
import sys
from pathlib import Path
from tests.faults.calls import Watch, read_calls, start_watched

start_watched()
root, log = map(Path, sys.argv[1:])


def read(*names):
    watch.set(root, log, target, 5)
    told = []
    for name in names:
        try:
            (root / name).open("rb").close()
            told.append("read")
        except OSError as error:
            told.append(error.strerror)
    watch.stop()
    print(*told, sep=", ")
    return {call.path.name: call for call in read_calls(log)}


watch, target = Watch(), None
calls = read("missing", "there", "mlflow.db")
for target in calls.values():
    calls = read("mlflow.db", "missing", "there")
    print({name: call.outcome for name, call in calls.items()})
"""


def test_whatever_failed_before_or_is_on_a_stores_files(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    for name in ("there", "mlflow.db"):
        (root / name).touch()
    command = [sys.executable, "-c", WATCHED, str(root), str(tmp_path / "calls.log")]
    process = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert process.stdout.splitlines() == [
        "No such file or directory, read, read",
        "read, Input/output error, read",
        "{'mlflow.db': 'done', 'missing': 'hit', 'there': 'done'}",
        "read, No such file or directory, Input/output error",
        "{'mlflow.db': 'done', 'missing': 'failed', 'there': 'hit'}",
        "Input/output error, No such file or directory, read",
        "{'mlflow.db': 'hit', 'missing': 'failed', 'there': 'done'}",
    ]
