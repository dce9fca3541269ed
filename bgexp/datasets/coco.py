"""COCO annotation files: their images and the masks of the objects in them.

The format: https://cocodataset.org/#format-data. Masks are only stored here and checked where they
are used, so that a bad one costs its own image and no other.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from json import detect_encoding
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    FiniteFloat,
    PositiveInt,
    ValidationError,
)
from pydantic_core import to_json

from bgexp.errors import UserError
from bgexp.images.decode import ImageError, read_bytes
from bgexp.system.hashing import hash_bytes


@dataclass(frozen=True, slots=True)
class Annotation:
    """One object of an image, or a crowd of objects.

    Attributes:
        id, category_id: None where the file has null: the image has no truth then.
        image_id: None where the file has null: it is passed over.
        segmentation: Polygons or runs as JSON: as Python's numbers they would take ten times the
            memory, and of a large file most of them are never used.
        area: In pixels, by which COCO tells small objects from large ones; None: the mask's.
    """

    id: int | None
    image_id: int | None
    category_id: int | None
    segmentation: Annotated[bytes, BeforeValidator(to_json)] = b"null"
    iscrowd: Annotated[bool, BeforeValidator(bool)] = False  # null is none
    area: FiniteFloat | None = None


def _convert_separators(name: str) -> str:
    """Return a path as everywhere but on Windows."""
    return name.replace("\\", "/")


@dataclass(frozen=True, slots=True)
class _Image:
    id: int | None
    file_name: Annotated[str, AfterValidator(_convert_separators)] | None
    height: PositiveInt | None
    width: PositiveInt | None


@dataclass(frozen=True, slots=True)
class _Category:
    id: int
    name: str


class _File(BaseModel):
    images: list[_Image | None]
    annotations: list[Annotation | None]
    categories: list[_Category]


@dataclass(frozen=True)
class CocoImage:
    """One image of an annotation file.

    Attributes:
        id: The file's number of the image.
        height: Of the upright image, in pixels.
        width: Of the upright image, in pixels.
        annotations: Those of the selected categories.
        categories: The names of all categories of the file by their ids.
    """

    id: int
    height: int | None
    width: int | None
    annotations: tuple[Annotation, ...]
    categories: Mapping[int | None, str]

    @property
    def problem(self) -> str:
        """Return what the file has null for, so that there is no truth; "" where all is there."""
        if self.height is None or self.width is None:
            return "its annotations name no height or width"
        numbers = [(annotation.id, annotation.category_id) for annotation in self.annotations]
        incomplete = next((pair for pair in numbers if None in pair), None)
        if incomplete is None:
            return ""
        number, _ = incomplete
        return (
            f"its annotation {number} has no category_id" if number else "an annotation has no id"
        )

    @property
    def sha256(self) -> str:
        """Return the SHA-256 over all that truth and scores depend on, without the file's ids."""
        rows = [
            [self.categories.get(annotation.category_id), annotation.iscrowd, annotation.area]
            for annotation in self.annotations
        ]
        masks = [annotation.segmentation for annotation in self.annotations]
        return hash_bytes(b"\n".join([to_json([self.height, self.width, rows]), *masks]))


def read_coco(
    file: Path, root: Path, categories: Collection[str | int] | None
) -> tuple[dict[str, CocoImage], Counter[str]]:
    """Return each image of a file, by the image's path relative to the folder `root`.

    Entries that are null, or null where they name their image, are passed over: the second result
    counts them.

    Args:
        file: JSON; all of it is read.
        root: The real path of the folder of images; they need not be there.
        categories: Names or ids of the categories to use; None: all.

    Raises:
        UserError: It cannot be read, is no COCO file, contradicts itself or leads out of root.
    """
    try:
        content = _File.model_validate_json(_convert_to_utf8(read_bytes(file)))
        names: dict[int | None, str] = {kind.id: kind.name for kind in content.categories}
        images = _check_content(content, names, root)
    except (ImageError, ValueError) as error:  # pydantic's is a ValueError
        raise UserError(f"dataset.annotations: {_describe_error(error)}: {file}") from error
    selected = _select_categories(names, categories)
    by_image = defaultdict(list)
    for annotation in filter(None, content.annotations):
        if annotation.category_id is None or annotation.category_id in selected:
            by_image[annotation.image_id].append(annotation)
    nameless = sum(not a or a.image_id is None for a in content.annotations)
    passed_over = Counter(
        {
            "an annotation of null, or without an image_id": nameless,
            "an image of null, or without id or file_name": len(content.images) - len(images),
        }
    )
    return {
        path: CocoImage(number, image.height, image.width, tuple(by_image[number]), names)
        for path, (number, image) in images.items()
    }, +passed_over


