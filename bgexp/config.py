"""The one typed schema of all settings. A composed config becomes it once and goes no further.

Unknown keys are refused, and a config is data: `_target_` is an unknown key like any other. The
defaults stand in `conf/`; what has one here too is what a library call may leave out.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from bgexp.color import parse_color
from bgexp.errors import UserError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """A part of the settings: unknown keys refused, never changed after it was checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


# -- shared by every tracked command ---------------------------------------------------------


class Tracking(Section):
    """Where runs are recorded; uri null: the SQLite store in the runs folder."""

    uri: str | None = None
    experiment: Annotated[str, Field(min_length=1)] = "bgexp"


class Tracked(Section):
    """What every tracked command has."""

    runs: Path
    tracking: Tracking


class Common(Tracked):
    """What every command with a network has."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    device: Literal["auto", "cpu", "cuda"]


# -- bgexp run: one section a stage ----------------------------------------------------------


class Folder(Section):
    """Images in a folder, categories by sub-folder, no truth."""

    name: Literal["folder"]
    root: Path
    subset: Positive | None = None
    max_megapixels: Annotated[float, Field(gt=0)] = 200


class Pairs(Section):
    """Images and their masks, found by the same path: same stem, or full name plus `.png`."""

    name: Literal["pairs"]
    images: Path
    masks: Path
    subset: Positive | None = None
    max_megapixels: Annotated[float, Field(gt=0)] = 200


class Sample(Section):
    """The 24 images with masks inside the package."""

    name: Literal["sample"]
    subset: Positive | None = None
    max_megapixels: Annotated[float, Field(gt=0)] = 200


class Coco(Section):
    """Images with a COCO annotation file, by the names in it.

    Attributes:
        categories: Names or ids of those in the file that count as foreground; null: all.
    """

    name: Literal["coco"]
    images: Path
    annotations: Path
    categories: tuple[str | int, ...] | None = None
    subset: Positive | None = None
    max_megapixels: Annotated[float, Field(gt=0)] = 200


Dataset = Annotated[Folder | Pairs | Sample | Coco, Field(discriminator="name")]


class _Detector(Section):
    """What every detector has.

    Attributes:
        score_threshold: A detection counts where its score is above it (strictly).
        score_floor: The network keeps what is above it, for other thresholds to come; null: the
            lowest threshold of the sweep, or the run's own.
        labels: Names or ids of the classes that count; null: all.
    """

    score_threshold: Share
    score_floor: Share | None = None
    labels: tuple[str | int, ...] | None

    @model_validator(mode="after")
    def _floor_is_below(self) -> Self:
        if self.floor > self.score_threshold:
            raise PydanticCustomError(
                "score_floor",
                "score_floor: {floor} is above score_threshold ({threshold})",
                {"floor": self.floor, "threshold": self.score_threshold},
            )
        return self

    @property
    def floor(self) -> float:
        """The score floor as it is used."""
        return self.score_threshold if self.score_floor is None else self.score_floor


class Demo(_Detector):
    """The shipped class-agnostic Mask R-CNN; weights null: the shipped file."""

    name: Literal["demo"]
    weights: Path | None
    image_size: Annotated[int, Field(ge=64, le=4096)]


class _CocoDetector(_Detector):
    """Torchvision's models; weights: COCO_V1 or a .pth or .safetensors file of a state dict."""

    weights: str
    min_size: Annotated[int, Field(ge=64, le=4096)]
    max_size: Annotated[int, Field(ge=64, le=8192)]
    detections_per_image: Positive


class MaskRcnnResnet50Fpn(_CocoDetector):
    """The first version; its weights were trained with frozen norms."""

    name: Literal["maskrcnn_resnet50_fpn"]
    norm: Literal["frozen_batch_norm", "batch_norm"]
    norm_eps: Annotated[float, Field(ge=0)]


class MaskRcnnResnet50FpnV2(_CocoDetector):
    """The second version: better and slower."""

    name: Literal["maskrcnn_resnet50_fpn_v2"]


DetectorSettings = Annotated[
    Demo | MaskRcnnResnet50Fpn | MaskRcnnResnet50FpnV2, Field(discriminator="name")
]


