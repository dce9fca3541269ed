"""Settings of `bgexp review` and `bgexp select`."""

from typing import Annotated, Literal

from pydantic import Field

from bgexp.config.base import Count, RunSelection, UserPath
from bgexp.config.export import Format
from bgexp.config.roles import Reads

Seed = Annotated[int, Field(ge=0, lt=2**31)]


class ReviewSettings(RunSelection):
    """Settings of `bgexp review`.

    Attributes:
        votes: A file that the page of a review saved; null: a page is made.
        n_pairs: Pairs to judge; repeats: how many of them are shown again.
        seed: Of the choice of images, and of the order of pairs and sides.
    """

    votes: Annotated[UserPath | None, Reads.FILE]
    n_pairs: Annotated[int, Field(ge=1, le=500)]
    repeats: Annotated[int, Field(ge=0, le=100)]
    seed: Seed


class SelectSettings(RunSelection):
    """Settings of `bgexp select`.

    Attributes:
        output: A folder that is not there yet, or is empty; null: one in the runs folder.
        n_images: Images to label: half at random, half where the variants disagree most.
        initial_mask: What the masks are before they are edited: "consensus" is what more than
            half of the variants keep, "blank" is nothing.
        format: png: masks to edit; another: a file for that labelling tool, too, as of an export.
        seed: Of the random half.
    """

    output: UserPath | None
    n_images: Annotated[Count, Field(ge=2)]
    initial_mask: Literal["consensus", "blank"]
    format: Format = "png"
    seed: Seed
