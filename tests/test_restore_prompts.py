"""Wishes in words: what they ask for, what is to stay, and what is refused."""

import logging

import pytest
import torch
from torch import nn

from restoralib import restore
from restoralib.archs import NetSpec
from restoralib.restoration import understand
from restoralib.restoration.auto import UNDO_ORDER
from restoralib.zoo import TASKS

# Sentence, tasks in its order, tasks that stay. All were written after the parser, forty at a time; what it made of them at
# first sight stands in docs/layers/restoration.md.
UNDERSTOOD = [
    ("Could you clean up the grain in this old wedding picture?", "denoise", ""),
    (
        "It was pouring when I took this, please get rid of the rain streaks and lift the exposure a bit.",
        "derain low_light",
        "",
    ),
    ("Too dark and blurry.", "low_light deblur", ""),
    ("Sharpen the text, and whatever you do, do not denoise it.", "deblur", "denoise"),
    ("Please dehaze the mountains but keep the grain, I like how it looks.", "dehaze", "denoise"),
    ("My hands were shaking, so everything came out smeared.", "deblur", ""),
    ("Get the JPEG blocks out.", "jpeg", ""),
    ("Upscale by four.", "sr4", ""),
    ("I photographed my monitor and there is an ugly moiré pattern.", "demoire", ""),
    ("Brighten without touching the noise.", "low_light", "denoise"),
    ("Take away the mist, then enlarge the result to twice its size.", "dehaze sr2", ""),
    ("The autofocus missed; the face is out of focus.", "defocus", ""),
    ("Fix the lens flare in the corner.", "deflare", ""),
    ("There's a reflection in the shop window that I want gone.", "dereflect", ""),
    ("Leave the fog alone, it sets the mood. Just sharpen.", "deblur", "dehaze"),
    ("make it brighter, sharper and 3x larger", "low_light deblur sr3", ""),
    ("Compression has ruined this image", "jpeg", ""),
    ("denoise", "denoise", ""),
    ("noise + haze", "denoise dehaze", ""),
    ("No sharpening please, only remove the drizzle.", "derain", "deblur"),
    ("The blur is intentional, but the picture is awfully noisy.", "denoise", "deblur"),
    ("Remove all the noise except don't brighten anything", "denoise", "low_light"),
    ("I'd rather you didn't sharpen it. Remove the compression artefacts instead.", "jpeg", "deblur"),
    ("Never mind the rain, but the shot is underexposed.", "low_light", "derain"),
    ("Take out the sensor noise from this high ISO shot", "denoise_real", ""),
    ("Deblur this, don't change the brightness.", "deblur", "low_light"),
    ("Everything looks foggy and there are raindrops on the lens", "dehaze derain", ""),
    ("Please enhance this photo.", "auto", ""),
    ("Restore it but leave the grain.", "auto", "denoise"),
    ("The evening light was dim and my phone made it really grainy", "low_light denoise", ""),
    ("hey, can you make this nighttime snapshot look less noisy and a little brighter?", "denoise low_light", ""),
    ("Kill the chroma noise; do nothing about the softness.", "denoise", "deblur"),
    ("The windshield was wet: lots of raindrops. Remove them.", "derain", ""),
    ("I scanned a newspaper and got moire, please descreen.", "demoire", ""),
    ("no more haze", "dehaze", ""),
    ("Make it crisp!", "deblur", ""),
    ("this was saved as a terrible quality jpeg, blocky all over", "jpeg", ""),
    ("Increase the resolution by a factor of 3", "sr3", ""),
    ("The subject is unfocused and the whole frame is hazy; ignore the haze.", "defocus", "dehaze"),
    ("Do not remove the rain. Do remove the fog.", "dehaze", "derain"),
    ("Preserve the film grain while you deblur the shot.", "deblur", "denoise"),
    ("I can hardly see anything, it's so dark in there.", "low_light", ""),
    ("It isn't noisy at all, it just needs deblurring.", "deblur", "denoise"),
    ("Remove rain, haze and noise in that photo of my daughter", "derain dehaze denoise", ""),
    ("don't bother with the glare, get rid of the reflections", "dereflect", "deflare"),
    ("Lighten up the picture and don't worry about the grain.", "low_light", "denoise"),
    ("rid this picture of smog", "dehaze", ""),
    ("super-resolution x2", "sr2", ""),
    ("Everything but the noise should be fixed", "auto", "denoise"),
    ("undo the camera shake", "deblur", ""),
    ("Shot through dirty glass with strong glare and a bit of blur", "deflare deblur", ""),
    ("I want the noise to stay but the compression artifacts to go.", "jpeg", "denoise"),
    ("Neither denoise nor sharpen; simply dehaze.", "dehaze", "denoise deblur"),
    ("Rather than sharpening, please reduce the noise.", "denoise", "deblur"),
    ("the photo was underexposed so brighten it up", "low_light", ""),
    ("Quadruple the resolution and clean the artifacts", "sr4 jpeg", ""),
    ("improve the quality", "auto", ""),
    ("Make this old photo look good again", "auto", ""),
    ("Skip noise reduction. Derain only.", "derain", "denoise"),
    ("my picture came out fuzzy, foggy and grainy", "deblur dehaze denoise", ""),
    ("Would you mind removing the noise?", "denoise", ""),
    ("it's raining in the picture, I want it without rain", "derain", ""),
    ("Please do remove the haze", "dehaze", ""),
    ("can't see a thing, way too dark!", "low_light", ""),
    ("I love the grain so don't remove it, but deblur the image", "deblur", "denoise"),
    ("first remove compression artifacts, then upscale 4x", "jpeg sr4", ""),
    ("Get rid of this awful lens flare without making the picture darker.", "deflare", ""),
    ("The photo is slightly out of focus. Fix that.", "defocus", ""),
    ("Could you brighten only the shadows?", "low_light", ""),
    ("enhance resolution", "sr2", ""),
    ("Deblurring yes, denoising no.", "deblur", "denoise"),
    ("Blurry because I moved the camera; sharpen please", "deblur", ""),
    ("Fog is fine, noise is not.", "denoise", "dehaze"),
    ("don't upscale, just clean the noise", "denoise", "sr2"),
    ("Make my underwater shot less hazy", "dehaze", ""),
    ("there are moire patterns on his shirt", "demoire", ""),
    ("remove reflections from the window, leave the raindrops", "dereflect", "derain"),
    ("Noise!", "denoise", ""),
    ("I need this 2x bigger and sharper", "sr2 deblur", ""),
    ("give me a noise-free version", "denoise", ""),
    ("Reduce grain, keep everything else.", "denoise", ""),
    ("The JPEG compression is terrible and everything is blurred", "jpeg deblur", ""),
    ("It isn't dark, it's foggy", "dehaze", "low_light"),
    ("Tone down the glare a bit", "deflare", ""),
    ("Please, no denoising and no sharpening, just derain.", "derain", "denoise deblur"),
    ("fix everything", "auto", ""),
    ("This picture needs more light", "low_light", ""),
    ("clear up the mist over the lake", "dehaze", ""),
    ("Restore this photo: it is noisy and dim.", "denoise low_light", ""),
    ("eliminate film grain but leave motion blur untouched", "denoise", "deblur"),
]
REFUSED = [
    "What's the capital of France?",
    "Turn my dog into a dragon",
    "Add a bit of film grain for atmosphere",
    "Make the background blurry",
    "Give it a vintage look",
    "Entferne bitte das Rauschen",
    "Write a poem about the rain.",
    "Crop it to a square",
    "please don't touch the grain",
    "asdf qwerty",
    "How do I get to the station?",
    "Make it more foggy",
    "Replace the sky with a sunset",
    "Remove the person on the left",
    "Increase the noise level",
    "keep everything exactly as it is",
    "Supprime le bruit",
    "It should be darker",
    "Blur his face",
    "Colorize this black and white photograph",
    "hello",
    "Generate a foggy forest",
    "I like trains",
    "make it look like a painting",
    "add more blur to the background",
    "What camera took this photo?",
    "Remove the background",
    "Reduce the brightness",
    "leave it alone",
    "12345",
]


