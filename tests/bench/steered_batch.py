"""`python -m tests.bench.steered_batch MODULE batch …` is `bgexp batch …` with steered workers.

MODULE: tests.bench.steered, or tests.bench.steered_network for one network that they share.
"""

import sys

from bgexp.cli import main as cli
from bgexp.system import workers

if __name__ == "__main__":
    module = sys.argv.pop(1)
    if module.endswith("_network"):
        from bgexp.detect import placement

        placement.wants_one_process = lambda _type: True  # a processor too, to test the benchmark
    original_preload = workers.preload
    workers.preload = lambda _module: original_preload(module)
    sys.exit(cli.main())
