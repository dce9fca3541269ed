"""torchvision without torch's compiler, for which every command would wait at its start.

torchvision's RoIAlign takes one function from torch._dynamo, and so imports that compiler: nine
hundred modules, as slow as all else that bgexp imports. Here the function imports it when it is
called.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

_IMPORTER, _COMPILER, _FUNCTION = (
    "torchvision.ops.roi_align",
    "torch._dynamo.utils",
    "is_compile_supported",
)


def postpone_compiler() -> None:
    """Keep torch's compiler from being imported with torchvision, from its next import on."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _IMPORTER or _COMPILER in sys.modules:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        try:
            with _replace_compiler():
                super().exec_module(module)
        except ImportError:  # a torchvision that imports more than the one function
            super().exec_module(module)


@contextmanager
def _replace_compiler() -> Iterator[None]:
    """Let a stub stand for the compiler in whatever is imported meanwhile."""
    module = ModuleType(_COMPILER)
    setattr(module, _FUNCTION, lambda *args: getattr(import_module(_COMPILER), _FUNCTION)(*args))
    sys.modules[_COMPILER] = module
    try:
        yield
    finally:
        del sys.modules[_COMPILER]
