"""restore(): any image, any model, any size; nothing of the caller's is changed, and no failure gives a wrong picture."""

import copy
import functools
import logging
import pickle
import threading
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from restoralib import zoo
from restoralib.archs import FSRCNN, DnCNN, NAFNet, SRGANDiscriminator
from restoralib.archs.spec import NetSpec
from restoralib.images import ImageError, read_image, to_picture
from restoralib.ops.color import rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb
from restoralib.ops.resize import resize
from restoralib.restoration import Cancelled, OutOfMemory, restore, restore_file
from restoralib.restoration.color import color_hidden
from restoralib.restoration.plan import choose_tile, plan_image

RNG = np.random.default_rng(0)
ANYWHERE = NetSpec(halo=None, global_ops=("some",))


class Identity(nn.Module):
    spec = NetSpec()

    def forward(self, image):
        return image


class Enlarge(nn.Module):
    """Twice the size by repetition."""

    spec = NetSpec(scale=2)

    def forward(self, image):
        return image.repeat_interleave(2, -1).repeat_interleave(2, -2)


@pytest.fixture(scope="module")
def nafnet():
    torch.manual_seed(0)
    net = NAFNet(3, 4, 1, (1, 1), (1, 1))
    for name, parameter in net.named_parameters():
        if name.endswith(("beta", "gamma")):
            nn.init.normal_(parameter, std=0.3)
    return net.eval()


@pytest.fixture(scope="module")
def fsrcnn():
    torch.manual_seed(0)
    net = FSRCNN(2, d=6, s=4, m=1)
    nn.init.normal_(net.last_part.weight, std=0.05)
    return net.eval()


def photograph(height=60, width=70, channels=3):
    """Smooth, with noise."""
    small = torch.rand(channels, 5, 5, generator=torch.Generator().manual_seed(0))
    smooth = resize(small, size=(height, width)).clamp(0, 1)
    return (smooth + 0.05 * torch.randn(smooth.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)


def psnr(image, target):
    return -10 * (image - target).square().mean().log10()


def seam_energy(difference, plan):
    """Energy of the gradient across the ends of tiles, as a multiple of that beside them."""
    across, beside = [], []
    for axis, spans in ((-2, plan.rows), (-1, plan.columns)):
        energy = difference.diff(dim=axis).square().movedim(axis, 0).flatten(1).mean(1)
        for end in [start - 1 for start, _ in spans[1:]] + [stop - 1 for _, stop in spans[:-1]]:
            across.append(energy[end])
            beside += [*energy[max(end - 8, 0) : end], *energy[end + 1 : end + 9]]
    return torch.stack(across).mean() / torch.stack(beside).mean()


# Kinds of images


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 33),
    st.integers(1, 33),
    st.sampled_from(("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F")),
    st.sampled_from(("nafnet", "fsrcnn", "enlarge", "identity")),
)
def test_any_mode_and_size_comes_back_in_its_kind(nafnet, fsrcnn, height, width, mode, name):
    net = {"nafnet": nafnet, "fsrcnn": fsrcnn, "enlarge": Enlarge(), "identity": Identity()}[name]
    source = Image.fromarray(RNG.integers(0, 256, (height, width, 4), dtype=np.uint8))
    if mode in ("I;16", "F"):
        top = np.uint16 if mode == "I;16" else np.float32
        image = Image.fromarray((np.asarray(source)[..., 0] / 255 * (65535 if mode == "I;16" else 1)).astype(top))
    else:
        image = (
            source.quantize(8)
            if mode == "P"
            else source.convert("RGB").convert(mode)
            if mode == "CMYK"
            else source.convert(mode)
        )
    restored = restore(image, net)
    assert restored.mode == ("RGB" if mode == "CMYK" else mode)
    assert restored.size == (net.spec.scale * width, net.spec.scale * height)
    if name == "identity" and mode != "CMYK":
        before, after = (np.asarray(i.convert("RGBA") if mode == "P" else i) for i in (image, restored))
        np.testing.assert_array_equal(after, before)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from((None, 1, 2, 3, 4)),
    st.sampled_from((np.uint8, np.uint16, np.float16, np.float32, np.float64)),
    st.sampled_from((None, "auto", 8, (16, 8))),
)
def test_arrays_go_through_the_identity_unchanged(height, width, channels, dtype, tile):
    array = RNG.random((height, width, *([channels] if channels else [])))
    array = array.astype(dtype) if np.issubdtype(dtype, np.floating) else (array * np.iinfo(dtype).max).astype(dtype)
    restored = restore(array, Identity(), tile=tile, dtype="float64")
    assert (restored.dtype, restored.shape) == (array.dtype, array.shape)
    np.testing.assert_allclose(restored, array, rtol=0, atol=1e-15 if array.dtype.kind == "f" else 0)


