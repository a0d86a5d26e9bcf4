"""Runners of SANA's goldens: whole networks as they are, parts through the reference's way of calling them."""

from __future__ import annotations

import torch

from restoralib.archs import SanaTransformer
from restoralib.archs.sana import SanaBlock
from restoralib.blocks import LinearAttention, Rotation, relu_linear_attention
from restoralib.diffusion import Flow, ddim, denoiser, sample
from restoralib.latent import block_causal_linear_attention
from restoralib.latent.schedules import flow_dpm_schedule, flow_euler_schedule, flow_training_levels


class Block(SanaBlock):
    """The reference calls the modulation `timestep` and gives the grid by two numbers."""

    def forward(self, tokens, encoder_hidden_states, timestep, height, width):
        return super().forward(tokens, encoder_hidden_states, timestep, (height, width))[0]


class Attention(LinearAttention):
    def __init__(self, query_dim, heads, dim_head, bias=False, qk_norm=None):
        super().__init__(query_dim, heads, dim_head, bias=bias, qk_norm=qk_norm is not None)

    def forward(self, tokens):
        return super().forward(tokens)[0]


class RotaryAttention(Attention):
    """The reference has the cosines as (b, n, 1, d), each twice."""

    def forward(self, tokens, cos, sin):
        rotation = Rotation(*(each[..., ::2].transpose(1, 2) for each in (cos, sin)))
        return LinearAttention.forward(self, tokens, rotation=rotation)[0]


def block_causal(golden):
    q, k, v, blocks = (golden.tensors[name].double() for name in ("input", "key", "value", "blocks"))
    output, states = block_causal_linear_attention(q, k, v, blocks.long().tolist())
    s, z = (torch.stack(sums) for sums in zip(*states, strict=True))
    return {"output": output, "output_full": relu_linear_attention(q, k, v)[0], "S": s, "Z": z}


def euler(golden):
    config, steps = golden.config, golden.config["num_inference_steps"]
    levels = flow_euler_schedule(steps, config["shift"], train_steps=config["num_train_timesteps"])
    calls = iter(range(1, steps + 1))
    assert golden.metadata["velocity_rule"] == "0.3*x + velocity*(i+1)/n"

    def velocity(x, t):
        return 0.3 * x + golden.tensors["velocity"].double() * next(calls) / steps

    result = sample(denoiser(velocity, Flow(), "velocity"), golden.tensors["input"].double(), levels, ddim(Flow()))
    training = flow_training_levels(config["shift"], train_steps=config["num_train_timesteps"])
    return {"output": levels, "timesteps": 1000 * levels[:-1], "train_sigmas": training, "sample": result}


def dpm(golden):
    config = golden.config
    assert config["use_flow_sigmas"] and config["prediction_type"] == "flow_prediction"
    levels = flow_dpm_schedule(config["num_inference_steps"], config["flow_shift"])
    return {"output": levels, "timesteps": (1000 * levels[:-1]).floor()}


RUNNERS = {
    "SanaTransformer": SanaTransformer,
    "SanaBlock": Block,
    "SanaLinearAttention": Attention,
    "SanaLinearAttentionRoPE": RotaryAttention,
    "block_causal_linear_attention": block_causal,
    "flow_euler_schedule": euler,
    "flow_dpm_schedule": dpm,
}
PUBLISHED = {"sana_1600m_1024": "sana_1600m_1024"}
