"""Pipelines of diffusers behind restore(): sizes come back, seeds decide, words are passed on; with and without the package."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from restoralib import restore
from restoralib.restoration import Cancelled, DiffusersModel, OutOfMemory


class Editor:
    """A pipeline as diffusers has them: it darkens by half and adds a little noise of its generator."""

    def __init__(self, gives="pil"):
        self.gives, self.calls = gives, []

    def __call__(
        self,
        image=None,
        prompt=None,
        num_inference_steps=4,
        generator=None,
        guidance_scale=1.0,
        callback_on_step_end=None,
    ):
        self.calls.append({"size": image.size, "prompt": prompt, "steps": num_inference_steps, "scale": guidance_scale})
        for step in range(num_inference_steps - 1):  # one less, as with a strength below 1
            callback_on_step_end(self, step, 0, {})
        array = np.asarray(image).astype(np.float32) / 255 / 2
        array = array + 0.01 * torch.rand(array.shape, generator=generator).numpy()
        if self.gives == "pil":
            return SimpleNamespace(images=[Image.fromarray((array * 255).round().astype(np.uint8))])
        return (array[None],) if self.gives == "array" else ([torch.from_numpy(array).movedim(-1, 0)],)


@pytest.mark.parametrize("gives", ["pil", "array", "tensor"])
@pytest.mark.parametrize("size", [(1, 1), (64, 48), (37, 101)])
def test_any_size_comes_back_as_it_was(size, gives):
    image = torch.rand(3, *size)
    pipeline = Editor(gives)
    restored = restore(image, DiffusersModel(pipeline), prompt="darken", seed=0)
    assert restored.shape == image.shape and (restored - image / 2).abs().max() < 0.02
    width, height = pipeline.calls[0]["size"]
    assert width % 16 == height % 16 == 0 and min(width, height) >= 64


@pytest.mark.parametrize("images", [[], [[]]])
def test_a_pipeline_without_a_result_is_told(images):
    with pytest.raises(ValueError, match="the pipeline gives an empty list of images; look at its output_type"):
        restore(torch.rand(3, 20, 30), DiffusersModel(lambda image: SimpleNamespace(images=images)))


def test_images_are_scaled_to_what_the_pipeline_was_trained_on_and_back():
    pipeline = Editor()
    restored = restore(torch.full((1, 40, 160), 0.5), DiffusersModel(pipeline, "darken", pixels=128 * 128, smallest=16))
    assert pipeline.calls[0]["size"] == (256, 64)
    assert restored.shape == (1, 40, 160) and (restored - 0.25).abs().max() < 0.02


def test_the_seed_decides_and_the_callers_generator_is_left_alone():
    image, model = torch.rand(2, 3, 64, 64), DiffusersModel(Editor("tensor"), "darken")
    state = torch.get_rng_state()
    first = restore(image, model, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, restore(image, model, seed=3)) and not torch.equal(first, restore(image, model, seed=4))
    # Image k of a batch has the noise of seed + k.
    torch.testing.assert_close(first[1], restore(image[1], model, seed=4))


def test_words_steps_and_arguments_reach_the_pipeline():
    pipeline = Editor()
    model = DiffusersModel(pipeline, "remove the haze", arguments={"guidance_scale": 6.0})
    restore(torch.rand(3, 64, 64), model, steps=2)
    restore(torch.rand(3, 64, 64), model, prompt="remove the rain")
    assert [(call["prompt"], call["steps"], call["scale"]) for call in pipeline.calls] == [
        ("remove the haze", 2, 6.0),
        ("remove the rain", 4, 6.0),
    ]


def test_progress_counts_steps_and_can_cancel():
    seen = []
    model = DiffusersModel(Editor(), "darken")
    restore(torch.rand(2, 3, 64, 64), model, progress=lambda done, total, stage: seen.append((done, total)))
    assert seen[0] == (0, 8) and seen[-1] == (8, 8)
    with pytest.raises(Cancelled):
        restore(torch.rand(3, 64, 64), model, progress=lambda done, total, stage: done < 2)


def test_what_a_pipeline_cannot_do_is_refused():
    image = torch.rand(3, 64, 64)
    with pytest.raises(ValueError, match="this pipeline is told what to do: pass prompt"):
        restore(image, DiffusersModel(Editor()))
    with pytest.raises(ValueError, match="exact and tile: not for a DiffusersModel"):
        restore(image, DiffusersModel(Editor(), "x"), tile=32, exact=True)
    with pytest.raises(ValueError, match=r"takes no strength; it takes .*guidance_scale"):
        restore(image, DiffusersModel(Editor(), "x", arguments={"strength": 1.0}))
    with pytest.raises(ValueError, match="takes no text"):
        restore(image, DiffusersModel(lambda image: [image]), prompt="x")
    with pytest.raises(ValueError, match="takes no steps"):
        restore(image, DiffusersModel(lambda image: [image]), steps=3)
    with pytest.raises(TypeError, match="no pipeline from image to image"):
        DiffusersModel(lambda prompt: None)
    with pytest.raises(ValueError, match="multiple should be a whole number"):
        DiffusersModel(Editor(), multiple=0)

    def full(image):
        raise torch.OutOfMemoryError("no")

    with pytest.raises(OutOfMemory, match=r"64 x 64 pixels; pass DiffusersModel\(…, pixels"):
        restore(image, DiffusersModel(full))
    with pytest.raises(FloatingPointError, match="NaN"):
        restore(image, DiffusersModel(lambda image: [torch.full((3, 64, 64), torch.nan)]))


def test_nothing_is_downloaded(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no model_index"):
        DiffusersModel.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no model_index"):
        DiffusersModel.load("stepfun-ai/Step1X-Edit")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Stable Diffusion with random weights, as save_pretrained writes it."""
    diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
    path = tmp_path_factory.mktemp("pipeline")
    words = {
        "<|startoftext|>": 0,
        "<|endoftext|>": 1,
        **{letter: 2 + n for n, letter in enumerate("abcdefghijklmnopqrstuvwxyz")},
    }
    words |= {f"{letter}</w>": len(words) + n for n, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
    (path / "vocab.json").write_text(json.dumps(words))
    (path / "merges.txt").write_text("#version: 0.2\n")
    torch.manual_seed(0)
    blocks = {"block_out_channels": (8, 16), "norm_num_groups": 4}
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        **blocks,
    )
    vae = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, **blocks
    )
    text = transformers.CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=1,
    )
    pipeline = diffusers.StableDiffusionImg2ImgPipeline(
        vae=vae,
        text_encoder=transformers.CLIPTextModel(text),
        tokenizer=transformers.CLIPTokenizer(str(path / "vocab.json"), str(path / "merges.txt"), model_max_length=16),
        unet=unet,
        scheduler=diffusers.DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(path / "saved")
    return path / "saved"


@pytest.mark.filterwarnings("ignore")
def test_a_pipeline_of_the_package_restores(folder):
    import diffusers

    model = DiffusersModel(
        diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(folder, local_files_only=True), arguments={"strength": 0.5}
    )
    model.pipeline.set_progress_bar_config(disable=True)
    image, seen = torch.rand(3, 41, 70), []
    asked = {"prompt": "remove the rain", "steps": 4, "seed": 1}
    restored = restore(image, model, **asked, progress=lambda *news: seen.append(news[:2]))
    assert restored.shape == image.shape and restored.isfinite().all() and restored.std() > 0
    assert seen[0] == (0, 4) and seen[-1] == (4, 4)
    assert torch.equal(restored, restore(image, model, **asked))
    assert not torch.equal(restored, restore(image, model, **{**asked, "prompt": "brighten"}))


@pytest.mark.filterwarnings("ignore")
def test_a_saved_pipeline_is_loaded_from_its_folder(folder):
    model = DiffusersModel.load(folder, prompt="denoise")
    assert type(model.pipeline).__name__ == "StableDiffusionImg2ImgPipeline"
    assert restore(torch.rand(3, 64, 64), model, steps=2, seed=0).shape == (3, 64, 64)