@pytest.mark.parametrize(("text", "tasks", "kept"), UNDERSTOOD)
def test_sentences_are_understood(text, tasks, kept):
    wish = understand(text)
    assert wish.tasks == tuple(tasks.split()) and set(wish.kept) == set(kept.split())
    assert wish.words.keys() == {*wish.tasks, *wish.kept}


@pytest.mark.parametrize("text", REFUSED)
def test_sentences_without_a_known_wish_are_refused(text):
    with pytest.raises(ValueError, match=r"cannot tell what .* asks for; known words|only says what is to stay"):
        understand(text)


@pytest.mark.parametrize(
    ("text", "tasks", "kept"),
    [
        ("remove the noise without blurring it", "denoise", ""),
        ("Denoise, but avoid blurring the edges", "denoise", ""),
        ("no blurring", "deblur", ""),
        ("Don't forget to denoise!", "denoise", ""),
        ("please never hesitate to remove the haze", "dehaze", ""),
        ("the rain is beautiful, remove the haze", "dehaze", "derain"),
        ("the photo is noisy and the light is beautiful", "denoise", "low_light"),
        ("the noise is not nice, remove it", "denoise", ""),
    ],
)
def test_words_of_manner_and_praise_are_no_wishes(text, tasks, kept):
    wish = understand(text)
    assert wish.tasks == tuple(tasks.split()) and wish.kept == tuple(kept.split())


