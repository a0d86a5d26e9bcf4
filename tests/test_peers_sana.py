"""SANA against diffusers, for the same random weights; skipped without it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from restoralib.archs import sana
from restoralib.archs.sana import QK_NORM, SanaTransformer
from restoralib.blocks import sinusoidal_embedding
from restoralib.diffusion import Flow, denoiser, dpm_solver_2m
from restoralib.latent import flow_dpm_schedule, flow_euler_schedule

diffusers = pytest.importorskip("diffusers")

BASE = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 3,
    "attention_head_dim": 8,
    "num_layers": 2,
    "num_cross_attention_heads": 2,
    "cross_attention_head_dim": 10,
    "cross_attention_dim": 24,
    "caption_channels": 7,
    "sample_size": 8,
}


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"qk_norm": QK_NORM, "num_layers": 3},
        {"interpolation_scale": 2.0},
        {"interpolation_scale": 1.0, "patch_size": 2, "sample_size": 10},
        {"patch_size": 2, "out_channels": 3},
        {"attention_bias": True, "norm_elementwise_affine": True, "mlp_ratio": 3.0},
        {"guidance_embeds": True, "qk_norm": QK_NORM, "dropout": 0.1},
        {"out_channels": None, "norm_eps": 1e-3},
    ],
)
def test_the_transformer_gives_what_diffusers_does(other, monkeypatch):
    # Its sinusoids are float32, also beside float64.
    monkeypatch.setattr(sana, "sinusoidal_embedding", lambda t, *a, **k: sinusoidal_embedding(t.float(), *a, **k).double())
    torch.manual_seed(0)
    reference = diffusers.SanaTransformer2DModel(**BASE | other).eval()
    ours = SanaTransformer(**BASE | other).eval()
    assert [(key, value.shape) for key, value in ours.state_dict().items()] == [
        (key, value.shape) for key, value in reference.state_dict().items()
    ]
    for parameter in reference.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours.load_state_dict(reference.state_dict())
    ours, reference = ours.double(), reference.double()
    x, text, time = torch.randn(2, 4, 6, 8).double(), torch.randn(2, 5, 7).double(), torch.tensor([20.0, 640.0]).double()
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 0, 1, 1]]).double()
    guidance = {"guidance": torch.tensor([4.5, 1.0]).double()} if other.get("guidance_embeds") else {}
    with torch.inference_mode():
        expected = reference(x, text, time, encoder_attention_mask=mask, **guidance)[0]
        result = ours(x, text, time, mask, **guidance)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize(("steps", "shift"), [(1, 3.0), (7, 1.0), (20, 6.0)])
def test_schedules_are_diffusers(steps, shift):
    euler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    euler.set_timesteps(steps)
    torch.testing.assert_close(flow_euler_schedule(steps, shift).float(), euler.sigmas, atol=1e-6, rtol=0)
    multistep = diffusers.DPMSolverMultistepScheduler(flow_shift=shift, use_flow_sigmas=True, prediction_type="flow_prediction")
    multistep.set_timesteps(steps)
    torch.testing.assert_close(flow_dpm_schedule(steps, shift).float(), multistep.sigmas, atol=1e-6, rtol=0)


@pytest.mark.parametrize("steps", [4, 20])
def test_the_multistep_solver_is_diffusers(steps):
    scheduler = diffusers.DPMSolverMultistepScheduler(flow_shift=3.0, use_flow_sigmas=True, prediction_type="flow_prediction")
    scheduler.set_timesteps(steps)
    x = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    expected = x
    for time in scheduler.timesteps:
        index = scheduler.step_index or 0
        expected = scheduler.step(0.3 * expected + scheduler.sigmas[index].double() * x, time, expected).prev_sample
    denoise = denoiser(lambda state, t: 0.3 * state + t.view(-1, 1, 1, 1) * x, Flow(), "velocity")
    torch.testing.assert_close(dpm_solver_2m(denoise, Flow(), x, flow_dpm_schedule(steps)), expected, atol=1e-5, rtol=1e-5)
