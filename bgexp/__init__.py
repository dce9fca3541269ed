"""bgexp finds out, by tracked experiments, which background-removal settings work best."""

from bgexp.system.import_hook import postpone_compiler

__version__ = "0.1.0"

postpone_compiler()