def test_tensors_and_batches_go_through_as_by_the_network(nafnet):
    batch = torch.rand(3, 3, 17, 22)
    with torch.inference_mode():
        expected = nafnet(batch).clamp(0, 1)
    torch.testing.assert_close(restore(batch, nafnet), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(restore(batch[0], nafnet), expected[0], rtol=0, atol=1e-6)
    half = restore(batch.half(), nafnet)
    assert half.dtype == torch.float16
    result = restore(batch[0].requires_grad_(), nafnet)
    assert not result.is_inference()
    assert not result.requires_grad


@pytest.mark.parametrize("height", [2, 8, 9, 31, 64])
@pytest.mark.parametrize("width", [1, 7, 33])
def test_untiled_is_the_raw_forward_bit_for_bit(nafnet, height, width):
    image = torch.rand(1, 3, height, width)
    with torch.inference_mode():
        expected = nafnet(image.contiguous(memory_format=torch.channels_last)).clamp(0, 1)
    assert torch.equal(restore(image, nafnet, tile=None), expected)


def test_files_give_pil_images_and_arrays_where_pillow_has_none(tmp_path):
    pixels = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", dpi=(300, 300))
    restored = restore(tmp_path / "a.png", Enlarge())
    assert isinstance(restored, Image.Image)
    assert restored.size == (18, 12)
    assert restored.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    import imagecodecs

    wide = pixels.astype(np.uint16) * 257
    (tmp_path / "b.png").write_bytes(imagecodecs.png_encode(wide))
    np.testing.assert_array_equal(restore(str(tmp_path / "b.png"), Identity()), wide)


# Colour and transparency


def test_red_stays_red_through_every_entry(tmp_path, fsrcnn):
    red = Image.new("RGB", (12, 10), (200, 10, 10))
    red.save(tmp_path / "red.png")
    array = np.asarray(red)
    for image in (red, array, array / np.float32(255), torch.from_numpy(array.copy()).permute(2, 0, 1), tmp_path / "red.png"):
        restored = restore(image, Enlarge())
        values = np.asarray(restored if not isinstance(restored, torch.Tensor) else restored.permute(1, 2, 0), dtype=float)
        values = values / (1 if values.max() <= 1 else 255)
        assert np.allclose(values.mean((0, 1)), np.array([200, 10, 10]) / 255, atol=1e-6)


def test_luma_networks_get_luma_and_chroma_is_enlarged_beside(fsrcnn):
    image = photograph()
    ycbcr = rgb_to_ycbcr(image)
    with torch.inference_mode():
        luma = fsrcnn(rgb_to_y(image)[None])[0]
    expected = ycbcr_to_rgb(torch.cat((luma, resize(ycbcr[1:], 2)))).clamp(0, 1)
    torch.testing.assert_close(restore(image, fsrcnn), expected, rtol=0, atol=1e-5)
    gray = image.mean(0, keepdim=True)
    expected = restore(gray.expand(3, -1, -1), fsrcnn).mean(0, keepdim=True)
    torch.testing.assert_close(restore(gray, fsrcnn), expected, rtol=0, atol=1e-5)


def test_gray_networks_take_color_and_color_networks_gray(nafnet):
    gray_net = nn.Conv2d(1, 1, 3, padding=1)
    gray_net.spec = NetSpec(in_channels=1, out_channels=1, halo=1, color="gray")
    image = photograph()
    expected = torch.cat([restore(channel[None], gray_net) for channel in image])
    torch.testing.assert_close(restore(image, gray_net), expected)
    gray = image[:1]
    with torch.inference_mode():
        expected = nafnet(gray.expand(1, 3, -1, -1)).mean(1).clamp(0, 1)
    torch.testing.assert_close(restore(gray, nafnet), expected, rtol=0, atol=1e-6)


def test_special_channels_go_through_as_they_are():
    views = torch.rand(6, 9, 9)
    net = nn.Conv2d(6, 3, 1)
    net.spec = NetSpec(in_channels=6)
    assert restore(views, net).shape == (3, 9, 9)
    with pytest.raises(ValueError, match="takes 6 channels, the image has 3"):
        restore(views[:3], net)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 99))
