"""Settings of `bgexp promote`."""

from typing import Annotated

from pydantic import Field

from bgexp.config.base import RunSelection


class PromoteSettings(RunSelection):
    """Settings of `bgexp promote`.

    Attributes:
        run: One run, whatever `runs` says; null: the best of those that `runs` names.
        metric: By which: KEY.STATISTIC of a run's metrics, or win_rate of logged votes.
        require: Conditions that a run has to meet, such as "images_per_s>=2"; null: none.
        holdout: The share of images that confirm the best of several and do not choose it.
        seed: Of which images these are.
        name: Of the registered model.
        rollback: The previous champion becomes the champion again; nothing else happens.
        dry_run: Says what would happen and why, and changes nothing.
    """

    run: str | None
    metric: str
    require: str | None
    holdout: Annotated[float, Field(ge=0, lt=1)]
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    name: Annotated[str, Field(pattern=r"^[\w.-]*\w[\w.-]*$", max_length=100)]
    rollback: bool
    dry_run: bool
