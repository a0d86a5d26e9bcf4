"""The model that a person means: a task, a name, a file, or what can be called."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from restoralib.checkpoints import load_model
from restoralib.restoration.auto import Auto
from restoralib.restoration.zero_shot import METHODS
from restoralib.zoo import TASKS, list_models, load_bundled, model_info

_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")  # torch.save's files are named .pth.tar, too


Model = str | os.PathLike[str] | Callable[..., Any]


def find_model(model: Model) -> Callable[..., Any]:
    """The model behind a task, a name of the zoo or a checkpoint's path; a module or callable is itself.

    Raises:
        TypeError: it is nothing of that kind.
        ValueError: nothing has this name, or its weights have to be brought.
        FileNotFoundError: there is no such checkpoint.
    """
    if callable(model):
        return model
    if not isinstance(model, str | os.PathLike):
        raise TypeError(f"a model is a task, a name, a checkpoint's path, a module or a callable, got {type(model).__name__}")
    name = os.fspath(model)
    if name == "auto":
        return Auto()
    if name in METHODS:
        return METHODS[name]
    if name in TASKS:
        bundled = TASKS[name]
        if bundled is None:
            published = ", ".join(list_models(task=name)) or "a network for it"
            raise ValueError(
                f"no weights for {name!r} are bundled; get a checkpoint of {published} from its authors, whom "
                "restoralib.zoo.model_info names, and pass its path as model"
            )
        return load_bundled(bundled)
    if Path(name).suffix.lower() == ".onnx":
        from restoralib.export.onnx_model import OnnxModel  # brings torch's compiler along

        return OnnxModel(name)
    if Path(name).suffix.lower() in _SUFFIXES or Path(name).is_file():
        return load_model(name)
    names = list_models()
    if name not in names:
        near = difflib.get_close_matches(name, [*TASKS, *METHODS, *names], n=5) or TASKS
        raise ValueError(
            f"unknown model {name!r}; did you mean {', '.join(near)}? Names are tasks, models of list_models() and checkpoint "
            "files; a wish in words goes into prompt"
        )
    info = model_info(name)
    if not info.bundled:
        if info.weights_license == "NONE":
            raise ValueError(f"no weights of {name} are bundled, and none were published: it has to be trained")
        raise ValueError(f"no weights of {name} are bundled; get them from {info.weights} and pass the file's path as model")
    return load_bundled(name)