def test_hidden_colors_do_not_matter(height, width, share, seed):
    generator = torch.Generator().manual_seed(seed)
    alpha = (torch.rand(1, 1, height, width, generator=generator) < share).float()
    color = torch.rand(1, 3, height, width, generator=generator)
    other = torch.where(alpha > 0, color, torch.rand(color.shape, generator=generator))
    filled = color_hidden(color, alpha)
    assert torch.equal(torch.where(alpha > 0, filled, color), color)
    if alpha.any():
        torch.testing.assert_close(filled, color_hidden(other, alpha))
        visible = color[(alpha > 0).expand_as(color)]
        assert visible.min() - 1e-6 <= filled.min() <= filled.max() <= visible.max() + 1e-6


def test_wholly_hidden_images_of_a_batch_are_left_alone():
    color, alpha = torch.rand(2, 3, 5, 7), torch.ones(2, 1, 5, 7)
    alpha[1] = 0
    alpha[0, 0, 0, 0] = 0
    assert torch.equal(color_hidden(color, alpha)[0, :, 1:], color[0, :, 1:])
    assert color_hidden(color, alpha).isfinite().all()


def test_models_that_cannot_be_copied_are_named():
    class Locked(nn.Module):
        spec = NetSpec()

        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()

        def forward(self, image):
            return image

    image = torch.rand(3, 9, 9)
    assert torch.equal(restore(image, Locked().eval()), image)
    with pytest.raises(TypeError, match=r"cannot be copied.*eval mode"):
        restore(image, Locked())


def test_color_under_transparency_does_not_bleed(fsrcnn):
    image = torch.zeros(4, 16, 16)
    image[0, :, :8] = image[3, :, :8] = 1  # red, visible
    image[1, :, 8:] = 1  # green, hidden
    blur = nn.AvgPool2d(5, 1, 2, count_include_pad=False)
    blur.spec = NetSpec(halo=2)
    restored = restore(image, blur)
    assert restored[1, :, :8].max() == 0
    torch.testing.assert_close(restored[3], image[3])
    assert torch.equal(restored[:, :, 8:], image[:, :, 8:])  # What nobody sees stays.
    assert restore(image, fsrcnn)[1, :, :14].max() < 0.1


def test_alpha_is_resized_or_restored_or_dropped():
    image = torch.rand(4, 8, 8)
    resized, restored, dropped = (restore(image, Enlarge(), alpha=mode) for mode in ("resize", "model", "drop"))
    torch.testing.assert_close(resized[3:], resize(image[3:], 2).clamp(0, 1))
    torch.testing.assert_close(restored[3:], Enlarge()(image[3:]))
    assert dropped.shape == (3, 16, 16)
    assert restore(Image.new("LA", (4, 4)), Identity(), alpha="drop").mode == "L"
    with pytest.raises(ValueError, match="alpha should be"):
        restore(image, Identity(), alpha="keep")


# Tiles


def test_tiles_on_the_grid_of_bounded_size_and_batches(nafnet):
    shapes = []

    class Spy(nn.Module):
        spec = NetSpec(halo=None, global_ops=("some",), multiple=8)

        def forward(self, image):
            shapes.append(tuple(image.shape))
            return image

    image = torch.rand(3, 123, 150)
    torch.testing.assert_close(restore(image, Spy(), tile=(50, 64), batch=4), image)
    assert max(shape[2] for shape in shapes) == 48
    assert max(shape[3] for shape in shapes) == 64
    assert {shape[0] for shape in shapes} <= {1, 2, 3, 4}
    assert 4 in {shape[0] for shape in shapes}


def test_batch_does_not_change_the_result(nafnet):
    image = photograph(90, 100)
    torch.testing.assert_close(restore(image, nafnet, tile=32, batch=5), restore(image, nafnet, tile=32), rtol=0, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(20, 130), st.integers(20, 130), st.integers(20, 90), st.floats(0, 1))
def test_a_constant_image_stays_constant(height, width, tile, value):
    net = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    net.spec = ANYWHERE
    restored = restore(torch.full((3, height, width), value), net, tile=tile)
    assert (restored - value).abs().max() <= 1e-6