@pytest.mark.parametrize("text", ["upscale 5x", "denoise and make it 5x larger"])
def test_other_sizes_are_refused_rather_than_made_twice(text):
    with pytest.raises(ValueError, match="asks for a size of 5x, and 2x, 3x, 4x and 8x are known"):
        understand(text)
    assert understand("make it 10x brighter").tasks == ("low_light",)


def test_a_refusal_says_why():
    with pytest.raises(ValueError, match=r"cannot tell what 'Rauschen entfernen' .*in English, noise, grain, .*moire; upscale"):
        understand("Rauschen entfernen")
    with pytest.raises(ValueError, match=r"only says what is to stay \(grain\); say what to do"):
        understand("keep the grain")
    with pytest.raises(ValueError, match="wants 'noise' undone and 'grain' left as it is, and both are 'denoise' here"):
        understand("remove the noise but keep the grain")
    with pytest.raises(ValueError, match=r"asks for 2 sizes \(sr2, sr4\)"):
        understand("make it twice as large or 4x")
    with pytest.raises(TypeError, match="a prompt is a text, got int"):
        understand(3)
    with pytest.raises(ValueError, match="cannot tell what ''"):
        understand("")


def test_any_words_in_any_order_are_understood_or_refused():
    text = """do not keep the noise , and or sharpen without fog no free too dark make it remove everything but 4x x2 . than
    less enough should stay i want fix bright rain never mind blur removed more add unless \N{DEGREE SIGN} 3 \N{EM DASH} ("""
    words = text.split()
    generator = torch.Generator().manual_seed(0)
    outcomes = set()
    for length in torch.randint(1, 12, (400,), generator=generator).tolist():
        text = " ".join(words[index] for index in torch.randint(len(words), (length,), generator=generator).tolist())
        try:
            wish = understand(text)
        except ValueError as error:
            assert str(error)
            outcomes.add("refused")
        else:
            assert wish.tasks and not set(wish.tasks) & set(wish.kept) and str(wish)
            outcomes.add("understood")
    assert len(outcomes) == 2


def test_parts_that_are_not_understood_are_named():
    assert understand("remove the watermark and the noise").unclear == ("remove the watermark",)
    assert understand("Please get rid of the noise.").unclear == ()


@pytest.mark.parametrize(
    ("text", "tasks", "unclear"),
    [
        ("remove the rain and the cat", "derain", "the cat"),
        ("Remove the rain, the cat and the noise!", "derain denoise", "the cat"),
        ("get rid of the blur, the moire and my ex, please", "deblur demoire", "my ex"),
        ("remove the noise and the dust, then brighten it", "denoise low_light", "the dust"),
        ("remove the haze and the ugly fog over the hills", "dehaze", ""),
        ("remove the rain and leave the sky", "derain", ""),
        ("remove the noise, the colours are fine", "denoise", ""),
        ("remove noise and sharpen the face", "denoise deblur", ""),
        ("remove the rain from the street and the sky", "derain", ""),
    ],
)
def test_unknown_things_beside_known_ones_are_named(text, tasks, unclear):
    wish = understand(text)
    assert wish.tasks == tuple(tasks.split()) and wish.kept == ()
    assert wish.unclear == ((unclear,) if unclear else ())


