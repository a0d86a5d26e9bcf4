"""Motion: averages in linear light, and the kernels of shaking hands."""

import pytest
import torch

from restoralib.degradations import CameraShake, FrameAverage, frame_average, shake_kernel, shake_trajectory


def test_frames_are_averaged_in_linear_light():
    frames = torch.rand(5, 2, 3, 4, 6)
    torch.testing.assert_close(frame_average(frames, 1.0), frames.mean(0))
    torch.testing.assert_close(frame_average(frames, 2.2), (frames**2.2).mean(0) ** (1 / 2.2))
    assert (frame_average(frames, 2.2) >= frame_average(frames, 1.0) - 1e-6).all()  # a mean of powers
    torch.testing.assert_close(frame_average([frames[0]] * 4), frames[0])


def test_no_frame_is_refused():
    with pytest.raises(ValueError, match="at least one frame"):
        frame_average([])


def test_a_point_becomes_a_line_along_the_motion_about_its_place():
    image = torch.zeros(1, 1, 31, 31)
    image[..., 15, 15] = 1
    streak = FrameAverage(frames=9, step=(0.0, 1.0), gamma=1)(image)[0, 0]
    torch.testing.assert_close(streak.sum(), torch.tensor(1.0))
    assert streak[15].sum() > 0.999
    torch.testing.assert_close((streak[15] * torch.arange(31)).sum(), torch.tensor(15.0))
    assert ((streak[15, 12:19] - 1 / 9).abs() < 1e-4).all() and streak[15, :9].sum() < 1e-6


def test_fast_motion_leaves_no_comb():
    image = torch.zeros(1, 1, 9, 81)
    image[..., 4, 40] = 1
    line = FrameAverage(frames=7, step=(0.0, 4.0), gamma=1)(image)[0, 0, 4, 30:51]
    assert line.min() > 0.8 * line.max()


def test_turning_blurs_the_border_more_than_the_middle():
    rows, columns = torch.arange(81)[:, None], torch.arange(81)
    image = ((rows // 3 + columns // 3) % 2).float()[None, None]
    turned = FrameAverage(frames=9, step=(0.0, 0.0), turn=0.8, gamma=1)(image)
    change = (turned - image).abs()[0, 0]
    assert change[36:45, 36:45].mean() < 0.5 * change[:9].mean()


@pytest.mark.parametrize("size", [1, 3, 11, 41])
def test_shake_kernels_are_blur_kernels(size):
    for seed in range(5):
        kernel = shake_kernel(size, torch.Generator().manual_seed(seed))
        assert kernel.shape == (size, size) and kernel.min() >= 0
        torch.testing.assert_close(kernel.sum(), torch.tensor(1.0))
        middle = torch.arange(size) - (size - 1) / 2
        assert abs((kernel.sum(0) * middle).sum()) < 1e-3 and abs((kernel.sum(1) * middle).sum()) < 1e-3


@pytest.mark.parametrize("size", [0, 4, -3])
def test_kernels_of_even_sizes_are_refused(size):
    with pytest.raises(ValueError, match=f"odd and positive, got {size}"):
        shake_kernel(size, torch.Generator())


def test_a_trajectory_is_a_connected_path_of_even_speed():
    path = shake_trajectory(torch.Generator().manual_seed(1), steps=400)
    assert path.shape == (400, 2)
    torch.testing.assert_close(path.mean(0), torch.zeros(2, dtype=torch.float64), atol=1e-9, rtol=0)
    steps = path.diff(dim=0).norm(dim=1)
    torch.testing.assert_close(steps, steps.mean().expand_as(steps))


def test_without_jerk_inertia_and_impulse_the_path_is_straight():
    path = shake_trajectory(torch.Generator().manual_seed(1), jerk=0, inertia=0, impulse=0)
    assert torch.linalg.svdvals(path)[1] < 1e-9


def test_a_point_shows_the_kernel_unturned():
    degradation = CameraShake(size=15, gamma=1, seed=3)
    image = torch.zeros(1, 1, 31, 31)
    image[..., 15, 15] = 1
    torch.testing.assert_close(degradation(image)[0, 0, 8:23, 8:23], degradation.kernel())


def test_flat_images_stay_flat():
    flat = torch.full((1, 3, 20, 20), 0.37)
    for degradation in (CameraShake(size=11), FrameAverage(frames=5, step=(0.4, 0.9), turn=0.5)):
        torch.testing.assert_close(degradation(flat), flat)


def test_draws_keep_to_the_ranges():
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        assert 7 <= FrameAverage.draw(generator).frames <= 13
        size = CameraShake.draw(generator).size
        assert size % 2 == 1 and 11 <= size <= 41
