"""restore() without a model: from the image, or from words, to the tasks that fit, one after the other.

What an image suffers from is told by the bundled `DegradationClassifier`, from the image itself or, where it is large, from
nine pieces of it. What is surely there and has weights is undone; what has none is named in a warning, and an image in which
nothing is found comes back as it was.
"""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from restoralib.archs.degradation_classifier import DegradationClassifier
from restoralib.archs.spec import NetSpec
from restoralib.blocks.degradation_prompt import DEGRADATIONS
from restoralib.restoration.network import choose_device, placed
from restoralib.restoration.prompts import understand
from restoralib.zoo import TASKS, list_models, load_bundled

logger = logging.getLogger(__name__)

_WHOLE = 512 * 512  # pixels of an image that is looked at as a whole
_PIECE, _PIECES = 256, 3  # side of the pieces of a larger one, and how many along an axis

_LEAST = 16  # pixels a side, below which an image tells our classifier nothing of its degradations
# To leave a faint degradation costs less than to spoil a clean photograph.
_SURE = 0.95
# Of our classifier's right answers on held-out photographs, half are surer than this (its recipe says so).
_OURS = {
    "denoise": 0.9996,
    "denoise_real": 0.9972,
    "jpeg": 0.9981,
    "defocus": 0.9631,
    "derain": 0.9971,
    "demoire": 0.9977,
}

UNDO_ORDER = (
    "jpeg",
    "denoise",
    "denoise_real",
    "demoire",
    "low_light",
    "defocus",
    "deblur",
    "deflare",
    "dereflect",
    "derain",
    "dehaze",
    "sr2",
    "sr3",
    "sr4",
    "sr8",
)
"""Tasks in the order in which they are done: what befell the photograph last is undone first, and it is enlarged at the end."""


@dataclass(frozen=True)
class Auto:
    """The model "auto": it chooses among tasks.

    Args:
        models: task -> model, as `restore` takes one, for tasks without bundled weights, or in place of these.
        classifier: tells degradations by nine logits in the order of `DEGRADATIONS`; None for the bundled one.

    Raises:
        ValueError: a model is for no known task.
    """

    models: Mapping[str, Any] = field(default_factory=dict)
    classifier: Callable[[Tensor], Tensor] | None = None

    spec = NetSpec(halo=None, global_ops=("auto",))

    def __post_init__(self) -> None:
        unknown = [task for task in self.models if task not in UNDO_ORDER]
        if unknown:
            raise ValueError(
                f"models has {', '.join(map(repr, unknown))}, which are no tasks; tasks are {', '.join(UNDO_ORDER)}"
            )

    def __call__(self, image: Tensor) -> Tensor:
        raise TypeError("Auto chooses models and is none; pass it to restore()")

    def choose(self, image: Tensor, prompt: str | None, device: str | torch.device) -> list[tuple[str, Any]]:
        """The tasks to do for an image and their models, in order.

        Args:
            image: (b, c, h, w); what any of a batch suffers from counts for all.
            prompt: a wish in words, None to go by the image alone.
            device: where the classifier runs.

        Raises:
            ValueError: the words are not understood, nothing that they ask for has weights, or the image is not grey or RGB.
        """
        if prompt is None:
            return self._with_models(self._seen(image, device), "auto sees")
        wish = understand(prompt)
        logger.info("understood %r as %s", prompt, wish)
        if wish.unclear:
            parts = ", ".join(map(repr, wish.unclear))
            warnings.warn(f"did not understand {parts} in {prompt!r}; only {wish} is done", stacklevel=4)
        asked = [task for task in wish.tasks if task != "auto"]
        seen = self._seen(image, device) if "auto" in wish.tasks else {}
        free = {task: said for task, said in seen.items() if task not in wish.kept}
        todo = free | {task: repr(wish.words[task]) for task in asked}
        chosen = self._with_models(todo, "the prompt asks for" if asked else "auto sees")
        if asked and not chosen:
            raise ValueError(_without_weights(asked))
        return chosen

    def _seen(self, image: Tensor, device: str | torch.device) -> dict[str, str]:
        """Degradations that an image surely shows, with their probabilities in words."""
        chances = estimate(image, self.classifier, device=device)
        logger.info("auto: %s", ", ".join(f"{task} {chance:.2f}" for task, chance in chances.items()))
        ours = self.classifier is None or isinstance(self.classifier, DegradationClassifier)
        levels = _OURS if ours else {}
        return {task: f"{chance:.0%}" for task, chance in chances.items() if chance > levels.get(task, _SURE)}

    def _with_models(self, found: Mapping[str, str], says: str) -> list[tuple[str, Any]]:
        """What of the tasks can be done, in order; the rest is named in a warning."""
        tasks = sorted(found, key=UNDO_ORDER.index)
        missing = [task for task in tasks if task not in self.models and TASKS.get(task) is None]
        doable = [task for task in tasks if task not in missing]
        if missing and (doable or says.startswith("auto")):
            named = ", ".join(f"{task} ({found[task]})" for task in missing)
            warnings.warn(f"{says} {named}, which is left: {_without_weights(missing)}", stacklevel=5)
        if doable:
            logger.info("%s %s", says, ", ".join(f"{task} ({found[task]})" for task in doable))
        return [(task, self.models.get(task, task)) for task in doable]


