"""Films: frames keep their times, sound its bytes, colours their meaning; stopped runs go on; bad files are told in words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from restoralib import cli, restore
from restoralib.archs.spec import NetSpec
from restoralib.images import ImageError
from restoralib.restoration import Cancelled
from restoralib.restoration.auto import Auto
from restoralib.video import Encoding, Steady, VideoError, flicker, restore_iter, restore_video, video_info

av = pytest.importorskip("av", reason="av is not installed")

from restoralib.video import encoding, pixels, restoring  # noqa: E402

LOSSLESS = Encoding("ffv1")
BASE = Fraction(1, 12800)
EVEN, UNEVEN = [512] * 10, [512, 1024, 512, 2560, 512, 512, 1536, 512, 512, 1024]


class Identity(nn.Module):
    spec = NetSpec()

    def forward(self, image):
        return image


class Brighten(nn.Module):
    """Adds a tenth, and keeps the sizes of its batches."""

    spec = NetSpec()

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, image):
        self.sizes.append(len(image))
        return image + 0.1


class Enlarge(nn.Module):
    spec = NetSpec(scale=2)

    def forward(self, image):
        return image.repeat_interleave(2, -1).repeat_interleave(2, -2)


def make_clip(
    path: Path,
    codec: str = "libx264",
    *,
    steps=EVEN,
    size=(32, 32),
    pixel_format="yuv420p",
    audio: str | None = "aac",
    color=(0, 2, 2, 2),
    matrix: list[int] | None = None,
    aspect: Fraction | None = None,
    options=None,
    base: Fraction = BASE,
    subtitles: bool = False,
) -> Path:
    """A film of a moving gradient, with a tone."""
    width, height = size
    across, down = np.meshgrid(np.linspace(0, 200, width), np.linspace(0, 200, height))
    with av.open(f"file:{path}", "w", options=options or {}) as container:
        picture = container.add_stream(codec, rate=25)
        picture.width, picture.height, picture.pix_fmt = width, height, pixel_format
        context = picture.codec_context
        picture.time_base = context.time_base = base
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = color
        if aspect:
            context.sample_aspect_ratio = aspect
        if matrix and hasattr(picture, "set_display_matrix"):
            picture.set_display_matrix(matrix)
        sound = container.add_stream(audio, rate=48000, layout="mono") if audio else None
        if subtitles:
            with av.open(str(srt(path.with_suffix(".srt")))) as texts:
                text = container.add_stream_from_template(texts.streams[0])
                lines = [packet for packet in texts.demux() if packet.size]
        moment = 0
        for number, step in enumerate(steps):
            image = np.stack([across + 5 * number, down, 255 - across], -1).clip(15, 240).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixel_format)
            frame.pts, frame.time_base = moment, base
            moment += step
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
        if subtitles:
            for packet in lines:
                packet.stream = text
                container.mux(packet)
        if sound:
            tone = np.sin(np.arange(int(48000 * moment * base)) / 20).astype(np.float32)[None]
            for start in range(0, tone.shape[1] // 1024 * 1024, 1024):
                frame = av.AudioFrame.from_ndarray(tone[:, start : start + 1024], format="fltp", layout="mono")
                frame.sample_rate, frame.pts = 48000, start
                container.mux(sound.encode(frame))
            container.mux(sound.encode())
    return path


def srt(path: Path) -> Path:
    path.write_text("1\n00:00:00,040 --> 00:00:00,120\nHere it begins\n\n2\n00:00:00,160 --> 00:00:00,300\nand ends\n\n")
    return path


def frames_of(path: Path) -> list:
    with av.open(f"file:{path}") as container:
        return list(container.decode(container.streams.video[0]))


def times(path: Path) -> list[Fraction]:
    return [frame.pts * frame.time_base for frame in frames_of(path)]


def values(path: Path) -> list[np.ndarray]:
    return [frame.to_ndarray() for frame in frames_of(path)]


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(f"file:{path}") as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        return [bytes(packet) for packet in container.demux(streams) if packet.size]


def damage(source: Path, target: Path, numbers) -> None:
    """A copy in which some packets of video are zeros."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        found = [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]
    for number in numbers:
        start = data.index(found[number])
        data[start : start + len(found[number])] = bytes(len(found[number]))
    target.write_bytes(data)