def test_blended_tiles_are_near_the_whole_without_a_seam(nafnet):
    image = photograph(200, 210)
    whole, tiled = restore(image, nafnet, tile=None), restore(image, nafnet, tile=96)
    assert psnr(tiled, whole) > 45
    assert seam_energy(tiled - whole, plan_image((200, 210), (96, 96), nafnet.spec)) <= 1.1


@pytest.mark.skipif(zoo.TASKS["denoise"] is None, reason="no bundled weights")
def test_bundled_denoiser_shows_no_seam_on_a_photograph_at_defaults():
    photo = to_picture(Image.open(Path(__file__).parents[1] / "examples" / "coffee.png")).color
    photo = resize(photo, 1.6)[:, :512, :640].clamp(0, 1)
    noisy = (photo + 25 / 255 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    net = zoo.load_bundled(zoo.TASKS["denoise"])
    whole, tiled = restore(noisy, net, tile=None), restore(noisy, net)
    assert psnr(tiled, whole) > 45
    assert seam_energy(tiled - whole, plan_image((512, 640), (384, 384), net.spec)) <= 1.1
    assert psnr(tiled, photo) > psnr(noisy, photo) + 5


def test_auto_takes_small_images_whole_and_goes_by_memory_and_scale(monkeypatch):
    from restoralib.restoration import plan

    cpu, spec = torch.device("cpu"), NetSpec(halo=None, global_ops=("some",))
    assert choose_tile((512, 512), "auto", spec, cpu, 1) == (512, 512)
    assert choose_tile((3000, 4000), "auto", spec, cpu, 1) == (384, 384)
    assert choose_tile((3000, 4000), "auto", NetSpec(scale=4), cpu, 1) == (192, 192)
    assert choose_tile((3000, 4000), "auto", spec, cpu, 1, reach=200) == (768, 768)
    monkeypatch.setattr(plan, "_free_memory", lambda device: 2**31)
    assert choose_tile((3000, 4000), "auto", spec, cpu, 1) == (256, 256)
    assert choose_tile((3000, 4000), "auto", spec, cpu, 8) == (128, 128)
    with pytest.raises(ValueError, match="at least 8"):
        restore(torch.rand(3, 9, 9), nn.Identity(), spec=NetSpec(multiple=8), tile=4)
    with pytest.raises(ValueError, match="tile should be 'auto'"):
        restore(torch.rand(3, 9, 9), nn.Identity(), tile="64")


@pytest.mark.parametrize("spec", [NetSpec(multiple=16, halo=None, global_ops=("mean",)), NetSpec(halo=20), NetSpec(multiple=8)])
@pytest.mark.parametrize("length", [385, 700, 1080, 1999, 2048, 4000])
def test_tiles_are_as_small_as_cover_the_image_in_their_number(spec, length):
    plain, fitted = (plan_image((length, 64), (384, 384), spec, fit=fit) for fit in (False, True))
    assert len(fitted) == len(plain) and fitted.margin == plain.margin
    assert (
        fitted.rows[0][0] == 0 and fitted.rows[-1][1] == length and all(start % spec.multiple == 0 for start, _ in fitted.rows)
    )
    shared = 2 * (spec.halo or 0) or 32
    assert all(stop - start >= shared for (_, stop), (start, _) in pairwise(fitted.rows))
    work, before = (sum(stop - start for start, stop in plan.rows) for plan in (fitted, plain))
    # No more than a step of the grid, of 8 or 16 pixels, a tile above what has to be shared.
    assert length + shared * (len(plain) - 1) <= work <= min(before, length + (shared + 16) * len(plain))


def test_an_overlap_that_leaves_no_step_is_refused():
    with pytest.raises(ValueError, match=r"cannot advance.*enlarge the tile"):
        restore(torch.rand(3, 90, 90), Identity(), tile=32, overlap=32)


# Memory


class Limited(nn.Module):
    """Fails on tiles of more pixels than fit."""

    spec = ANYWHERE

    def __init__(self, pixels, error):
        super().__init__()
        self.pixels, self.error, self.calls = pixels, error, 0
        self.eval()  # Of a module in training mode, a copy would be called and counted.

    def forward(self, image):
        self.calls += 1
        if image.shape[-2] * image.shape[-1] > self.pixels:
            raise self.error
        return image + image.mean((2, 3), keepdim=True) / 10


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 10 bytes."),
        MemoryError(),
    ],
)
@pytest.mark.parametrize("tile", [None, 80])
def test_too_large_tiles_are_halved_and_give_what_small_ones_give(error, tile):
    image = torch.rand(3, 80, 100)
    limited = Limited(41 * 51, error)
    restored = restore(image, limited, tile=tile)
    expected = restore(image, Limited(10**9, error), tile=(40, 50 if tile is None else 40))
    assert torch.equal(restored, expected)


