"""Columns of numpy arrays, for engines that map a function over tables: Ray Data, and Spark's predict_batch_udf."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import Unpack

from restoralib.batch.encoded import RestoreBytes, content_name, reason
from restoralib.batch.restorer import Restorer
from restoralib.images import Picture, from_picture, to_picture
from restoralib.restoration.door import ImageOptions, Model

if TYPE_CHECKING:
    from ray.data import Dataset

Array = np.ndarray[Any, Any]


class RestoreRows:
    """From a table with images to the table with the restored ones beside; it can be pickled, and loads its model once.

    An image is an array (h, w) or (h, w, c), of any size, or the bytes of a file; its result is of the same kind. One that
    fails has an empty array, or no bytes, and the reason in the column of errors, which is the empty text elsewhere.

    Args:
        model: as in `restore`, or a `Restorer`.
        column: of the images.
        output: for the restored images.
        error: for the reasons.
        key: a column that names the images, for their seeds; None to go by what they show.
        batch, seed, options: of `Restorer`.
    """

    def __init__(
        self,
        model: Model | Restorer = "auto",
        *,
        column: str = "image",
        output: str = "restored",
        error: str = "error",
        key: str | None = None,
        batch: int | None = None,
        seed: int | None = None,
        **options: Unpack[ImageOptions],
    ) -> None:
        self.restorer = model if isinstance(model, Restorer) else Restorer(model, batch=batch, seed=seed, **options)
        self.column, self.output, self.error, self.key = column, output, error, key

    def __call__(self, rows: Mapping[str, Array]) -> dict[str, Array]:
        """Restore the images of some rows.

        Raises:
            KeyError: the table has no such column.
        """
        if self.column not in rows:
            raise KeyError(f"no column {self.column!r} of images; the table has {', '.join(map(repr, rows))}")
        images = list(rows[self.column])
        if images and all(isinstance(image, bytes) for image in images):
            results: list[Any] = RestoreBytes(self.restorer).many(images)
        else:
            results = self._arrays(images, rows)
        failed = [isinstance(result, Exception) for result in results]
        restored = [_nothing(image) if bad else result for image, result, bad in zip(images, results, failed, strict=True)]
        reasons = [reason(result) if bad else "" for result, bad in zip(results, failed, strict=True)]
        return {**rows, self.output: _column(restored), self.error: np.array(reasons, dtype=object)}

    def _arrays(self, images: list[Any], rows: Mapping[str, Array]) -> list[Any]:
        results: dict[int, Any] = {}

        def pictures() -> Iterator[tuple[int, Picture, Any]]:
            for number, image in enumerate(images):
                try:
                    picture = to_picture(np.asarray(image))
                    name = rows[self.key][number] if self.key else content_name(np.ascontiguousarray(image).tobytes())
                except Exception as error:
                    results[number] = error
                    continue
                yield number, picture, name

        for result in self.restorer.stream(pictures()):
            if result.picture is None:
                results[result.key] = result.error
            else:
                results[result.key] = from_picture(result.picture, np.asarray(images[result.key]))
        return [results[number] for number in range(len(images))]


def restore_dataset(
    ds: Dataset,
    model: Model = "auto",
    *,
    column: str = "image",
    output: str = "restored",
    error: str = "error",
    key: str | None = None,
    actors: int | tuple[int, int] = 1,
    num_gpus: float | None = None,
    num_cpus: float | None = None,
    batch_size: int = 32,
    batch: int | None = None,
    seed: int | None = None,
    **options: Unpack[ImageOptions],
) -> Dataset:
    """Restore the images of a Ray dataset by actors, each with the model loaded once; an actor that is killed is replaced.

    On a machine with several GPUs, `actors=4, num_gpus=1` has an actor on each.

    Args:
        ds: with a column of arrays (h, w, c) or of the bytes of files.
        model: as in `restore`.
        column, output, error, key: as in `RestoreRows`.
        actors: how many, or the least and the most.
        num_gpus, num_cpus: of an actor.
        batch_size: rows that an actor gets at once, and loses when it is killed: they are done again.
        batch, seed, options: of `Restorer`.

    Returns:
        The dataset with two columns more; it is computed when it is read or written.

    Raises:
        ImportError: the extra `ray` is not installed.
    """
    try:
        from ray.data import ActorPoolStrategy
    except ImportError as failure:
        raise ImportError('restore_dataset needs Ray; pip install "restoralib[ray]"') from failure

    if isinstance(actors, int):
        pool = ActorPoolStrategy(size=actors)
    else:
        pool = ActorPoolStrategy(min_size=actors[0], max_size=actors[1])
    given: dict[str, Any] = {"column": column, "output": output, "error": error, "key": key, "batch": batch, "seed": seed}
    return ds.map_batches(
        RestoreRows,
        fn_constructor_args=(model,),
        fn_constructor_kwargs={**given, **options},
        batch_size=batch_size,
        batch_format="numpy",
        compute=pool,
        num_gpus=num_gpus,
        num_cpus=num_cpus,
    )


def make_predict_fn(
    model: Model = "auto", *, batch: int | None = None, seed: int | None = None, **options: Unpack[ImageOptions]
) -> Callable[[], Callable[[Array], Array]]:
    """A `make_predict_fn` for Spark's `predict_batch_udf`, for images that all have one size.

    Args:
        model: as in `restore`.
        batch, seed, options: of `Restorer`.

    Returns:
        A function that loads the model and gives another: from images (n, h, w, c) or (n, h, w), uint8 or floating point in
        [0, 1], to the restored ones (n, s h, s w, c), of the same type. It raises where an image cannot be restored.
    """
    rows = RestoreRows(model, batch=batch, seed=seed, **options)

    def make() -> Callable[[Array], Array]:
        rows.restorer.load()

        def predict(images: Array) -> Array:
            results = rows._arrays(list(images), {})
            for result in results:
                if isinstance(result, Exception):
                    raise result
            return np.stack(results)

        return predict

    return make


def _nothing(image: Any) -> Any:
    """What stands for the result of an image that failed."""
    if isinstance(image, bytes):
        return b""
    array = np.asarray(image)
    dtype = array.dtype if array.dtype != object else np.dtype(np.uint8)
    return np.zeros((0,) * min(array.ndim, 2) + array.shape[2:], dtype)


def _column(values: list[Any]) -> Array:
    """Values as a column: stacked where all are alike, else as objects."""
    if values and not isinstance(values[0], bytes) and len({(value.shape, value.dtype) for value in values}) == 1:
        return np.stack(values)
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
