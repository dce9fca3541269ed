"""`python -m tests.bench.steered_batch batch …` is `bgexp batch …` with steered workers."""

import sys

from bgexp import cli, workers

if __name__ == "__main__":
    import_early = workers.import_early
    workers.import_early = lambda _module: import_early("tests.bench.steered")
    sys.exit(cli.main())
