"""Settings of `bgexp analyze`."""

from typing import Annotated, Literal

from pydantic import (
    Field,
)

from bgexp.config.base import Count, Positive, Section, TrackedSettings, UserPath, UserPlace
from bgexp.config.roles import Reads


class Outliers(Section):
    """The rule by which a value is an outlier; bounds are taken of the logarithms.

    Attributes:
        method: "iqr": beyond the quartiles by limit times their distance. "mad": beyond the median
            by limit times the scaled median absolute deviation. "zscore": beyond the mean by
            limit times the standard deviation.
        limit: How far.
        by: Over all images, or in each category with enough of them.
    """

    method: Literal["iqr", "mad", "zscore"] = "iqr"
    limit: Annotated[float, Field(gt=0)] = 3.0
    by: Literal["all", "category"] = "all"


ExifField = Literal[
    "make",
    "model",
    "taken",
    "lens",
    "exposure",
    "aperture",
    "iso",
    "focal_length",
    "software",
    "artist",
    "copyright",
    "description",
    "orientation",
    "dpi",
    "gps",
]


class ReportedFigures(Section):
    """The figures of a report that the analysis checks; null: not stated."""

    images: Count | None = None
    categories: Count | None = None
    corrupt: Count | None = None
    missing_values: Count | None = None
    size_outliers: Count | None = None
    dimension_outliers: Count | None = None
    exact_duplicates: Count | None = None
    near_duplicates: Count | None = None


class QualityChecks(Section):
    """The checks that run over a dataset.

    Attributes:
        metadata: A CSV with a `path` column, whose other columns are fields.
        exif: Fields of EXIF that each image should have.
        outliers: Of file size and of dimensions.
        max_hash_distance: Near duplicates differ in at most so many of the 64 bits of a hash.
        expected: Figures to compare with.
    """

    metadata: Annotated[UserPath | None, Reads.FILE] = None
    exif: tuple[ExifField, ...] = ()
    outliers: Outliers = Outliers()
    max_hash_distance: Annotated[int, Field(ge=0, le=16)] = 4
    expected: ReportedFigures = ReportedFigures()


class AnalysisFolder(Section):
    """A folder with all its files, images or not."""

    root: Annotated[UserPlace, Reads.FOLDER]
    follow_links: bool = False
    max_megapixels: Annotated[float, Field(gt=0)] = 200


class AnalyzeSettings(QualityChecks, TrackedSettings):
    """Settings of `bgexp analyze`; workers null: one for each core."""

    dataset: AnalysisFolder
    workers: Positive | None