def equal(a: Path, b: Path) -> bool:
    return all(np.array_equal(*pair) for pair in zip(values(a), values(b), strict=True)) and times(a) == times(b)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", steps=UNEVEN)


# Frames, times, sound


@pytest.mark.parametrize(
    ("suffix", "steps"),
    [(".mp4", EVEN), (".mp4", UNEVEN), (".mkv", UNEVEN), (".mov", UNEVEN), (".webm", UNEVEN), (".ts", UNEVEN)],
)
def test_frames_times_and_sound_are_those_of_the_source(tmp_path, suffix, steps):
    codecs = {"codec": "libvpx-vp9", "audio": "libopus"} if suffix == ".webm" else {}
    base = {".mkv": Fraction(1, 1000), ".webm": Fraction(1, 1000), ".ts": Fraction(1, 90000)}.get(suffix, BASE)
    steps = [round(step * BASE / base) for step in steps]
    source = make_clip(tmp_path / f"in{suffix}", steps=steps, base=base, **codecs)
    target = tmp_path / f"out{suffix}"
    # A piece ends within the reach of the encoder's look ahead, and frames are unevenly spaced there.
    restore_video(source, target, Identity(), batch=2, piece=4)
    assert times(target) == times(source) and len(times(target)) == 10
    assert packets(target, "audio") == packets(source, "audio")
    assert sorted(tmp_path.iterdir()) == sorted([source, target])


def test_a_model_that_changes_nothing_gives_every_value_back(tmp_path):
    source = make_clip(tmp_path / "in.mkv", "ffv1", pixel_format="yuv444p", audio=None)
    restore_video(source, tmp_path / "out.mkv", Identity(), encoding=LOSSLESS)
    assert equal(source, tmp_path / "out.mkv")


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "yuv411p", "gray", "gbrp10le", "bgr0"])
def test_pixel_formats_are_kept_and_values_nearly(tmp_path, pixel_format):
    source = make_clip(tmp_path / "in.mkv", "ffv1", pixel_format=pixel_format, audio=None)
    restore_video(source, tmp_path / "out.mkv", Identity(), encoding=LOSSLESS)
    before, after = frames_of(source), frames_of(tmp_path / "out.mkv")
    assert after[0].format.name == before[0].format.name == pixel_format
    pairs = [
        (a.to_ndarray(format="rgb24").astype(int), b.to_ndarray(format="rgb24").astype(int))
        for a, b in zip(before, after, strict=True)
    ]
    assert max(np.abs(a - b).mean() for a, b in pairs) < 1


def test_ten_bits_become_h265_of_ten_bits(tmp_path):
    source = make_clip(tmp_path / "in.mkv", "ffv1", pixel_format="yuv420p10le", audio=None)
    restore_video(source, tmp_path / "out.mp4", Identity())
    info = video_info(tmp_path / "out.mp4")
    assert (info.codec, info.pixel_format) == ("hevc", "yuv420p10le")


def test_depth_is_kept_where_an_encoder_has_it_and_else_told(tmp_path):
    source = make_clip(tmp_path / "in.mkv", "ffv1", pixel_format="yuv420p10le", audio=None, steps=[512] * 2)
    with pytest.warns(UserWarning, match="libx264 keeps 8 of 10 bits in yuv420p"):
        restore_video(source, tmp_path / "out.mp4", Identity(), encoding=Encoding("h264", "yuv420p"))
    for name, layout in [("libx264", pixels.Layout("yuv", across=4)), ("libx265", pixels.Layout("rgb", 10))]:
        found, made = encoding.choose_pixel_format(av.codec.Codec(name, "w"), "auto", layout)
        assert found == {"libx264": "yuv420p", "libx265": "gbrp10le"}[name] == made.pixel_format


@pytest.mark.parametrize("space", [1, 5, 9])
def test_rgb_and_back_is_exact_in_each_matrix_and_range(space):
    generator = np.random.default_rng(0)
    for full, depth in ((False, 8), (True, 8), (False, 10)):
        layout = pixels.Layout("yuv", depth, space=space, full=full)
        planes = [generator.integers(0, 2**depth, (5, 7)).astype(layout.dtype) for _ in range(3)]
        images = pixels.to_images([planes], layout, torch.device("cpu"))
        (back,) = pixels.to_planes(images, layout)
        assert all(np.array_equal(*pair) for pair in zip(planes, back, strict=True))


