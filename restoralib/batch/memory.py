"""Many images that are in memory, or come one after the other."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from typing_extensions import Unpack

from restoralib.batch.restorer import Restorer, Result
from restoralib.images import MAX_PIXELS, Picture, from_picture, read_image, to_picture
from restoralib.restoration.door import ImageOptions, Model
from restoralib.restoration.errors import Cancelled

logger = logging.getLogger(__name__)

Errors = Literal["raise", "keep"]


def restore_many(
    images: Iterable[Any],
    model: Model | Restorer = "auto",
    *,
    batch: int | None = None,
    seed: int | None = None,
    errors: Errors = "raise",
    progress: Callable[[int, int, str], Any] | None = None,
    **options: Unpack[ImageOptions],
) -> list[Any]:
    """Restore images of any sizes and kinds; what comes back is as `restore` gives it, in the order of the images.

    The model is loaded once, and small images of one size share calls.

    Args:
        images: as `restore` takes them.
        model: as in `restore`, or a `Restorer` with all its options.
        batch, seed: as in `Restorer`; an image's own seed comes from this and its number.
        errors: "raise" the first error, with the image's number, or "keep" each in its image's place.
        progress: called with (done, total, stage) in images; its False, or an exception, ends the work.
        options: further arguments of `restore`.

    Raises:
        Cancelled: `progress` returned False.
        Exception: what `restore` raises, with a note of the image's number, where errors are not kept.
    """
    listed = list(images)
    began = time.perf_counter()
    if progress and progress(0, len(listed), "restore") is False:
        raise Cancelled("cancelled before the first image")
    done: list[Any] = []
    for image in restore_iter(listed, model, batch=batch, seed=seed, errors=errors, **options):
        done.append(image)
        if progress and progress(len(done), len(listed), "restore") is False and len(done) < len(listed):
            raise Cancelled(f"cancelled after {len(done)} of {len(listed)} images")
    seconds = time.perf_counter() - began
    logger.info("restored %d images in %.1f s, %.1f a second", len(done), seconds, len(done) / max(seconds, 1e-9))
    return done


def restore_iter(
    images: Iterable[Any],
    model: Model | Restorer = "auto",
    *,
    batch: int | None = None,
    seed: int | None = None,
    errors: Errors = "raise",
    window: int = 32,
    **options: Unpack[ImageOptions],
) -> Iterator[Any]:
    """Restore images as they come, such as the frames of a film; at most `window` are held.

    Args:
        images: as `restore` takes them; they are asked for one by one.
        model, batch, seed, errors, options: as in `restore_many`.
        window: the most images that wait, for others of their size or for their turn. With `batch=1` none waits.

    Yields:
        The restored images, in order.

    Raises:
        ValueError: `errors` or `window` is none of these, or an argument is as `restore` says.
    """
    if errors not in ("raise", "keep"):
        raise ValueError(f"errors should be 'raise' or 'keep', got {errors!r}")
    if not isinstance(window, int) or window < 1:
        raise ValueError(f"window should be at least 1 and whole, got {window!r}")
    if isinstance(model, Restorer):
        if options or batch is not None or seed is not None:
            raise ValueError("a Restorer has its options; give them to it, not beside it")
        restorer = model
    else:
        restorer = Restorer(model, batch=batch, seed=seed, **options)
    restorer.load()
    return _in_order(images, restorer, errors, window)


def _in_order(images: Iterable[Any], restorer: Restorer, errors: Errors, window: int) -> Iterator[Any]:
    results: dict[int, Result] = {}  # those that are before their turn
    kinds: dict[int, Any] = {}
    most = restorer.options.get("max_pixels", MAX_PIXELS)

    def pictures() -> Iterator[tuple[Any, Picture, Any]]:
        for number, image in enumerate(images):
            kinds[number] = image
            try:
                path = isinstance(image, str | os.PathLike)
                picture = read_image(image, max_pixels=most) if path else to_picture(image)
            except Exception as error:
                results[number] = Result(number, None, error)
                continue
            yield number, picture, number

    turn = 0
    for result in restorer.stream(pictures(), window=window):
        results[result.key] = result
        while turn in results:
            yield _finished(results.pop(turn), kinds.pop(turn), errors)
            turn += 1
    while turn in results:
        yield _finished(results.pop(turn), kinds.pop(turn), errors)
        turn += 1


def _finished(result: Result, image: Any, errors: Errors) -> Any:
    if result.picture is not None:
        return from_picture(result.picture, image)
    assert result.error is not None
    if errors == "raise":
        if hasattr(result.error, "add_note"):  # from Python 3.11
            result.error.add_note(f"this was image {result.key}, counted from 0")
        raise result.error
    return result.error