class Combine(Section):
    """How detections become one mask.

    Attributes:
        mask_threshold: A pixel is foreground where the soft mask is above it (strictly).
        instances: "all" unites every detection. "largest" takes the one whose pasted mask has
            most pixels. "central" takes the one whose box centre is nearest to the image centre
            in pixels, whatever its size or score. A tie goes to the first.
        fill_holes: The largest hole that is filled, as a share of the image area; 0 fills none.
            A hole is all that a part encloses (its islands too), never what touches the border.
        min_area: Parts that, holes included, are smaller than this share of the image area are
            removed; 0 removes none.
    """

    mask_threshold: Share = 0.5
    instances: Literal["all", "largest", "central"] = "all"
    fill_holes: Share = 0.0
    min_area: Share = 0.0


class NoRefinement(Section):
    """The mask stays as the detector made it."""

    name: Literal["none"] = "none"


class GrabCut(Section):
    """How GrabCut refines a mask.

    Attributes:
        iterations: Times that colours are learned and the edge is cut.
        band: Pixels this near to the mask's edge are uncertain; a share of the longer side of
            the mask's bounding box, and not of the picture, as a detector's error grows with its
            box and not with the scene around it.
        size: GrabCut works on the mask's surroundings with at most this longer side in pixels.
        max_change: A result that changes more pixels than this share of the mask is refused.
    """

    name: Literal["grabcut"] = "grabcut"
    iterations: Annotated[int, Field(ge=1, le=50)] = 1
    band: Share = 0.06
    size: Annotated[int, Field(ge=16, le=8192)] = 192
    max_change: Annotated[float, Field(ge=0)] = 0.5


class GuidedFilter(Section):
    """How the guided filter refines a mask.

    Attributes:
        iterations: Passes of the filter.
        radius: Of the filter's window, and of the band around the mask's edge that it may change;
            a share of the longer side of the mask's bounding box.
        size: It is fitted to the mask's surroundings with at most this longer side in pixels.
    """

    name: Literal["guided"] = "guided"
    iterations: Annotated[int, Field(ge=1, le=50)] = 3
    radius: Share = 0.05
    size: Annotated[int, Field(ge=16, le=8192)] = 128


class RefineNetwork(Section):
    """How the mask network refines a mask.

    Attributes:
        weights: null: the shipped file; or a .safetensors file that bgexp train wrote.
        size: It sees the mask's surroundings with this longer side in pixels.
        threshold: A pixel is foreground where the network's share is above it (strictly).
        reach: Nothing becomes foreground further than this from the coarse mask; a share of the
            longer side of its bounding box.
        grabcut: Whether GrabCut goes before and after it: half of the time, and finer edges.
    """

    name: Literal["network"] = "network"
    weights: Path | None = None
    size: Annotated[int, Field(ge=64, le=2048)] = 288
    threshold: Share = 0.5
    reach: Share = 0.1
    grabcut: bool = True


Refine = Annotated[
    NoRefinement | GrabCut | GuidedFilter | RefineNetwork, Field(discriminator="name")
]


def _color(text: str) -> str:
    parse_color(text)
    return text


class Cutout(Section):
    """What lies behind the foreground: black, white, transparent or #rrggbb."""

    background: Annotated[str, AfterValidator(_color)] = "black"


class Cache(Section):
    """Detections kept between runs, in the runs folder; max_gb: their limit, 0 keeps none."""

    max_gb: Annotated[float, Field(ge=0)]


class RunSettings(Common):
    """Settings of `bgexp run`."""

    dataset: Dataset
    detector: DetectorSettings
    combine: Combine
    refine: Refine
    cutout: Cutout
    cache: Cache
    samples: Annotated[int, Field(ge=0)]
    max_failed: Share
    force: bool


# -- bgexp train -----------------------------------------------------------------------------


class Composites(Section):
    """Folders of RGBA cut-outs and of backgrounds, split by object into training and validation."""

    name: Literal["composites"]
    cutouts: Path
    backgrounds: Path
    validation_cutouts: Path
    validation_backgrounds: Path


class TrainLoop(Section):
    """How long and how fast.

    Attributes:
        steps: At most so many.
        batch_size: Pictures a step, on each device.
        image_size: The longer side of the pictures, in pixels.
        learning_rate: After the warm-up, before the cosine.
        weight_decay: AdamW's.
        ema_decay: Of the moving average of the weights, which is what is kept.
        validate_every: Steps between two validations; a checkpoint is written after each.
        validation_images: At most so many unseen pictures.
        validation_share: Of the images of `pairs` and `coco`, kept out of training.
        patience: Training ends after so many validations without a better one; null: never.
        workers: Processes that make the pictures.
    """

    steps: Positive
    batch_size: Positive
    image_size: Annotated[int, Field(ge=64)]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    validate_every: Positive
    validation_images: Positive
    validation_share: Annotated[float, Field(gt=0, lt=1)]
    patience: Positive | None
    workers: Annotated[int, Field(ge=0)]


