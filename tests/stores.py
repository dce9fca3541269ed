"""MLflow's stores, whose seconds of migrations are made once a process and copied from then on."""

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

MODULE = "mlflow.store.db.utils"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Nothing here imports MLflow, which takes seconds: what makes its stores is changed after."""
    module: Any = sys.modules.get(MODULE)
    if module is not None and not hasattr(module._initialize_tables, "template"):
        factory: pytest.TempPathFactory = item.config._tmp_path_factory  # type: ignore[attr-defined]
        template = factory.mktemp("template") / "mlflow.db"
        module._initialize_tables = _from_template(module._initialize_tables, template)


def _from_template(set_up: Callable[[Any], None], template: Path) -> Callable[[Any], None]:
    def initialize(engine: Any) -> None:
        if engine.dialect.name == "sqlite" and template.exists():
            _copy(engine, template, fill=True)
            return
        set_up(engine)
        if engine.dialect.name == "sqlite":
            _copy(engine, template, fill=False)

    initialize.template = template  # type: ignore[attr-defined]
    return initialize


def _copy(engine: Any, template: Path, *, fill: bool) -> None:
    """Copies all tables, to the template or (fill) from it."""
    with closing(sqlite3.connect(template)) as kept, engine.connect() as connection:
        own = connection.connection.driver_connection
        (kept if fill else own).backup(own if fill else kept)
