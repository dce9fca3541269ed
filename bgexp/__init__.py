"""bgexp finds out, by tracked experiments, which background-removal settings work best.

    import bgexp

    result = bgexp.remove_background("cat.jpg")  # a path, an HxWx3 uint8 array or a Pillow image
    result.save("cat.png")

What needs torch is imported when it is first used.
"""

from importlib import import_module

from bgexp.system.import_hook import postpone_compiler

__version__ = "0.2.0"

_FRONT_DOOR = {
    "RemovalResult": "bgexp.pipeline.remove",
    "Remover": "bgexp.pipeline.remover",
    "load_settings": "bgexp.config.load",
    "remove_background": "bgexp.pipeline.remover",
}

postpone_compiler()


def __getattr__(name: str) -> object:
    """Import what stands in the front door when it is asked for (PEP 562)."""
    if name not in _FRONT_DOOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_FRONT_DOOR[name]), name)


def __dir__() -> list[str]:
    """Name what the front door offers beside what is loaded."""
    return sorted({*globals(), *_FRONT_DOOR})
