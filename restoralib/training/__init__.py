"""Recipes, each a short file that trains one kind of network, and the loop that they run on.

`restoralib train --list` names them; each is also a program, `python -m restoralib.training.NAME`.
"""

import difflib
import importlib
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

RECIPES: Mapping[str, str] = {
    "supervised": "any network of the library on pairs, with its authors' settings",
    "srgan": "SRGAN: squared errors, then VGG's features against a discriminator",
    "real_esrgan": "Real-ESRGAN: L1 on images degraded twice over, then features and a U-Net discriminator",
    "diffir": "DiffIR's two stages: a prior from the clean image, then a diffusion that finds it",
    "ddpm": "DDPM: a prior of photographs for restoration by guidance",
    "sr3": "SR3: super-resolution by a diffusion that sees the enlarged image",
    "palette": "Palette: restoration by a diffusion that sees the degraded image",
    "irsde": "IR-SDE and Refusion: the way back from a degraded image with noise",
    "bridges": "I2SB and GOUB: diffusions that end at the degraded image",
    "denoise": "the bundled denoiser: a small NAFNet for Gaussian noise of any strength",
    "super_resolution": "the bundled super-resolution: FSRCNN on the luma, and a narrow RLFN",
    "restorers": "a small NAFNet for one degradation or for all; those for JPEG, rain, haze, low light and moire are bundled",
    "diffusion": "a prior that removes noise of any known level: a small ConditionalNAFNet",
    "guided": "a small NAFNet that is told the degradation by name",
    "latent": "a small autoencoder of photographs, and a flow that denoises its latents",
    "sana": "the SANA-Denoiser out of published weights, by low-rank differences or whole",
    "classifier": "the classifier that tells which degradations a photograph shows",
}
"""The recipes by name: the modules of this package that have a `main`, and what they train."""


def find_recipe(name: str) -> Callable[[list[str]], None]:
    """The program of a recipe, which takes its command-line arguments.

    Raises:
        ValueError: there is no such recipe.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, list(RECIPES), n=3)
        raise ValueError(f"unknown recipe {name!r}; " + (f"did you mean {', '.join(near)}?" if near else "see --list"))
    return importlib.import_module(f"restoralib.training.{name}").main


def recipe_arguments(photographs: Path, out: Path, settings: Iterable[str] = ()) -> list[str]:
    """The command-line arguments of a recipe.

    Args:
        photographs: folder of the data.
        out: file of the weights.
        settings: `key=value`, a key being an option of the recipe; `true` sets an option that has no value, `false` does not,
            and several values stand in one text with spaces: "config=width=16 middle_blk_num=1".

    Raises:
        ValueError: a setting has no "=".
    """
    arguments = [str(photographs), "--out", str(out)]
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise ValueError(f"--set expects KEY=VALUE, got {setting!r}")
        option = "--" + key.replace("_", "-")
        if value.lower() != "false":
            arguments += [option] if value.lower() == "true" else [option, *shlex.split(value)]
    return arguments