def _without_weights(tasks: Sequence[str]) -> str:
    """What to do about tasks without bundled weights."""
    task = tasks[0]
    names = list_models(task=task) if task in TASKS else []
    published = ", ".join(names[:4]) + (" …" if len(names) > 4 else "") if names else "a network for it"
    return (
        f"no weights for {', '.join(map(repr, tasks))} are bundled; get a checkpoint (for {task!r} of {published}) from its "
        f"authors, whom restoralib.zoo.model_info names, and pass models={{{task!r}: PATH}}, on the command line "
        f"--models {task}=PATH"
    )


@torch.inference_mode()
def estimate(
    image: Tensor,
    classifier: Callable[[Tensor], Tensor] | None = None,
    *,
    device: str | torch.device = "auto",
) -> dict[str, float]:
    """How likely an image shows each of the nine degradations; above 0.5 they are rather there than not.

    `restore(…, "auto")` wants to be sure and goes by 0.95, with the bundled classifier for some of them by more.

    The classifier knows the strengths of `restoralib.degradations.draw_task` (noise from sigma 5, JPEG up to quality 40 …) and
    looks at the image in its own resolution. Of an image of more than 512x512 pixels it sees nine pieces of 256x256, and the
    mean of their logits, each also mirrored, counts. An image whose height or width is below 16 pixels is too small
    for the bundled classifier to tell anything by: it gives every degradation the chance 0.

    Args:
        image: (b, c, h, w) or (c, h, w) in [0, 1], grey or RGB, of any size; of a batch, the most that any image shows.
        classifier: takes (n, 3, h, w), gives nine logits; None for the bundled one.
        device: where it runs.

    Raises:
        ValueError: the image has other channels or shape.
    """
    images = image if image.ndim == 4 else image[None]
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"auto tells the degradations of grey and RGB images, got the shape {tuple(image.shape)}; name a task")
    place = choose_device(device)
    if classifier is None and min(images.shape[-2:]) < _LEAST:
        logger.info("auto cannot tell the degradations of %d x %d pixels", *images.shape[-2:])
        return dict.fromkeys(DEGRADATIONS, 0.0)
    logits = tell(_bundled(place) if classifier is None else classifier, images, place)
    return dict(zip(DEGRADATIONS, logits.sigmoid().amax(0).tolist(), strict=True))


def tell(classifier: Callable[[Tensor], Tensor], images: Tensor, device: torch.device) -> Tensor:
    """Mean logits of the pieces of images and of these mirrored: (b, 1 or 3, h, w) of any size -> (b, classes)."""
    pieces = [piece.to(device, torch.float32).clamp(0, 1).expand(-1, 3, -1, -1) for piece in cut(images)]
    return torch.stack([classifier(view).float() for piece in pieces for view in (piece, piece.flip(-1))]).mean(0)


def cut(images: Tensor) -> Iterable[Tensor]:
    """Images (b, c, h, w) themselves, or pieces of large ones, evenly spread."""
    height, width = images.shape[-2:]
    if height * width <= _WHOLE:
        return [images]
    rows, columns = _spread(height), _spread(width)
    return [images[..., row, column] for row in rows for column in columns]


def _spread(length: int) -> list[slice]:
    number = min(_PIECES, -(-length // _PIECE))
    starts = [round(index * (length - _PIECE) / max(number - 1, 1)) for index in range(number)]
    return [slice(start, start + _PIECE) for start in starts] if length > _PIECE else [slice(None)]


@functools.lru_cache(maxsize=2)
def _bundled(device: torch.device) -> torch.nn.Module:
    net = load_bundled("degradation_classifier")
    assert isinstance(net, DegradationClassifier)
    return placed(net, device, torch.float32)
