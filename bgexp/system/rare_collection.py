"""Importing this makes garbage collection rare in a process.

Imports make half a million objects that stay, and Python looks through them again and again: a
fifth of the time of a command that only reads a store where processes fight for the cache, a
thirtieth where it is alone.
"""

import gc

gc.set_threshold(20_000, 10, 10)  # objects; 700 by default