class TrainSettings(Common):
    """Settings of `bgexp train`.

    Attributes:
        model: Which network learns: the detector, or the one of `refine=network`.
        start: From the weights that `detector.weights` or `refine.weights` name, from an ImageNet
            backbone, or from random ones.
        backbone: The file of ImageNet weights for start=backbone.
        classes: "object": all that is annotated is one class. "dataset": by COCO's categories.
        precision: What the arithmetic is in; auto: bf16-mixed on a GPU that has it, else 32-true.
        devices: How many GPUs.
    """

    dataset: Annotated[Pairs | Coco | Composites, Field(discriminator="name")]
    detector: DetectorSettings
    refine: RefineNetwork
    loop: TrainLoop
    model: Literal["detector", "refiner"]
    start: Literal["weights", "backbone", "random"]
    backbone: Path | None
    classes: Literal["object", "dataset"]
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"]
    devices: Positive
    resume: bool

    @model_validator(mode="after")
    def _backbone_is_named(self) -> Self:
        if self.start == "backbone" and self.backbone is None:
            raise PydanticCustomError("whole", "backbone: start=backbone needs a file here")
        return self


Settings = TypeVar("Settings", bound=Section)


# -- bgexp analyze, bgexp batch --------------------------------------------------------------


class Outliers(Section):
    """Which values lie far from the others; bounds are taken of the logarithms.

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
Count = Annotated[int, Field(ge=0)]


class Expected(Section):
    """What a report that someone was given says; null: nothing."""

    images: Count | None = None
    categories: Count | None = None
    corrupt: Count | None = None
    missing_values: Count | None = None
    size_outliers: Count | None = None
    dimension_outliers: Count | None = None
    exact_duplicates: Count | None = None
    near_duplicates: Count | None = None


class Analyze(Section):
    """How a dataset is looked at.

    Attributes:
        metadata: A CSV with a `path` column, whose other columns are fields.
        exif: Fields of EXIF that each image should have.
        outliers: Of file size and of dimensions.
        near_bits: Near duplicates differ in at most so many of the 64 bits of a hash.
        expected: Figures to compare with.
    """

    metadata: Path | None = None
    exif: tuple[ExifField, ...] = ()
    outliers: Outliers = Outliers()
    near_bits: Annotated[int, Field(ge=0, le=16)] = 4
    expected: Expected = Expected()


class AnalyzedFolder(Section):
    """All that lies in a folder, images or not."""

    root: Path
    max_megapixels: Annotated[float, Field(gt=0)] = 200


class AnalyzeSettings(Tracked):
    """Settings of `bgexp analyze`; processes null: one for each core."""

    dataset: AnalyzedFolder
    analyze: Analyze
    processes: Positive | None


class QualityRules(Section):
    """How a batch deals with images out of the ordinary.

    Attributes:
        handle: Whether the rules are on.
        outliers: Whose results go to outliers/ in place of regular/.
        exif, metadata: Fields that each image should have, as in `Analyze`.
        huge_megapixels: The mask of a larger image is found on a copy of this size.
        tiny_side: A smaller image is padded to this side in pixels, and so enlarged less.
        elongation: An image whose longer side is more times the shorter one is looked at twice.
    """

    handle: bool = True
    outliers: Outliers = Outliers()
    exif: tuple[ExifField, ...] = ()
    metadata: Path | None = None
    huge_megapixels: Annotated[float, Field(gt=0)] = 24.0
    tiny_side: Annotated[int, Field(ge=1)] = 96
    elongation: Annotated[float, Field(ge=1)] = 4.0


class Flags(Section):
    """From where on a result is flagged: shares of the picture or its border, parts, a score."""

    little_kept: Share = 0.01
    nearly_all_kept: Share = 0.95
    many_parts: Count = 20
    cut_by_frame: Share = 0.25
    unsure: Share = 0.8


class Keep(Section):
    """What results keep of their originals' files; `gps` counts only where `exif` is kept."""

    icc: bool = False
    exif: bool = False
    gps: bool = False


