"""Training data and validation data: scenes that share no object."""

from dataclasses import dataclass
from itertools import chain

from bgexp.config.train import Composites, Mixture, TrainSettings
from bgexp.datasets.read import Dataset, Item, read_dataset
from bgexp.errors import UserError
from bgexp.images.decode import ImageError
from bgexp.system.hashing import hash_bytes
from bgexp.train.augment import Photographs
from bgexp.train.composites import CompositeSources
from bgexp.train.mixed import load_validation, mix_scenes, read_real_sets
from bgexp.train.scene import Scene, Scenes


@dataclass(frozen=True)
class TrainingData:
    """Endless scenes to train on, fixed ones to validate on, and the datasets behind both.

    Attributes:
        scenes: To train on.
        validation: To validate on.
        datasets: All that were read.
        truths: Those of the datasets whose masks are a user's own, with their validation scenes.
    """

    scenes: Scenes
    validation: list[Scene]
    datasets: tuple[Dataset, ...] = ()
    truths: tuple[tuple[Dataset, list[Scene]], ...] = ()


def read_images(settings: TrainSettings) -> Dataset | None:
    """Read the images and masks that the settings name; None with composites."""
    if isinstance(settings.dataset, Composites | Mixture):
        return None
    return read_dataset(settings.dataset, settings.seed)


def read_data(
    settings: TrainSettings, dataset: Dataset | None, classes: tuple[str, ...]
) -> TrainingData:
    """Read the training scenes and the validation scenes.

    Raises:
        UserError: There are too few images, or none that can be read.
    """
    loop, source = settings.loop, settings.dataset
    if isinstance(source, Mixture):
        return _read_mixed(settings, source)
    if dataset is None or isinstance(source, Composites):
        assert isinstance(source, Composites)
        unseen = CompositeSources.from_folders(
            source.validation_cutouts, source.validation_backgrounds
        )
        validation = unseen.draw_many(loop.validation_images, loop.image_size, settings.seed)
        return TrainingData(
            CompositeSources.from_folders(source.cutouts, source.backgrounds), validation
        )
    ids = {name: number for number, name in enumerate(classes) if number}
    training_items, held_out = _split(dataset, loop.validation_share, settings.seed)
    photographs = Photographs(
        training_items, source.max_megapixels, ids if settings.classes == "dataset" else {}
    )
    validation = []
    for item in held_out[: loop.validation_images]:
        try:
            validation.append(photographs.load_whole(item, loop.image_size))
        except ImageError as error:
            raise UserError(f"dataset: {item.path}: {error}") from error
    if not any(scene.foreground.any() for scene in validation):
        masks = dataset.mask_rule.describe()
        read_as = f" (masks are read so: {masks})" if dataset.name == "pairs" else ""
        raise UserError(
            f"dataset: none of the images kept for validation has any foreground{read_as}"
        )
    return TrainingData(photographs, validation, (dataset,), ((dataset, validation),))


def _read_mixed(settings: TrainSettings, source: Mixture) -> TrainingData:
    training, unseen = (
        read_real_sets(source, split, settings.seed) for split in ("train", "validation")
    )
    validation, *real = load_validation(source, unseen, settings.loop, settings.seed)
    return TrainingData(
        mix_scenes(source, training),
        [*validation, *chain.from_iterable(real)],
        tuple(dataset for split in (*training, *unseen) for dataset in split.datasets),
        tuple((split.datasets[0], scenes) for split, scenes in zip(unseen, real, strict=True)),
    )


def _split(dataset: Dataset, share: float, seed: int) -> tuple[list[Item], list[Item]]:
    """Split the items with truth for training and validation; equal images stay together."""
    items = [item for item in dataset.items if item.mask_sha256 is not None]
    items.sort(key=lambda item: hash_bytes(f"{seed} {item.sha256}".encode()))
    unseen = {item.sha256 for item in items[: max(1, round(share * len(items)))]}
    held_out = [item for item in items if item.sha256 in unseen]
    if len(held_out) == len(items):
        raise UserError(f"dataset: {len(items)} images with masks are too few to train on")
    return items[len(held_out) :], held_out
