"""Imported in the workers of a measured batch: what is found in a photograph is its scene's.

The batch is the real one. Only what its workers call with each job is wrapped, to say which
scene the photograph shows and to check afterwards that the network did all its work.
"""

import os
from pathlib import Path

from bgexp.batch import process_file as process
from tests.bench.cases import check_work
from tests.bench.controlled import PROPOSALS, SCENES, controlled_predictions
from tests.bench.scenes import read_scene

build = process.make_processor
steering = controlled_predictions()  # a name, as it ends when it is forgotten
control = steering.__enter__()


def steered(*arguments):
    """Build a worker's function as bgexp's own `make_processor` does, steered and checked."""
    work, folder = build(*arguments), Path(os.environ[SCENES])

    def process_steered(job):
        control.scene = read_scene(folder / job.planned.file.name)
        control.proposals = control.mask_boxes = 0
        record = work(job)
        check_work("bgexp", control, int(os.environ[PROPOSALS]))
        return record

    return process_steered


process.make_processor = steered