def test_calls_that_do_not_fit_have_fewer_images_before_tiles_are_halved():
    class Few(Limited):
        def forward(self, image):
            sizes.append((len(image), image.shape[-1]))
            if len(image) > 1:
                raise MemoryError
            return super().forward(image)

    sizes = []
    images = torch.rand(3, 3, 60, 60)
    restored = restore(images, Few(10**9, None), batch=4, tile=None)
    assert torch.equal(restored, restore(images, Limited(10**9, None), tile=None))
    assert sizes == [(3, 60), (1, 60), (1, 60), (1, 60)]


def test_memory_that_fails_late_restarts_all_tiles():
    class Late(Limited):
        def forward(self, image):
            if image.shape[-1] > 40 and self.calls == 5:
                raise MemoryError
            return super().forward(image)

    image = torch.rand(3, 160, 160)
    totals = []
    restored = restore(image, Late(10**9, None), tile=80, progress=lambda done, total, stage: totals.append((done, total)))
    assert torch.equal(restored, restore(image, Limited(10**9, None), tile=40))
    assert totals[-1][0] == totals[-1][1]
    assert (0, totals[-1][1]) in totals


def test_no_memory_for_the_smallest_tile_is_a_typed_error():
    with pytest.raises(OutOfMemory, match=r"tiles of 32 x 32 in torch.float32 do not fit.*\(words\).*try another device"):
        restore(torch.rand(3, 100, 100), Limited(1, torch.OutOfMemoryError("words\nmore")))
    with pytest.raises(OutOfMemory, match=r"3 x 5"):
        restore(torch.rand(3, 3, 5), Limited(1, MemoryError()))


def test_other_errors_of_the_model_come_through_at_once():
    broken = Limited(1, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        restore(torch.rand(3, 100, 100), broken)
    assert broken.calls == 1


@pytest.mark.gpu
def test_device_memory_depends_on_the_tile_alone(nafnet):
    peaks = []
    for side in (1000, 4000):
        torch.cuda.reset_peak_memory_stats()
        restore(torch.rand(3, side, side), nafnet, device="cuda", tile=256)
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] <= 1.05 * peaks[0]


# Precision


class Overflows(nn.Module):
    """Leaves float16 on bright tiles."""

    spec = NetSpec()

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        nn.init.eye_(self.conv.weight.data[..., 0, 0])

    def forward(self, image):
        return self.conv(self.conv(image) * 60000 * image.mean()) / 60000 / image.mean() * (1 + 0 * image.mean())


def test_half_precision_falls_back_once_or_raises():
    image = torch.rand(3, 40, 40)
    net = Overflows()
    net.conv.weight.data *= 300
    expected = restore(image, net)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        restored = restore(image, net, dtype="float16", tile=16)
    torch.testing.assert_close(restored, expected)
    assert [str(warning.message) for warning in caught if "overflows" in str(warning.message)] == [
        "the model overflows in torch.float16; such tiles are computed in float32"
    ]
    with pytest.raises(FloatingPointError, match=r"overflows in torch.float16.*float32"):
        restore(image, net, dtype=torch.float16, strict=True)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_near_float32(nafnet, fsrcnn, dtype):
    image = photograph()
    for net in (nafnet, fsrcnn):
        error = restore(image, net, dtype=dtype) - restore(image, net)
        assert psnr(error, 0) > 45


def test_nan_is_never_a_picture():
    with pytest.raises(FloatingPointError, match="gives NaN or Inf"):
        restore(torch.rand(3, 9, 9), lambda image: image / 0, spec=NetSpec())


def test_unknown_types_and_devices_are_refused(monkeypatch):
    image = torch.rand(3, 9, 9)
    with pytest.raises(ValueError, match="unknown dtype int8; choose one of auto, float32"):
        restore(image, Identity(), dtype="int8")
    if not torch.cuda.is_available():
        monkeypatch.setattr(torch.version, "cuda", None)
        with pytest.raises(ValueError, match="is a build for CPUs"):
            restore(image, Identity(), device="cuda")


