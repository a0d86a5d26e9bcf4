"""Image files as bytes, for engines that move those: Spark, a queue, a web service."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from typing_extensions import Unpack

from restoralib.batch.restorer import Restorer
from restoralib.images import MAX_PIXELS, Picture, decode_image, encode_image
from restoralib.restoration.door import ImageOptions, Model


class RestoreBytes:
    """From the bytes of an image file to those of the restored one; it can be pickled, and loads its model at the first call.

    Args:
        model: as in `restore`, or a `Restorer`.
        kind: "PNG", "JPEG", "WEBP", "TIFF" or "BMP"; None for the format of the image.
        keep_metadata: copy EXIF, XMP, colour profile and resolution.
        quality: of JPEG and WebP.
        options: further arguments of `Restorer`; an image's own seed comes from `seed` and its bytes.
    """

    def __init__(
        self,
        model: Model | Restorer = "auto",
        *,
        kind: str | None = None,
        keep_metadata: bool = True,
        quality: int = 95,
        batch: int | None = None,
        seed: int | None = None,
        **options: Unpack[ImageOptions],
    ) -> None:
        self.restorer = model if isinstance(model, Restorer) else Restorer(model, batch=batch, seed=seed, **options)
        self.kind, self.keep_metadata, self.quality = kind, keep_metadata, quality

    def __call__(self, data: bytes) -> bytes:
        """Restore one image.

        Raises:
            ImageError: the bytes are no image that can be read.
            Exception: whatever `restore` raises.
        """
        (restored,) = self.many([data])
        if isinstance(restored, Exception):
            raise restored
        return restored

    def many(self, images: Iterable[bytes]) -> list[bytes | Exception]:
        """Restore several, with small ones of one size in one call; an error stands in the place of what failed."""
        results: dict[int, bytes | Exception] = {}
        most = self.restorer.options.get("max_pixels", MAX_PIXELS)

        def pictures() -> Iterator[tuple[int, Picture, str]]:
            for number, data in enumerate(images):
                try:
                    picture = decode_image(bytes(data), max_pixels=most)
                except Exception as error:
                    results[number] = error
                    continue
                yield number, picture, content_name(data)

        for result in self.restorer.stream(pictures()):
            if result.picture is None:
                assert result.error is not None
                results[result.key] = result.error
                continue
            try:
                options: dict[str, Any] = {"keep_metadata": self.keep_metadata, "quality": self.quality}
                results[result.key] = encode_image(result.picture, self.kind, **options)
            except Exception as error:
                results[result.key] = error
        return [results[number] for number in range(len(results))]


def map_in_pandas(
    model: Model | RestoreBytes = "auto",
    *,
    column: str = "content",
    output: str = "restored",
    error: str = "error",
    rows: int = 64,
    **options: Any,
) -> Callable[[Iterable[Any]], Iterator[Any]]:
    """A function for Spark's `DataFrame.mapInPandas`, over a column with the bytes of image files.

    An image that fails has None in `output` and the reason in `error`; the schema has both beside the columns that there are:
    `output binary, error string`.

    Args:
        model: as in `restore`, or a `RestoreBytes`.
        column: the bytes, "content" in Spark's binaryFile source.
        output: for the restored bytes.
        error: for the reasons.
        rows: that are restored together.
        options: of `RestoreBytes`.
    """
    restore = model if isinstance(model, RestoreBytes) else RestoreBytes(model, **options)

    def mapped(frames: Iterable[Any]) -> Iterator[Any]:
        for frame in frames:
            for start in range(0, len(frame), rows):
                part = frame.iloc[start : start + rows]
                results = restore.many(part[column])
                restored = [None if isinstance(result, Exception) else result for result in results]
                reasons = [reason(result) if isinstance(result, Exception) else None for result in results]
                yield part.assign(**{output: restored, error: reasons})

    return mapped


def content_name(data: Any) -> str:
    """A name for an image that has none, from its bytes."""
    return hashlib.sha256(data).hexdigest()


def reason(error: BaseException) -> str:
    """What an error says, or its kind, where it says nothing."""
    return str(error) or type(error).__name__
