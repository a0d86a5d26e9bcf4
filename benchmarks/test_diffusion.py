"""What a step of each sampler and method costs beyond the network, against a call of NAFNet-width32 at 256x256 in the same run.

The network here does nothing, so that all the time is the sampler's own: steps, noise, conversions, the operator. Times are
those of one core's work, which other programs disturb least.
"""

import time

import pytest
import torch

from restoralib import create_model
from restoralib.diffusion import (
    DDPM,
    EDM,
    GOUB,
    I2SB,
    IRSDE,
    METHODS,
    DiffusionModel,
    DiffusionRestorer,
    Flow,
    ResShift,
    inpainting,
    resshift_etas,
)
from restoralib.ops.schedules import cosine_thetas, linear_betas, mirrored_betas

SIDE, STEPS = 256, 10
SAMPLED = {
    "irsde": (IRSDE(cosine_thetas(100), 10 / 255), ("posterior", "sde", "ode", "ddim")),
    "goub": (GOUB(cosine_thetas(100), 30 / 255), ("sde", "mean-ode")),
    "i2sb": (I2SB(mirrored_betas(1000, 1e-4, 0.3 / 1000)), ("posterior", "ode")),
    "resshift": (ResShift(resshift_etas()), ("posterior",)),
    "ddpm": (DDPM(linear_betas(1000)), ("posterior", "ddim", "dpm++")),
    "edm": (EDM(), ("heun", "ode")),
    "flow": (Flow(), ("heun", "ode")),
}
CASES = [(family, name) for family, (_, names) in SAMPLED.items() for name in names]


def nothing(x, *others):
    return x


def shortest(call, rounds=5):
    """The least of a few times: what disturbs only adds."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return min(times)


@pytest.fixture(scope="module", autouse=True)
def one_core():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def network_seconds(one_core):
    net = create_model("nafnet_sidd_width32").eval().to(memory_format=torch.channels_last)
    image = torch.rand(1, 3, SIDE, SIDE).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        net(image)
        return shortest(lambda: net(image))


def tell(name, restorer, image, network_seconds, record_property, capsys):
    restorer(image, noise=torch.Generator().manual_seed(0))
    seconds = shortest(lambda: restorer(image, noise=torch.Generator().manual_seed(0))) / restorer.calls()
    share = seconds / network_seconds
    record_property("milliseconds a network call", 1000 * seconds)
    record_property("of NAFNet-width32", share)
    with capsys.disabled():
        print(f"\n{name}: {1000 * seconds:.2f} ms a call, {share:.2%} of NAFNet-width32's {1000 * network_seconds:.0f} ms")


@pytest.mark.parametrize(("family", "sampler"), CASES)
def test_a_sampler_beside_its_network(family, sampler, network_seconds, record_property, capsys):
    model = DiffusionModel(nothing, SAMPLED[family][0], "x0", "argument", low=0.0, high=1.0, clip=False)
    restorer = DiffusionRestorer(model, sampler, steps=STEPS)
    tell(f"{family} {sampler}", restorer, torch.rand(1, 3, SIDE, SIDE), network_seconds, record_property, capsys)


@pytest.mark.parametrize("guidance", METHODS)
def test_a_method_beside_its_network(guidance, network_seconds, record_property, capsys):
    """With what the methods are for: holes for RePaint, which 10 steps walk once, and bicubic x4 for the others."""
    holes = guidance == "repaint"
    operator = inpainting((torch.rand(SIDE, SIDE) > 0.5).float()) if holes else "sr4"
    model, sigma = DiffusionModel(nothing, SAMPLED["ddpm"][0], "x0"), 0.0 if guidance == "ddnm" else 0.05
    restorer = DiffusionRestorer(model, steps=STEPS, guidance=guidance, operator=operator, sigma=sigma)
    side = SIDE if holes else SIDE // 4
    with torch.inference_mode(False), torch.no_grad():
        tell(guidance, restorer, torch.rand(1, 3, side, side), network_seconds, record_property, capsys)
