"""Settings of `bgexp verify`."""

from bgexp.config.base import Percentage, Section, UserPlace


class VerifySettings(Section):
    """Settings of `bgexp verify`.

    Attributes:
        output: The output of a batch, or the folder of a run.
        subset: Share of the rows whose files are read, drawn anew each time; None: all.
    """

    output: UserPlace
    subset: Percentage | None