def test_white_and_primaries_are_where_the_standards_put_them():
    """BT.709, limited: white is (235, 128, 128), red (63, 102, 240); BT.601: red (81, 90, 240)."""
    for space, expected in ((1, (63, 102, 240)), (6, (81, 90, 240))):
        layout = pixels.Layout("yuv", space=space)
        red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
        (planes,) = pixels.to_planes(torch.cat((red, torch.ones(1, 3, 1, 1)), 3), layout)
        assert tuple(int(plane[0, 0]) for plane in planes) == expected
        assert tuple(int(plane[0, 1]) for plane in planes) == (235, 128, 128)


def test_colours_rotation_pixel_shape_and_titles_are_kept(tmp_path):
    matrix = [0, 65536, 0, -65536, 0, 0, 0, 0, 1073741824]
    source = make_clip(tmp_path / "in.mp4", color=(2, 1, 9, 16), matrix=matrix, aspect=Fraction(4, 3))
    with av.open(str(source)) as given, av.open(str(tmp_path / "titled.mp4"), "w") as made:
        streams = {stream.index: made.add_stream_from_template(stream) for stream in given.streams}
        made.metadata["title"] = "A film"
        streams[1].metadata["language"] = "deu"
        if hasattr(streams[0], "set_display_matrix"):
            streams[0].set_display_matrix(matrix)
        for packet in given.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                made.mux(packet)
    target = tmp_path / "out.mp4"
    restore_video(tmp_path / "titled.mp4", target, Enlarge())
    before, after = frames_of(tmp_path / "titled.mp4")[0], frames_of(target)[0]
    assert before.rotation == after.rotation
    assert before.rotation == -90 or not hasattr(av.video.stream.VideoStream, "set_display_matrix")  # of PyAV 18
    with av.open(str(source)) as given, av.open(str(target)) as made:
        for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
            assert getattr(made.streams.video[0], name) == getattr(given.streams.video[0], name)
    assert (before.color_range, before.colorspace) == (2, 1)
    with av.open(str(target)) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
        assert container.metadata["title"] == "A film"
        assert container.streams.audio[0].metadata["language"] == "deu"


def test_subtitles_are_copied_where_the_format_takes_them(tmp_path):
    source = make_clip(tmp_path / "in.mkv", base=Fraction(1, 1000), steps=[40] * 10, subtitles=True)
    restore_video(source, tmp_path / "out.mkv", Identity())
    assert packets(tmp_path / "out.mkv", "subtitle") == packets(source, "subtitle") != []
    with pytest.warns(UserWarning, match=r"mp4 files take no \w+ subtitles, which are left out; \.mkv keeps them"):
        restore_video(source, tmp_path / "out.mp4", Identity())


def test_sound_can_be_left_out(tmp_path, clip):
    restore_video(clip, tmp_path / "out.webm", Identity(), audio=False)
    assert video_info(tmp_path / "out.webm").audio == ()


# Sizes


def test_a_film_is_enlarged(tmp_path, clip):
    restore_video(clip, tmp_path / "out.mp4", Enlarge())
    info = video_info(tmp_path / "out.mp4")
    assert (info.width, info.height, info.frames) == (64, 64, 10)


def test_odd_sides_are_made_even_with_a_warning_or_kept(tmp_path):
    source = make_clip(tmp_path / "in.mkv", "ffv1", size=(33, 31), audio=None)
    with pytest.warns(UserWarning, match="takes no odd sides in yuv420p: 33 x 31 becomes 34 x 32"):
        restore_video(source, tmp_path / "even.mp4", Identity())
    even, odd = (frames_of(path)[0].to_ndarray(format="rgb24") for path in (tmp_path / "even.mp4", source))
    assert even.shape == (32, 34, 3)
    assert np.abs(even[:31, :33].astype(int) - odd).mean() < 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        restore_video(source, tmp_path / "odd.mkv", Identity(), encoding=LOSSLESS)
        restore_video(source, tmp_path / "full.mp4", Identity(), encoding=Encoding(pixel_format="yuv444p"))
    assert [(i.width, i.height) for i in map(video_info, (tmp_path / "odd.mkv", tmp_path / "full.mp4"))] == [(33, 31)] * 2


# Streams and batches