def _share(value: Any) -> Any:  # noqa: ANN401
    """A share, also as "2%"."""
    if isinstance(value, str) and value.endswith("%"):
        try:
            return float(value[:-1]) / 100
        except ValueError:
            return value
    return value


class BatchSettings(Common):
    """Settings of `bgexp batch`.

    Attributes:
        input: The folder of images.
        output: The folder of results; may lie in the input, or the input in it.
        format: Of the results. PNG and WebP are lossless.
        masks: Whether masks are written too.
        processes: Workers of one thread each; null: one for each core, on a GPU at most four.
        max_failed: Of what was to be processed; more make the batch fail.
        seconds: An image that takes longer is given up.
        dry_run: Shows the plan and writes nothing.
        overwrite: Whether results of other settings in the output may be replaced.
    """

    input: Path
    output: Path
    detector: DetectorSettings
    combine: Combine
    refine: Refine
    cutout: Cutout
    format: Literal["png", "webp", "jpeg"]
    masks: bool
    keep: Keep
    quality: QualityRules
    flags: Flags
    max_megapixels: Annotated[float, Field(gt=0)]
    processes: Positive | None
    max_failed: Annotated[Share, BeforeValidator(_share)]
    seconds: Annotated[float, Field(gt=0)]
    dry_run: bool
    overwrite: bool

    @model_validator(mode="after")
    def _jpeg_has_no_alpha(self) -> Self:
        if self.format == "jpeg" and self.cutout.background == "transparent":
            raise PydanticCustomError(
                "whole", "format: a jpeg has no transparency (use png or webp, or another colour)"
            )
        return self


def check_settings(kind: type[Settings], config: Any) -> Settings:  # noqa: ANN401
    """The typed settings of a composed config (nested dicts).

    Raises:
        UserError: one line for each wrong setting, with the key, what came and what is allowed.
    """
    try:
        return kind.model_validate(config)
    except ValidationError as error:
        wrong = error.errors()
        # Of a choice that is not for this command, its other settings are wrong for that reason.
        named = [w["loc"][:-1] for w in wrong if w["loc"][-1:] == ("name",)]
        lines = [
            _line(w) for w in wrong if w["loc"][-1:] == ("name",) or w["loc"][:-1] not in named
        ]
        raise UserError("\n".join(lines)) from error


def _line(wrong: Any) -> str:  # noqa: ANN401
    # The location of a group with alternatives holds the alternative's name: no key of the user's.
    parts = [str(part) for part in wrong["loc"]]
    alternatives = {
        "folder",
        "pairs",
        "sample",
        "coco",
        "demo",
        "maskrcnn_resnet50_fpn",
        "maskrcnn_resnet50_fpn_v2",
        "none",
        "grabcut",
        "guided",
        "network",
        "composites",
    }
    key = ".".join(p for n, p in enumerate(parts) if not (n == 1 and p in alternatives))
    if wrong["type"] == "whole":
        return str(wrong["msg"])
    if wrong["type"] == "score_floor":
        return f"{key}.{wrong['msg']}"
    if wrong["type"] == "union_tag_invalid":
        allowed = wrong["ctx"]["expected_tags"].replace("'", "")
        return f"{key}.name: no such choice here (got {wrong['ctx']['tag']}; allowed: {allowed})"
    if wrong["type"] == "extra_forbidden":
        return f"{key}: no such setting"
    if wrong["type"] == "missing":
        return f"{key}: a value is needed"
    return f"{key}: {wrong['msg']} (got {wrong['input']!r})"


def flattened(section: Section) -> dict[str, Any]:
    """All settings by their dotted names, as parameters of a tracked run."""

    def walk(prefix: str, value: Any) -> dict[str, Any]:  # noqa: ANN401
        if not isinstance(value, dict):
            return {prefix: value}
        found: dict[str, Any] = {}
        for key, inner in value.items():
            found |= walk(f"{prefix}.{key}" if prefix else key, inner)
        return found

    return walk("", section.model_dump(mode="json"))


# -- bgexp doctor, bgexp ui ------------------------------------------------------------------


class DoctorSettings(Section):
    """Settings of `bgexp doctor`: what it looks at is what a run with the same ones would use."""

    runs: Path
    tracking: Tracking
    device: Literal["auto", "cpu", "cuda"]
    detector: DetectorSettings


class UiSettings(Section):
    """Settings of `bgexp ui`."""

    runs: Path
    tracking: Tracking
    port: Annotated[int, Field(ge=1, le=65535)]
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
