"""What a COCO annotation file says: its images and the masks of the objects in them.

The format: https://cocodataset.org/#format-data. Masks are only held here; whether one makes sense
shows where it is used, so that a bad one costs its own image and no other.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, FiniteFloat, PositiveInt, ValidationError
from pydantic_core import to_json

from bgexp.errors import UserError
from bgexp.images.decode import ImageError, read_bytes
from bgexp.system.hashing import sha256_bytes


@dataclass(frozen=True, slots=True)
class Annotation:
    """One object of an image, or a crowd of them.

    Attributes:
        segmentation: Polygons or runs as JSON: as Python's numbers they would take ten times the
            memory, and of a large file most of them are never looked at.
        area: In pixels, by which COCO tells small objects from large ones; None: its mask's.
    """

    id: int
    image_id: int
    category_id: int
    segmentation: Annotated[bytes, BeforeValidator(to_json)] = b"null"
    iscrowd: bool = False
    area: FiniteFloat | None = None


@dataclass(frozen=True, slots=True)
class _Image:
    id: int
    file_name: str
    height: PositiveInt
    width: PositiveInt


@dataclass(frozen=True, slots=True)
class _Category:
    id: int
    name: str


class _File(BaseModel):
    images: list[_Image]
    annotations: list[Annotation]
    categories: list[_Category]


@dataclass(frozen=True)
class CocoImage:
    """What the file says of one image.

    Attributes:
        id: The file's number of the image.
        height: Of the upright image, in pixels.
        width: Of the upright image, in pixels.
        annotations: Those of the categories that count.
        categories: The names of all categories of the file by their ids.
    """

    id: int
    height: int
    width: int
    annotations: tuple[Annotation, ...]
    categories: Mapping[int, str]

    @property
    def sha256(self) -> str:
        """Over all that truth and scores depend on, whatever numbers the file gives to it."""
        rows = [
            [self.categories[one.category_id], one.iscrowd, one.area] for one in self.annotations
        ]
        masks = [one.segmentation for one in self.annotations]
        return sha256_bytes(b"\n".join([to_json([self.height, self.width, rows]), *masks]))


def read_coco(
    file: Path, root: Path, categories: Collection[str | int] | None
) -> dict[str, CocoImage]:
    """Return what a file says of each image, by the image's path relative to the folder `root`.

    Args:
        file: JSON; all of it is read.
        root: The real path of the folder of images; they need not be there.
        categories: Names or ids of those that count; None: all.

    Raises:
        UserError: it cannot be read, is no COCO file, contradicts itself or leads out of root.
    """
    try:
        content = _File.model_validate_json(read_bytes(file))
        names = {category.id: category.name for category in content.categories}
        paths = _checked(content, names, root)
    except (ImageError, ValueError) as error:  # pydantic's is a ValueError
        raise UserError(f"dataset.annotations: {_reason(error)}: {file}") from error
    counted = _counted(names, categories)
    by_image = defaultdict(list)
    for one in content.annotations:
        if one.category_id in counted:
            by_image[one.image_id].append(one)
    return {
        path: CocoImage(image.id, image.height, image.width, tuple(by_image[image.id]), names)
        for path, image in zip(paths, content.images, strict=True)
    }


def _checked(content: _File, names: Mapping[int, str], root: Path) -> list[str]:
    """Return the images' paths below the root; ValueError where the file contradicts itself."""
    images, annotations = content.images, content.annotations
    if not images:
        raise ValueError("no images")
    folders: dict[str, str] = {}
    outside = [image.file_name for image in images if _leaves(root, image.file_name, folders)]
    _refuse("a file_name that leads out of dataset.images", outside)
    paths = [PurePosixPath(image.file_name).as_posix() for image in images]
    ids = [image.id for image in images]
    _refuse("two images of one file_name", _repeated(paths))
    _refuse("two images of one id", _repeated(ids))
    _refuse("two categories of one id", _repeated(one.id for one in content.categories))
    _refuse("two annotations of one id", _repeated(one.id for one in annotations))
    known = set(ids)
    strangers = [one.image_id for one in annotations if one.image_id not in known]
    _refuse("an annotation's image_id that no image has", strangers)
    strangers = [one.category_id for one in annotations if one.category_id not in names]
    _refuse("an annotation's category_id that no category has", strangers)
    return paths


def _leaves(root: Path, name: str, folders: dict[str, str]) -> bool:
    """Whether a file's name leads out of the root, on Windows too; `folders`: real paths so far."""
    path = PurePosixPath(name).as_posix()
    if name[:1] == "/" or name[1:2] == ":" or path == "." or ".." in path.split("/"):
        return True
    if "\\" in name or "\0" in name:
        return True
    folder, _, base = f"{root}/{path}".rpartition("/")
    if folder not in folders:  # of 100,000 files, each by pathlib's means would take seconds
        folders[folder] = os.path.realpath(folder)
    target = f"{folders[folder]}/{base}"
    if os.path.islink(target):  # noqa: PTH114
        target = os.path.realpath(target)
    return not target.startswith(f"{str(root).rstrip('/')}/")


def _repeated(values: Iterable[object]) -> list[object]:
    return [value for value, times in Counter(values).items() if times > 1]


def _refuse(what: str, found: Sequence[object]) -> None:
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ValueError(f"{what}: {found[0]!r}{more}")


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first, count = error.errors(include_url=False)[0], error.error_count()
    if first["type"] == "json_invalid":
        return first["msg"]
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"not a COCO file: {'.'.join(map(str, first['loc']))}: {first['msg']}{more}"


def _counted(names: Mapping[int, str], chosen: Collection[str | int] | None) -> set[int]:
    """Return the ids of the categories that count."""
    if chosen is None:
        return set(names)
    known = {*names, *names.values()}
    if not chosen or not set(chosen) <= known:
        got = ", ".join(str(one) for one in chosen if one not in known) or "none"
        allowed = ", ".join(f"{name} ({number})" for number, name in names.items())
        raise UserError(f"dataset.categories: unknown (got {got}; allowed: {allowed})")
    return {number for number, name in names.items() if number in chosen or name in chosen}