# Models


def test_the_callers_model_and_settings_stay_as_they_are(nafnet):
    net = copy.deepcopy(nafnet).half().train()
    state = {key: value.clone() for key, value in net.state_dict().items()}
    threads, random = torch.get_num_threads(), torch.get_rng_state()
    restored = restore(photograph(), net)
    assert all(module.training for module in net.modules())
    for key, value in net.state_dict().items():
        assert value.dtype == torch.float16
        assert torch.equal(value, state[key])
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled()
    torch.testing.assert_close(restored, restore(photograph(), nafnet), rtol=0, atol=2e-2)


def test_training_mode_is_left_out():
    net = nn.Sequential(nn.Dropout(0.9))
    image = torch.rand(3, 9, 9)
    assert torch.equal(restore(image, net, spec=NetSpec()), image)


def test_unknown_callables_are_tried_on_a_piece(caplog):
    image = torch.rand(3, 100, 90)
    with caplog.at_level(logging.INFO):
        restored = restore(image, lambda x: torch.nn.functional.interpolate(x, scale_factor=3.0), tile=64)
    assert restored.shape == (3, 300, 270)
    assert "took scale 3" in caplog.text
    for wrong in (lambda x: x[..., 1:], lambda x: x.mean(), lambda x: x[0], lambda x: None):
        with pytest.raises(ValueError, match=r"the model gave"):
            restore(image, wrong)
    with pytest.raises(ValueError, match=r"the model gave .* say its scale and channels"):
        restore(image, nn.Identity(), spec=NetSpec(scale=2))


def test_foreign_models_are_padded_to_their_multiple():
    sizes = []

    def model(image):
        sizes.append(image.shape[-2:])
        return image

    image = torch.rand(3, 21, 30)
    assert torch.equal(restore(image, model, spec=NetSpec(multiple=8)), image)
    assert sizes == [(24, 32)]


def test_prompts_go_only_to_models_that_take_them():
    said = []

    def model(image, prompt):
        said.append(prompt)
        return image

    restore(torch.rand(3, 9, 9), model, prompt="remove the rain", spec=NetSpec())
    assert said == ["remove the rain"]
    with pytest.raises(ValueError, match="takes no text"):
        restore(torch.rand(3, 9, 9), Identity(), prompt="sharper")


def test_names_tasks_and_paths(tmp_path, monkeypatch, fsrcnn):
    image = torch.rand(3, 9, 9)
    torch.save(fsrcnn.state_dict(), tmp_path / "net.pth")
    from restoralib.restoration import models

    monkeypatch.setattr(models, "load_model", lambda path: fsrcnn)
    torch.testing.assert_close(restore(image, tmp_path / "net.pth"), restore(image, fsrcnn))
    monkeypatch.setattr(models, "TASKS", {"sr2": "fsrcnn_x2", "deblur": None})
    monkeypatch.setattr(models, "load_bundled", lambda name: fsrcnn)
    assert restore(image, "sr2").shape == (3, 18, 18)
    with pytest.raises(ValueError, match=r"no weights for 'deblur' are bundled; get a checkpoint of .*nafnet_gopro"):
        restore(image, "deblur")
    with pytest.raises(ValueError, match=r"unknown model 'denose'.*did you mean.*prompt"):
        restore(image, "denose")
    with pytest.raises(ValueError, match="unknown model"):
        restore(image, "please remove the rain")


def test_bundled_tasks_restore():
    for task, name in zoo.TASKS.items():
        if name is not None:
            info = zoo.model_info(name)
            assert restore(photograph(20, 24), task).shape == (3, 20 * info.scale, 24 * info.scale)


def test_published_weights_that_are_not_bundled_are_named():
    with pytest.raises(ValueError, match="no weights of nafnet_gopro_width32 are bundled"):
        restore(torch.rand(3, 9, 9), "nafnet_gopro_width32")
    for name in ("none.pth", "none.pth.tar"):
        with pytest.raises(FileNotFoundError, match=rf"{name}.*there is no such file"):
            restore(torch.rand(3, 9, 9), name)
    with pytest.raises(ValueError, match="none were published: it has to be trained"):
        restore(torch.rand(3, 8, 8), "fsrcnn_s_x2")


