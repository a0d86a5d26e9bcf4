"""Networks that are told the degradation: an embedding of it goes into NAFNet, or into IR-SDE's U-Net.

The embedding comes from an encoder of texts or images such as DA-CLIP's (Luo et al., arXiv:2310.01018), or from a learned
`DegradationTable`. What takes it up starts at zero, so that a network with published weights gives at first what it gave
without, bit for bit; training goes on from there. The network inside is `net`, with its own keys.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from restoralib.archs.irsde_unet import ConditionalUNet
from restoralib.archs.nafnet import Baseline, NAFNet, PlainNet
from restoralib.blocks.cross_attention import CrossAttention
from restoralib.blocks.degradation_prompt import DegradationPrompt
from restoralib.blocks.embedding import times_of
from restoralib.blocks.modulation import FeatureModulation


class PromptedNAFNet(nn.Module):
    """NAFNet, or one of its sisters, in which the embedding scales and shifts what every block gives.

    `restore(image, functools.partial(prompted, embedding=table("deblur")))` restores with it.

    Args:
        net: a NAFNet, Baseline, PlainNet or one of the Local classes.
        features: of the embedding.

    Shapes: image (b, c, h, w), embedding (b, features) or (b, n, features), of batch 1 for all images -> (b, c, h, w), any
        height and width.

    Raises:
        TypeError: the network is another.
    """

    def __init__(self, net: NAFNet | Baseline | PlainNet, features: int) -> None:
        super().__init__()
        if not isinstance(net, NAFNet | Baseline | PlainNet):
            raise TypeError(f"expected NAFNet, Baseline or PlainNet, got {type(net).__name__}")
        self.net = net
        stages = [*net.encoders, net.middle_blks, *net.decoders]
        self.modulations = nn.ModuleList(
            nn.ModuleList(FeatureModulation(block.get_parameter("beta").shape[1], features) for block in stage.children())
            for stage in stages
        )
        self.spec = net.spec

    def forward(self, image: Tensor, embedding: Tensor) -> Tensor:
        modulations = iter(self.modulations)

        def call(blocks: nn.Module, x: Tensor) -> Tensor:
            for block, modulation in zip(blocks.children(), next(modulations).children(), strict=True):
                x = modulation(block(x), embedding)
            return x

        return self.net.run(image, call)


class PromptedUNet(nn.Module):
    """IR-SDE's ConditionalUNet with an embedding of the degradation, in one or both of DA-CLIP's ways.

    By modulation, a prompt that the embedding chooses is added to the embedding of the time, which modulates every block. By
    attention, pixels ask the vectors of the embedding behind every linear attention.

    Args:
        net: the network.
        features: of the embedding.
        modulation: whether it takes the first way.
        attention: whether it takes the second.
        heads: of the attention.

    Shapes: as the network, and an embedding (b, features) or (b, n, features), of batch 1 for all images.

    Raises:
        TypeError: the network is another.
        ValueError: neither way is taken.
    """

    def __init__(
        self, net: ConditionalUNet, features: int, *, modulation: bool = True, attention: bool = True, heads: int = 4
    ) -> None:
        super().__init__()
        if not isinstance(net, ConditionalUNet):
            raise TypeError(f"expected ConditionalUNet, got {type(net).__name__}")
        if not (modulation or attention):
            raise ValueError("expected modulation or attention or both, got neither; the network alone is net")
        self.net = net
        sites = [stage[2] for stage in cast("list[nn.ModuleList]", [*net.downs, *net.ups])]
        sites.insert(len(net.downs), net.mid_attn)
        self.prompt = DegradationPrompt(features, cast("nn.Linear", net.time_mlp[-1]).out_features) if modulation else None
        widths = [site.get_parameter("fn.norm.g").shape[1] for site in sites] if attention else []
        self.attentions = nn.ModuleList(CrossAttention(width, features, heads) for width in widths)
        self.spec = net.spec

    def forward(self, image: Tensor, condition: Tensor, time: Tensor | float, embedding: Tensor) -> Tensor:
        attentions = iter(self.attentions)

        def attend(own: nn.Module, x: Tensor) -> Tensor:
            x = own(x)
            return next(attentions)(x, embedding) if self.attentions else x

        t = self.net.time_mlp(times_of(image, time))
        if self.prompt is not None:
            t = t + self.prompt(embedding)
        return self.net.run(image, condition, t, attend)