def test_frames_go_in_batches_and_few_are_held(tmp_path, monkeypatch):
    source = make_clip(tmp_path / "in.mp4", steps=[512] * 40, audio=None)
    held, most = 0, 0
    decode, add = restoring.decode, restoring.Encoder.add

    def counted(*arguments):
        nonlocal held, most
        for frame in decode(*arguments):
            held += 1
            most = max(most, held)
            yield frame

    def written(self, *arguments):
        nonlocal held
        held -= 1
        return add(self, *arguments)

    monkeypatch.setattr(restoring, "decode", counted)
    monkeypatch.setattr(restoring.Encoder, "add", written)
    net = Brighten().eval()
    restore_video(source, tmp_path / "out.mp4", net, batch=3, piece=6)
    assert set(net.sizes) == {3, 1} and sum(net.sizes) == 40
    assert held == 0 and most <= 4 * 3  # one batch read, one restored, one waiting, one written


def test_restore_iter_reads_no_further_than_a_batch_and_gives_the_same_kind():
    read = 0

    def source():
        nonlocal read
        for value in range(7):
            read += 1
            yield np.full((6, 5, 3), 20 * value, np.uint8)

    for number, restored in enumerate(restore_iter(source(), Brighten(), batch=2)):
        assert read <= number + 3
        assert isinstance(restored, np.ndarray) and restored.dtype == np.uint8
        assert np.array_equal(restored, restore(np.full((6, 5, 3), 20 * number, np.uint8), Brighten()))
    assert read == 7


def test_restore_iter_takes_frames_of_several_sizes_and_transparency():
    images = [torch.rand(4, 6, 5), torch.rand(4, 6, 5), torch.rand(3, 8, 8)]
    restored = list(restore_iter(iter(images), Enlarge(), batch=4))
    assert [tuple(image.shape) for image in restored] == [(4, 12, 10), (4, 12, 10), (3, 16, 16)]
    assert torch.equal(restored[0], restore(images[0], Enlarge()))
    with pytest.raises(ValueError, match="one image, got a batch"):
        list(restore_iter([torch.rand(2, 3, 8, 8)], Identity()))
    with pytest.raises(ImageError):
        list(restore_iter([torch.full((3, 8, 8), torch.nan)], Identity()))
    with pytest.raises(ValueError, match="batch should be at least 1"):
        restore_iter([], Identity(), batch=0)


def test_auto_decides_once_by_the_first_frames(tmp_path, clip):
    looks = []

    def classifier(image):
        looks.append(len(image))
        logits = torch.full((len(image), 9), -9.0)
        logits[:, 0] = 9.0
        return logits

    net = Brighten().eval()
    auto = Auto({task: net for task in ("denoise", "deblur", "jpeg")}, classifier)
    restore_video(clip, tmp_path / "out.mp4", auto, batch=2)
    assert looks == [2, 2]  # it looks at each image and at its flip
    assert sum(net.sizes) == 10


# Steadiness