def test_every_task_has_words():
    told = {
        understand(f"please remove the {word}").tasks
        for word in ("noise", "sensor noise", "compression", "blur", "rain", "haze")
    }
    told |= {
        understand(text).tasks for text in ("out of focus", "too dark", "moire", "lens flare", "reflections", "2x", "3x", "4x")
    }
    told |= {understand("8x larger").tasks}
    assert {task for tasks in told for task in tasks} == set(UNDO_ORDER)
    assert set(TASKS) <= {*UNDO_ORDER, "auto"}


class Shift(nn.Module):
    """Adds a little to every pixel, so that a result tells which models ran."""

    def __init__(self, by):
        super().__init__()
        self.by, self.spec = by, NetSpec()

    def forward(self, image):
        return image + self.by


def test_a_prompt_runs_the_models_that_it_asks_for_in_a_sensible_order(caplog):
    order = []

    def note(name):
        def model(image):
            order.append(name)
            return image

        return model

    models = {name: note(name) for name in ("derain", "dehaze", "low_light", "jpeg")}
    with caplog.at_level(logging.INFO, "restoralib.restoration"):
        restore(torch.rand(3, 9, 9), prompt="brighten it, remove rain and compression, keep the fog", models=models)
    assert list(dict.fromkeys(order)) == ["jpeg", "low_light", "derain"]
    assert any(
        "low_light ('brighten')" in record.message and "left as it is: dehaze" in record.message for record in caplog.records
    )


def test_what_has_no_weights_is_named(monkeypatch):
    monkeypatch.setitem(TASKS, "derain", None)
    image = torch.rand(3, 9, 9)
    with pytest.raises(
        ValueError, match=r"no weights for 'derain' are bundled; get a checkpoint.*mprnet_deraining.*models=\{'derain'"
    ):
        restore(image, prompt="remove the rain")
    with pytest.raises(ValueError, match=r"for 'dereflect' of a network for it"):
        restore(image, prompt="remove the reflection")
    with pytest.warns(UserWarning, match=r"asks for derain \('rain'\), which is left: no weights"):
        restored = restore(image, prompt="remove the rain and the noise", models={"denoise": Shift(0.1)})
    torch.testing.assert_close(restored, (image + 0.1).clamp(max=1))
    with pytest.warns(UserWarning, match="did not understand 'remove the scratches'"):
        restore(image, prompt="remove the scratches and the noise", models={"denoise": Shift(0.1)})


def test_models_are_for_known_tasks_and_for_auto_alone():
    image = torch.rand(3, 9, 9)
    with pytest.raises(ValueError, match="models has 'rain', which are no tasks; tasks are jpeg, denoise"):
        restore(image, prompt="remove the rain", models={"rain": Shift(0)})
    with pytest.raises(ValueError, match="models are for 'auto'"):
        restore(image, Shift(0), models={"derain": Shift(0)})


def test_bundled_weights_do_what_words_ask():
    noisy = (torch.full((3, 40, 30), 0.5) + 0.1 * torch.randn(3, 40, 30, generator=torch.Generator().manual_seed(0))).clamp(
        0, 1
    )
    restored = restore(noisy, prompt="please denoise this and make it twice as large")
    assert restored.shape == (3, 80, 60) and (restored - 0.5).abs().mean() < 0.02


def test_a_file_is_brought_for_a_task(tmp_path):
    from restoralib.archs import FSRCNN
    from restoralib.training.export import export_weights

    path = tmp_path / "net.safetensors"
    export_weights(FSRCNN(2, d=4, s=2, m=1), path, arch="fsrcnn", config={"scale_factor": 2, "d": 4, "s": 2, "m": 1})
    assert restore(torch.rand(3, 9, 9), prompt="2x", models={"sr2": path}).shape == (3, 18, 18)


@pytest.mark.parametrize(("text", "size"), [("enlarge it three times", "sr3"), ("make it four times larger", "sr4")])
def test_numbers_of_times_may_be_words(text, size):
    assert understand(text).tasks == (size,)


def test_a_number_of_times_that_no_model_does_is_refused():
    with pytest.raises(ValueError, match="2x, 3x, 4x and 8x are known"):
        understand("enlarge it five times")