@pytest.mark.parametrize("archive", [True, False])
def test_files_named_pth_tar_are_read(tmp_path, archive):
    """As many trainings write them: PyTorch's own format under the name of another."""
    net, file, image = DnCNN(3, 3, nc=4, nb=3, act_mode="R").eval(), tmp_path / "model_best.pth.tar", torch.rand(3, 9, 9)
    torch.save({"epoch": 3, "state_dict": net.state_dict()}, file, _use_new_zipfile_serialization=archive)
    torch.testing.assert_close(restore(image, file), restore(image, net))


def test_discriminators_restore_nothing():
    with pytest.raises(ValueError, match="restores no image by itself: it is a discriminator"):
        restore(torch.rand(3, 96, 96), SRGANDiscriminator())
    with pytest.raises(ValueError, match="SRGANDiscriminator restores no image by itself"):
        restore(torch.rand(3, 96, 96), functools.partial(SRGANDiscriminator(), extra=1))


# Ensemble, seed, progress


def test_ensemble_is_the_mean_over_eight_turns(nafnet):
    image = photograph(24, 40)
    turned = []
    for flip in (False, True):
        for quarter in range(4):
            x = (image.flip(-1) if flip else image).rot90(quarter, (-2, -1))
            with torch.inference_mode():
                x = nafnet(x[None])[0].rot90(-quarter, (-2, -1))
            turned.append(x.flip(-1) if flip else x)
    expected = torch.stack(turned).mean(0).clamp(0, 1)
    torch.testing.assert_close(restore(image, nafnet, ensemble=True), expected, rtol=0, atol=1e-5)
    tiled = restore(image, nafnet, ensemble=True, tile=(24, 16))
    assert (tiled - expected).abs().mean() < 0.05


def test_seeds_repeat_and_leave_the_generators_alone():
    def noisy(image):
        return image + torch.randn_like(image) / 10

    image, state = torch.full((3, 40, 40), 0.5), torch.get_rng_state()
    first, again, other = (restore(image, noisy, spec=ANYWHERE, seed=seed, tile=32) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("options", "factor"), [({}, 1), ({"ensemble": True}, 8), ({"exact": True}, 6)])
def test_progress_knows_its_total_before_the_first_tile(nafnet, options, factor):
    calls = []
    restore(torch.rand(2, 3, 64, 80), nafnet, tile=48, progress=lambda *call: calls.append(call), **options)
    totals = {total for _, total, _ in calls}
    assert len(totals) == 1
    assert calls[0][0] == 0
    assert [done for done, *_ in calls] == sorted(done for done, *_ in calls)
    assert calls[-1][0] == calls[-1][1]
    assert calls[-1][1] % (2 * factor) == 0
    assert {stage for *_, stage in calls} == ({"restore", "statistics"} if "exact" in options else {"restore"})


def test_progress_cancels_within_a_tile():
    counter = Limited(10**9, None)
    with pytest.raises(Cancelled, match="cancelled after 2 of"):
        restore(torch.rand(3, 90, 90), counter, tile=32, progress=lambda done, total, stage: done < 2)
    assert counter.calls == 2

    def fail(done, total, stage):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(torch.rand(3, 90, 90), counter, progress=fail)
    assert counter.calls == 2


def test_progress_to_the_log(caplog):
    with caplog.at_level(logging.INFO):
        restore(torch.rand(3, 9, 9), Identity(), progress=True)
    assert "1 of 1 tiles" in caplog.text


# Limits and files


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        (torch.full((3, 4, 4), torch.nan), ImageError, "NaN or Inf"),
        (np.zeros((0, 3, 3), np.uint8), ImageError, "empty"),
        (torch.rand(64, 64, 3), ValueError, r"takes 3 channels, the image has 64; tensors are \(c, h, w\)"),
        (np.zeros((4, 4), np.int64), TypeError, "int64"),
        ("none.png", FileNotFoundError, "does not exist"),
    ],
)
def test_bad_input_is_refused(image, error, words):
    with pytest.raises(error, match=words):
        restore(image, Identity())


def test_large_results_are_refused_before_any_work():
    counter = Limited(10**9, None)
    with pytest.raises(ImageError, match="max_output_pixels=10000"):
        restore(torch.rand(3, 100, 100), counter, max_output_pixels=9999)
    assert counter.calls == 0
    with pytest.raises(ValueError, match="batch should be at least 1"):
        restore(torch.rand(3, 4, 4), Identity(), batch=0)