def _convert_to_utf8(data: bytes) -> bytes:
    """Return JSON as UTF-8 without a mark of byte order, which some editors write."""
    encoding = detect_encoding(data)
    return data if encoding == "utf-8" else data.decode(encoding).encode()


def _check_content(
    content: _File, names: Mapping[int | None, str], root: Path
) -> dict[str, tuple[int, _Image]]:
    """Return each image with its id, by its path; ValueError where the file contradicts itself."""
    entries, annotations = (
        list(filter(None, content.images)),
        list(filter(None, content.annotations)),
    )
    images = [
        (image.file_name, image.id, image)
        for image in entries
        if image.file_name is not None and image.id is not None
    ]
    if not images:
        raise ValueError("no images")
    folders: dict[str, str] = {}
    outside = [name for name, _, _ in images if _is_outside(root, name, folders)]
    _raise_if_any("a file_name that leads out of dataset.images", outside)
    paths = [PurePosixPath(name).as_posix() for name, _, _ in images]
    ids = [image.id for image in entries if image.id is not None]
    _raise_if_any("two images of one file_name", _find_repeated(paths))
    _raise_if_any("two images of one id", _find_repeated(ids))
    _raise_if_any("two categories of one id", _find_repeated(c.id for c in content.categories))
    _raise_if_any(
        "two annotations of one id", _find_repeated(a.id for a in annotations if a.id is not None)
    )
    known_ids = set(ids)
    image_ids = [a.image_id for a in annotations if a.image_id is not None]
    unknown = [number for number in image_ids if number not in known_ids]
    _raise_if_any("an annotation's image_id that no image has", unknown)
    category_ids = [a.category_id for a in annotations if a.category_id is not None]
    unknown = [number for number in category_ids if number not in names]
    _raise_if_any("an annotation's category_id that no category has", unknown)
    return {path: (number, image) for path, (_, number, image) in zip(paths, images, strict=True)}


def _is_outside(root: Path, name: str, folders: dict[str, str]) -> bool:
    """Return whether a name leads out of the root, on Windows too; `folders` caches real paths."""
    path = PurePosixPath(name).as_posix()
    if name[:1] == "/" or name[1:2] == ":" or path == "." or ".." in path.split("/"):
        return True
    if "\0" in name:
        return True
    folder, _, base = f"{root}/{path}".rpartition("/")
    if folder not in folders:  # of 100,000 files, each by pathlib's means would take seconds
        folders[folder] = os.path.realpath(folder)
    target = f"{folders[folder]}/{base}"
    if os.path.islink(target):  # noqa: PTH114
        target = os.path.realpath(target)
    return not target.startswith(f"{str(root).rstrip('/')}/")


def _find_repeated(values: Iterable[object]) -> list[object]:
    return [value for value, count in Counter(values).items() if count > 1]


def _raise_if_any(problem: str, values: Sequence[object]) -> None:
    if values:
        suffix = f" (and {len(values) - 1} more)" if len(values) > 1 else ""
        raise ValueError(f"{problem}: {values[0]!r}{suffix}")


def _describe_error(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first, count = error.errors(include_url=False)[0], error.error_count()
    if first["type"] == "json_invalid":
        return first["msg"]
    rest = f" (and {count - 1} more)" if count > 1 else ""
    return f"not a COCO file: {'.'.join(map(str, first['loc']))}: {first['msg']}{rest}"


def _select_categories(
    names: Mapping[int | None, str], chosen: Collection[str | int] | None
) -> set[int | None]:
    """Return the ids of the chosen categories."""
    if chosen is None:
        return set(names)
    allowed_values = {*names, *names.values()}
    if not chosen or not set(chosen) <= allowed_values:
        unknown = ", ".join(str(value) for value in chosen if value not in allowed_values) or "none"
        allowed = ", ".join(f"{name} ({number})" for number, name in names.items())
        raise UserError(f"dataset.categories: unknown (got {unknown}; allowed: {allowed})")
    return {number for number, name in names.items() if number in chosen or name in chosen}
