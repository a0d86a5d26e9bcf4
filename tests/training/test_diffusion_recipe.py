"""The recipe of the prior starts from a denoiser, learns high noise, and its network serves every process."""

import pytest
import torch
from torch import nn

from restoralib import load_model
from restoralib.archs import ConditionalNAFNet, NAFNet
from restoralib.diffusion import DDPM, EDM, IRSDE
from restoralib.diffusion.known_level import level_denoiser, remove_noise
from restoralib.metrics import psnr
from restoralib.ops import cosine_thetas, linear_betas
from restoralib.training import diffusion

SMALL = {"width": 8, "middle_blk_num": 1, "enc_blk_nums": (1, 1), "dec_blk_nums": (1, 1)}


def with_random_parameters(net):
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        parameter.data = parameter + 0.1 * torch.randn(parameter.shape, generator=generator)
    return net.eval().requires_grad_(False)


@pytest.mark.parametrize("size", [(16, 20), (13, 7)])
def test_it_starts_as_the_nafnet_whose_weights_it_takes(size):
    torch.manual_seed(0)
    nafnet, net = with_random_parameters(NAFNet(**SMALL)), ConditionalNAFNet(**SMALL)
    net.load_state_dict(diffusion.from_nafnet(nafnet.state_dict(), net))
    noisy = torch.rand(2, 3, *size) * 2 - 1
    expected = 2 * nafnet((noisy + 1) / 2) - 1
    with torch.inference_mode():
        found = remove_noise(net, noisy, torch.tensor([1e-4, 1e-3]))
    assert torch.allclose(found, expected, atol=1e-4)


def test_weights_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"of the weights to start from does not fit; they should be those of a NAFNet"):
        diffusion.from_nafnet(NAFNet(**(SMALL | {"width": 16})).state_dict(), ConditionalNAFNet(**SMALL))


def test_levels_are_even_on_a_logarithmic_scale():
    levels = diffusion.draw_levels(20_000, torch.Generator().manual_seed(0))
    low, high = diffusion.LEVELS
    assert low <= levels.min() and levels.max() <= high
    assert (levels < (low * high) ** 0.5).float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_one_network_serves_processes_of_any_scale():
    net = with_random_parameters(ConditionalNAFNet(**SMALL))
    noisy, ddpm, t = torch.randn(2, 3, 12, 12), DDPM(linear_betas(1000)), torch.tensor([100, 400])
    a, _, s = ddpm.coefficients(t)
    expected = level_denoiser(net, EDM())(noisy, s / a).x0
    found = level_denoiser(net, ddpm)(a.float()[:, None, None, None] * noisy, t).x0
    assert torch.allclose(found, expected, atol=1e-4)
    assert level_denoiser(net, ddpm, clip=(-0.5, 0.5))(noisy, torch.tensor(300)).x0.abs().max() == 0.5


def test_a_process_towards_a_degraded_image_is_refused():
    with pytest.raises(ValueError, match="IRSDE goes to a degraded image, which this network does not know"):
        level_denoiser(ConditionalNAFNet(**SMALL), IRSDE(cosine_thetas(100), lam=10 / 255))


def test_the_recipe_improves_on_its_start_at_high_noise(tmp_path, monkeypatch):
    from PIL import Image
    from safetensors.torch import save_file

    monkeypatch.setattr(diffusion, "CONFIG", SMALL)
    generator = torch.Generator().manual_seed(0)
    for number in range(6):
        picture = nn.functional.interpolate(torch.rand(1, 3, 4, 4, generator=generator), (48, 48), mode="bicubic").clamp(0, 1)
        Image.fromarray((picture[0] * 255).byte().permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
    torch.manual_seed(0)
    start = NAFNet(**SMALL)
    save_file(start.state_dict(), tmp_path / "start.safetensors")
    out = tmp_path / "prior.safetensors"
    arguments = ["--out", out, "--init", tmp_path / "start.safetensors", "--steps", 100, "--batch", 4, "--patch", 16]
    diffusion.main([str(tmp_path), *map(str, arguments), "--every", "100", "--device", "cpu", "--rate", "2e-2"])
    net = load_model(out)
    assert isinstance(net, ConditionalNAFNet)
    clean = picture * 2 - 1
    noisy = clean + torch.randn(clean.shape, generator=generator)
    with torch.inference_mode():
        restored = remove_noise(net, noisy, torch.tensor([1.0]))
    assert psnr(restored, clean, data_range=2) > psnr(noisy, clean, data_range=2) + 1.5