def test_restore_file_keeps_what_it_should_and_overwrites_nothing(tmp_path):
    pixels = RNG.integers(0, 256, (6, 9, 4), dtype=np.uint8)
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(pixels).save(source, dpi=(300, 300))
    restore_file(source, target, Enlarge())
    picture = read_image(target)
    assert picture.color.shape == (3, 12, 18)
    assert picture.dpi == pytest.approx((300, 300), abs=0.01)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        restore_file(source, target, Enlarge())
    with pytest.raises(FileExistsError):
        restore_file(source, source, Enlarge())
    restore_file(source, source, Enlarge(), overwrite=True, keep_metadata=False)
    assert read_image(source).color.shape == (3, 12, 18)
    assert read_image(source).dpi is None
    counter = Limited(10**9, None)
    for name, words in (("c.jpg", "no transparency"), ("c.gif", "unknown suffix"), ("none/c.png", "does not exist")):
        with pytest.raises((ImageError, FileNotFoundError), match=words):
            restore_file(source, tmp_path / name, counter)
    assert counter.calls == 0
    restore_file(source, tmp_path / "c.jpg", Identity(), alpha="drop")
    with pytest.raises(ImageError, match="max_pixels"):
        restore_file(source, tmp_path / "d.png", Identity(), max_pixels=3)
    with pytest.raises(Cancelled):
        restore_file(source, tmp_path / "d.png", Identity(), progress=lambda *_: False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "c.jpg"]


def test_restore_travels_to_workers():
    assert pickle.loads(pickle.dumps(restore)) is restore


@pytest.mark.parametrize("tile", [16, 17, 31, np.int64(16), (16, 40)])
def test_tiles_of_one_multiple_are_enough(tile):
    torch.manual_seed(0)
    net = NAFNet(width=4, enc_blk_nums=(1,) * 4, dec_blk_nums=(1,) * 4).eval()
    assert net.spec.multiple == 16
    assert restore(torch.rand(3, 50, 41), net, tile=tile).shape == (3, 50, 41)


def test_odd_tiles_and_overlaps_are_named(nafnet):
    for tile in (48.0, "small", (1, 2, 3)):
        with pytest.raises(ValueError, match="tile should be 'auto'"):
            restore(torch.rand(3, 64, 64), nafnet, tile=tile)
    with pytest.raises(ValueError, match="overlap should not be negative"):
        restore(torch.rand(3, 64, 64), nafnet, tile=32, overlap=-5)


def test_the_processor_by_any_name_runs_the_callers_own_model(nafnet):
    from restoralib.restoration.network import choose_device, placed

    assert placed(nafnet, choose_device("cpu:0"), torch.float32) is nafnet


def test_a_restored_alpha_shows_no_hidden_color():
    image = np.zeros((8, 16, 4), np.uint8)
    image[:, :8] = (255, 0, 0, 255)
    image[:, 8:] = (0, 255, 0, 0)

    def blur(x):
        return nn.functional.avg_pool2d(nn.functional.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)

    restored = restore(image, blur, alpha="model")
    seen = restored[..., 3] > 0
    assert seen[:, 9].all()
    assert not restored[..., 1][seen].any(), "green was hidden"


def test_the_trial_of_a_callable_leaves_the_generators_alone():
    state = torch.get_rng_state()
    restore(torch.rand(3, 8, 8, generator=torch.Generator()), lambda x: x + 0.1 * torch.rand_like(x), seed=3)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_result_in_another_range_is_pointed_out():
    with pytest.warns(UserWarning, match="wrap one that has another range"):
        restore(torch.rand(3, 8, 8), lambda x: x * 255)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"model": None}, TypeError, "a model is a task"),
        ({"device": "gpu"}, ValueError, "unknown device 'gpu'; choose 'auto'"),
        ({"device": "meta"}, ValueError, "holds no values"),
        ({"batch": 1.5}, ValueError, "batch should be at least 1 and whole"),
        ({"seed": "a"}, ValueError, "seed should be a whole number"),
        ({"progress": 5}, ValueError, "progress should be True or callable"),
        ({"model": "swinir_classical_x4"}, ValueError, "pass the file's path as model"),
    ],
)
def test_arguments_of_the_wrong_kind_are_named(nafnet, options, error, words):
    with pytest.raises(error, match=words):
        restore(torch.rand(3, 8, 8), **{"model": nafnet, **options})
