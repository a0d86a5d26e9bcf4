"""restore_video() against a plain loop of restore() over PyAV on one clip, in turn; and the memory of clips of two lengths."""

import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest
import torch

from restoralib import create_model, restore
from restoralib.video import restore_video

av = pytest.importorskip("av")

SIZE, FRAMES = (320, 180), 16


def make_clip(path, frames, size=SIZE):
    width, height = size
    generator = np.random.default_rng(0)
    base = generator.integers(0, 255, (height // 20 + 1, width // 20 + 1, 3)).repeat(20, 0).repeat(20, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            image = np.roll(base, 3 * number, 1)[:height, :width] + generator.normal(0, 8, (height, width, 3))
            frame = av.VideoFrame.from_ndarray(image.clip(0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())
    return path


def plain_loop(source, target, net):
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = made.add_stream("libx264", rate=25, options={"crf": "16", "preset": "medium"})
        stream.pix_fmt = "yuv420p"
        for frame in given.decode(video=0):
            restored = restore(frame.to_ndarray(format="rgb24"), net)
            if not stream.codec_context.is_open:
                stream.height, stream.width = restored.shape[:2]
            result = av.VideoFrame.from_ndarray(restored, format="rgb24")
            result.pts, result.time_base = frame.pts, frame.time_base
            made.mux(stream.encode(result.reformat(format="yuv420p")))
        made.mux(stream.encode())


@pytest.mark.parametrize("name", ["fsrcnn_x2", "nafnet_denoise"])
def test_frames_a_second_against_the_plain_loop(tmp_path, capsys, record_property, name):
    source = make_clip(tmp_path / "in.mp4", FRAMES)
    net = create_model(name, weights="bundled")
    runs = {
        "loop": lambda target: plain_loop(source, target, net),
        "restore_video": lambda target: restore_video(source, target, net),
        "restore_video, blend": lambda target: restore_video(source, target, net, blend=0.7),
    }
    seconds, work_done = ({run: [] for run in runs} for _ in range(2))
    for number in range(4):
        for run, work in runs.items():
            began = time.perf_counter(), time.process_time()
            work(tmp_path / f"{run}-{number}.mp4")
            seconds[run].append(time.perf_counter() - began[0])
            work_done[run].append(time.process_time() - began[1])
    with capsys.disabled():
        for run, times in seconds.items():
            rate = FRAMES / min(times)
            record_property(f"{name}, {run}, frames/s", rate)
            ratios = [min(measured["loop"]) / min(measured[run]) for measured in (seconds, work_done)]
            text = f"{rate:.2f} frames/s, {ratios[0]:.2f} of the loop's, {ratios[1]:.2f} by CPU time"
            print(f"\n{name} on {SIZE[0]}x{SIZE[1]}, {run}: {text}")


MEMORY = """
import resource, sys
import torch
from restoralib.video import restore_video
torch.set_num_threads(1)
restore_video(sys.argv[1], sys.argv[2], torch.nn.Identity(), piece=32)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def test_memory_does_not_grow_with_the_clip(tmp_path, capsys):
    peaks = {}
    for frames in (100, 1000):
        source = make_clip(tmp_path / f"{frames}.mp4", frames)
        command = [sys.executable, "-c", MEMORY, str(source), str(tmp_path / f"out{frames}.mp4")]
        peaks[frames] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    with capsys.disabled():
        print(f"\npeak memory of the process for clips of {SIZE[0]}x{SIZE[1]}: {peaks} MB")
    assert peaks[1000] < 1.1 * peaks[100]


def test_colours_to_rgb_and_back(benchmark):
    from restoralib.video.pixels import Layout, to_images, to_planes

    layout = Layout("yuv", across=2, down=2)
    frame = [np.zeros((1080, 1920), np.uint8), *[np.zeros((540, 960), np.uint8)] * 2]
    benchmark.pedantic(lambda: to_planes(to_images([frame], layout, torch.device("cpu")), layout), rounds=5, warmup_rounds=1)