def noisy_clip(count: int = 12, sigma: float = 0.1) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """A still picture with a square that moves, clean and with fresh noise in each frame."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0.2, 0.7, 48).expand(3, 48, 48)
    clean = []
    for number in range(count):
        image = ramp.clone()
        image[:, 8:20, 2 * number : 2 * number + 12] = 0.95
        clean.append(image)
    return clean, [image + sigma * torch.randn(image.shape, generator=generator) for image in clean]


def test_the_blend_takes_flicker_away_and_leaves_what_moves():
    clean, noisy = noisy_clip()
    plain = list(restore_iter(noisy, Identity()))
    steady = list(restore_iter(noisy, Identity(), blend=0.7))
    assert abs(flicker(plain, noisy, reference=clean)) < 0.01  # clipping alone
    before = flicker(noisy, [noisy[0]] * len(noisy), reference=clean)
    after = flicker(steady, [noisy[0]] * len(noisy), reference=clean)
    assert 0.15 < after / before < 0.45  # 0.23 in the long run, and the square's way is not blended
    # No trail where the square was just before: as far from the clean frame as without the blend.
    for number in range(1, 12):
        trail = (slice(None), slice(9, 19), slice(2 * number - 2, 2 * number))
        assert (steady[number] - clean[number])[trail].abs().mean() < 1.2 * (plain[number] - clean[number])[
            trail
        ].abs().mean() + 0.02


def test_the_blend_shrinks_changes_as_documented():
    generator = torch.Generator().manual_seed(0)
    noisy = [0.5 + 0.05 * torch.randn(3, 64, 64, generator=generator) for _ in range(30)]
    steady = Steady(0.6)
    blended = [steady(image, image) for image in noisy][10:]
    before, after = (
        flicker(noisy, [noisy[0]] * 30, reference=noisy[:1] * 30),
        flicker(blended, [noisy[0]] * 20, reference=noisy[:1] * 20),
    )
    assert after / before == pytest.approx(0.4 / 1.6**0.5, rel=0.2)  # noise alone is taken for a change here and there


def test_a_cut_is_not_blended():
    steady = Steady(0.9)
    first = torch.linspace(0, 1, 32).expand(3, 32, 32)
    second = (1 - first.transpose(1, 2)) ** 2
    steady(first, first)
    blended = steady(second, second)
    assert ((blended - second).abs() > 1e-3).float().mean() < 0.2  # where the two happen to agree


def test_flicker_by_hand():
    still = torch.full((3, 4, 4), 0.5)
    moving = still.clone()
    moving[:, 0] = 0.9
    restored = [still, still + 0.1]
    assert flicker(restored, [still, moving]) == pytest.approx(0.1)  # the first line moves and does not count
    assert flicker([still, still], [still, still + 0.004]) == pytest.approx(-0.004, abs=1e-6)
    enlarged = [image.repeat_interleave(2, 1).repeat_interleave(2, 2) for image in restored]
    assert flicker(enlarged, [still, moving]) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="at least two"):
        flicker([still], [still])
    with pytest.raises(ValueError, match="no pixel is still"):
        flicker([still, still], [still, still + 0.2])
    with pytest.raises(ValueError):
        flicker([still, still], [still])


@pytest.mark.parametrize("strength", [-0.1, 1.0])
def test_a_blend_outside_its_range_is_refused(strength):
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        Steady(strength)


# Stopped and gone on

KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from test_video import Brighten, restore_video

def progress(done, total, stage):
    if done == 6:
        os.kill(os.getpid(), signal.SIGKILL)

restore_video(sys.argv[2], sys.argv[3], Brighten().eval(), batch=2, piece=2, blend=0.5, progress=progress)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_run_goes_on_and_equals_one_that_was_not(tmp_path, clip):
    options = {"batch": 2, "piece": 2, "blend": 0.5}
    restore_video(clip, tmp_path / "whole.mp4", Brighten().eval(), **options)
    target = tmp_path / "out.mp4"
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(clip), str(target)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not target.exists()
    pieces = sorted(path.name for path in (tmp_path / ".out.mp4.restoralib").glob("*.packets"))
    assert 1 <= len(pieces) < 5
    net = Brighten().eval()
    restore_video(clip, target, net, **options)
    assert sum(net.sizes) == 10 - 2 * len(pieces)
    assert equal(target, tmp_path / "whole.mp4")
    assert packets(target, "audio") == packets(clip, "audio")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "whole.mp4"]


def stop_at(frame: int):
    return lambda done, total, stage: done < frame


def test_a_cancelled_run_leaves_no_half_file_and_goes_on(tmp_path, clip):
    target = tmp_path / "out.mp4"
    with pytest.raises(Cancelled):
        restore_video(clip, target, Identity(), batch=2, piece=4, progress=stop_at(6))
    assert [path.name for path in tmp_path.iterdir()] == [".out.mp4.restoralib"]
    calls = []
    restore_video(clip, target, Identity(), batch=2, piece=4, progress=lambda *report: calls.append(report))
    assert calls[0] == (4, 10, "restore") and calls[-1] == (10, 10, "join")
    assert [done for done, _, _ in calls] == sorted(done for done, _, _ in calls)
    restore_video(clip, tmp_path / "whole.mp4", Identity(), batch=2, piece=4)
    assert equal(target, tmp_path / "whole.mp4")


def test_without_resume_nothing_is_left(tmp_path, clip):
    with pytest.raises(Cancelled):
        restore_video(clip, tmp_path / "out.mp4", Identity(), batch=2, piece=2, resume=False, progress=stop_at(6))
    assert list(tmp_path.iterdir()) == []


def test_pieces_of_another_job_are_not_used(tmp_path, clip):
    target = tmp_path / "out.mp4"
    with pytest.raises(Cancelled):
        restore_video(clip, target, Identity(), batch=2, piece=2, progress=stop_at(6))
    net = Brighten().eval()
    restore_video(clip, target, net, batch=2, piece=2)
    assert sum(net.sizes) == 10


def test_a_damaged_piece_is_made_again(tmp_path, clip):
    target = tmp_path / "out.mp4"
    with pytest.raises(Cancelled):
        restore_video(clip, target, Identity(), batch=2, piece=2, progress=stop_at(8))
    second = tmp_path / ".out.mp4.restoralib" / "000001.packets"
    second.write_bytes(second.read_bytes()[:-5])
    restore_video(clip, target, Identity(), batch=2, piece=2)
    restore_video(clip, tmp_path / "whole.mp4", Identity(), batch=2, piece=2)
    assert equal(target, tmp_path / "whole.mp4")


def test_an_error_of_progress_or_model_ends_the_work(tmp_path, clip):
    def progress(done, total, stage):
        if done:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        restore_video(clip, tmp_path / "out.mp4", Identity(), progress=progress)
    with pytest.raises(FloatingPointError):
        restore_video(clip, tmp_path / "out.mp4", lambda image: image * torch.nan, spec=NetSpec())
    assert list(tmp_path.iterdir()) == []


def test_two_processes_do_not_write_one_film(tmp_path, clip):
    fcntl = pytest.importorskip("fcntl")
    folder = tmp_path / ".out.mp4.restoralib"
    folder.mkdir()
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(VideoError, match="another process writes"):
            restore_video(clip, tmp_path / "out.mp4", Identity())


def test_weights_and_options_make_a_job():
    torch.manual_seed(0)
    net = nn.Conv2d(3, 3, 1)
    before = restoring.identity(net)
    assert restoring.identity(net) == before
    net.weight.data[0, 0] += 1
    assert restoring.identity(net) != before
    assert restoring.identity({"tile": (3, 4), "dtype": torch.float32}) == {"tile": [3, 4], "dtype": "torch.float32"}


# Bad input


def test_what_is_no_film_is_told(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no film")
    make_clip(tmp_path / "sound.mp4", audio="aac")
    with av.open(str(tmp_path / "sound.mp4")) as given, av.open(str(tmp_path / "sound.m4a"), "w") as made:
        stream = made.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(given.streams.audio[0]):
            if packet.size:
                packet.stream = stream
                made.mux(packet)
    damage(make_clip(tmp_path / "whole.mkv", "mjpeg", pixel_format="yuvj420p", audio=None), tmp_path / "none.mkv", range(10))
    for name, error, words in [
        ("absent.mp4", FileNotFoundError, "does not exist"),
        (".", IsADirectoryError, "is a directory"),
        ("empty.mp4", VideoError, "is empty"),
        ("text.mp4", VideoError, "cannot be read as a film .*damaged, cut short, or no video file"),
        ("sound.m4a", VideoError, "has no video stream, it holds only audio"),
        ("none.mkv", VideoError, "no frame of its mjpeg stream can be decoded"),
    ]:
        with pytest.raises(error, match=words):
            restore_video(tmp_path / name, tmp_path / "out.mp4", Identity())
    assert not (tmp_path / "out.mp4").exists() and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_film_that_is_cut_short_is_refused_or_taken_in_part(tmp_path, suffix):
    whole = make_clip(
        tmp_path / f"whole{suffix}", steps=[512] * 25, options={"movflags": "faststart"} if suffix == ".mp4" else {}
    )
    data = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(data[: len(data) * 3 // 5])
    with pytest.raises(VideoError, match=r"cut short or damaged: .* frames are there.*partial_source=True"):
        restore_video(cut, tmp_path / f"out{suffix}", Identity())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        restore_video(cut, tmp_path / f"out{suffix}", Identity(), partial_source=True)
    found = times(tmp_path / f"out{suffix}")
    expected = times(whole)
    assert 3 < len(found) < 25 and found[:5] == expected[:5] and set(found) <= set(expected)


def test_a_damaged_packet_costs_its_frame_alone(tmp_path):
    source = make_clip(tmp_path / "in.mkv", "mjpeg", pixel_format="yuvj420p", audio=None)
    damage(source, tmp_path / "bad.mkv", [2])
    with pytest.warns(UserWarning, match="1 damaged packets could not be decoded"):
        restore_video(tmp_path / "bad.mkv", tmp_path / "out.mkv", Identity())
    found, expected = times(tmp_path / "out.mkv"), times(source)
    assert found == expected[:2] + expected[3:]


def test_arguments_that_cannot_be_are_refused_before_any_work(tmp_path, clip):
    target = tmp_path / "out.mp4"
    never = Brighten()
    for arguments, words in [
        ({"target": tmp_path / "out.png"}, r"\.png tells no format of films; name the file \.mp4"),
        ({"target": tmp_path / "out"}, "a name without a suffix tells no format"),
        ({"target": tmp_path / "out.webm"}, r"\.webm files do not take aac, .*audio=False"),
        ({"piece": 0}, "piece should be at least 1"),
        ({"batch": 0}, "batch should be at least 1"),
        ({"blend": 1.0}, "blend should be at least 0 and below 1"),
        ({"model": "denoize"}, "unknown model 'denoize'"),
        ({"target": clip, "overwrite": True}, "is the source itself"),
    ]:
        with pytest.raises(ValueError, match=words):
            restore_video(**{"source": clip, "target": target, "model": never, **arguments})
    with pytest.raises(FileNotFoundError, match="create it first"):
        restore_video(clip, tmp_path / "there" / "out.mp4", never)
    target.write_bytes(b"kept")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        restore_video(clip, target, never)
    assert target.read_bytes() == b"kept" and not never.sizes
    restore_video(clip, target, Identity(), overwrite=True)
    assert len(times(target)) == 10


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        (Encoding("nonsense"), "no encoder 'nonsense'"),
        (Encoding("aac"), "does not encode pictures"),
        (Encoding("ffv1"), r"ffv1|mp4"),
        (Encoding(pixel_format="nonsense"), "libx264 has no pixel format 'nonsense'; it has yuv420p"),
    ],
)
def test_encodings_that_cannot_be_are_told(tmp_path, encoding, words):
    source = make_clip(tmp_path / "in.mkv", "ffv1", audio=None, base=Fraction(1, 1000), steps=[40] * 4)
    target = tmp_path / ("out.webm" if encoding.codec == "ffv1" else "out.mp4")
    with pytest.raises(VideoError, match=words):
        restore_video(source, target, Identity(), encoding=encoding)
    assert list(tmp_path.iterdir()) == [source]


def test_a_change_of_size_within_a_film_is_told(tmp_path):
    with av.open(str(tmp_path / "in.mkv"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
        for number, width in enumerate((32, 32, 64, 64)):
            context = av.CodecContext.create("mjpeg", "w")
            context.width, context.height, context.pix_fmt, context.time_base = width, 32, "yuvj420p", Fraction(1, 25)
            frame = av.VideoFrame.from_ndarray(np.full((32, width, 3), 90, np.uint8)).reformat(format="yuvj420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            for packet in [*context.encode(frame), *context.encode()]:
                packet.stream = stream
                container.mux(packet)
    with pytest.raises(VideoError, match=r"frames change from 32 x 32 yuv420p to 64 x 32 yuvj420p at 0\.080 s"):
        restore_video(tmp_path / "in.mkv", tmp_path / "out.mp4", Identity(), batch=1)


def test_without_av_the_extra_is_named(tmp_path, clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r'films need av \(PyAV\); pip install "restoralib\[video\]"'):
        restore_video(clip, tmp_path / "out.mp4", Identity())


# The command


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_the_command_restores_films_of_odd_names(run, tmp_path):
    for name in ("-clip.mp4", "pipe:1.mp4", "a b'c.mp4"):
        make_clip(tmp_path / name, steps=[512] * 3)
        result = run("video", "-o", f"out {name}", "--batch", "2", "--blend", "0.5", "--crf", "30", "--", name)
        assert result.exit_code == 0, result.output
        assert len(times(tmp_path / f"out {name}")) == 3


def test_the_command_tells_what_is_wrong(run, tmp_path, clip):
    (tmp_path / "text.mp4").write_text("no film")
    for arguments, words in [
        (("text.mp4", "-o", "out.mp4"), "cannot be read as a film"),
        ((clip, "-o", "out.png"), "tells no format of films"),
        ((clip, "-o", "out.mp4", "-m", "denoize"), "unknown model"),
        ((clip, "-o", "out.mp4", "--option", "crf"), "--option expects NAME=VALUE"),
    ]:
        result = run("video", *arguments)
        assert result.exit_code == 1 and words in result.output, result.output
    assert not os.path.exists("out.mp4")
