"""Commands that are cut, in a process that has imported all they need: a fork costs moments."""

import importlib
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SAMPLE = Path(__file__).parents[2] / "bgexp" / "sample" / "images"
MODULES = ".modules"  # beside the log: what the fork had imported at its end
SECONDS = 120  # after which a command counts as hanging


def warm_up() -> None:
    """Import all that commands import, and let them start processes by plain forks.

    The servers that fork workers, and MLflow in the outbox's process, take seconds each time. What
    MLflow copies by several threads is copied by one: the order of calls is the same each time.
    """
    import mlflow.pyfunc
    import mlflow.store.artifact.artifact_repo
    import mlflow.store.tracking.sqlalchemy_store
    import mlflow.system_metrics.system_metrics_monitor

    import bgexp.batch.command
    import bgexp.batch.console
    import bgexp.batch.identity
    import bgexp.batch.process_file
    import bgexp.cli.commands
    import bgexp.experiment.evaluate_dataset
    import bgexp.experiment.run
    import bgexp.promote.command
    import bgexp.sweep.jobs
    import bgexp.tracking.outbox
    from bgexp.system import provenance, workers

    mlflow.store.artifact.artifact_repo._NUM_MAX_THREADS = 1
    provenance._run_git = lambda *_: None  # with changes in no commit nothing would be promoted
    provenance.describe_bgexp()  # kept from now on
    fork = multiprocessing.get_context("fork")
    workers._SERVED, workers.CONTEXT = False, fork
    bgexp.tracking.outbox.get_context = lambda _method: fork


def import_modules(log: Path) -> None:
    """Import what an earlier fork had to: the next ones have it from the beginning."""
    for name in log.with_suffix(MODULES).read_text().splitlines():
        if name not in sys.modules:
            with suppress(Exception):  # such as a module that was made on the way
                importlib.import_module(name)


def call_in_fork(function: Callable[[], int], log: Path) -> int | None:
    """Call a function in a fork; return its exit code, -9 where it was killed, None if it hangs.

    What it prints goes into the log.
    """
    pid = os.fork()
    if not pid:
        os.setpgid(0, 0)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = 99
        try:
            code = function()
        except SystemExit as error:  # Hydra's way out
            code = int(error.code or 0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            log.with_suffix(MODULES).write_text("\n".join(sorted(sys.modules)))
            os._exit(code)
    deadline = time.monotonic() + SECONDS
    while not (done := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(0.005)
    # What it left running goes with it: a plain fork holds the pipes of others open, by whose end
    # workers that are started as they should be know that their parent is gone.
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(done[1])


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def run_command(arguments: list[str], log: Path) -> int | None:
    """Run `bgexp ARGUMENTS` in a fork, as `call_in_fork` does."""
    from bgexp.cli.main import main

    return call_in_fork(lambda: main(arguments), log)


def copy_photographs(folder: Path, n: int) -> None:
    """Copy sample images into sub-folders of a new folder, some of them more than once."""
    files = sorted(SAMPLE.rglob("*.*"))
    for number in range(n):
        file = files[number % len(files)]
        target = folder / file.parent.name / f"{number:02}-{file.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)


def make_weights(path: Path) -> None:
    """Write weights of the demo detector that find about a third of every image."""
    import torch

    from bgexp.detect.demo import build_demo_model
    from bgexp.detect.weights import save_state

    torch.manual_seed(0)
    model = build_demo_model()
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.bias.copy_(torch.tensor([0.0, 0.6]))
        model.roi_heads.mask_predictor.mask_fcn_logits.bias.fill_(0.3)
    save_state(model.state_dict(), path, {})
