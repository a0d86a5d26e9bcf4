"""The three networks of StableSR: super-resolution of real photographs by 4 with Stable Diffusion's prior.

Wang et al., Exploiting Diffusion Prior for Real-World Image Super-Resolution, IJCV 2024, arXiv:2305.07015. Constructor
arguments and keys are the authors'. `StableSRUNet` is one step of a diffusion of latents, Stable Diffusion 2.1's U-Net into
whose residual blocks maps are fed; `StableSRGuidanceEncoder` makes these maps from the latent of the degraded image;
`StableSRAutoencoder` is the KL autoencoder, whose decoder can be fed features of the degraded image.
`restoralib.latent.stablesr` joins them.

The authors' file of the diffusion holds all its parts: `load_model(path, prefix="model.diffusion_model")`,
`prefix="structcond_stage_model"` and `prefix="first_stage_model"` (a plain `KLAutoencoder`) take one each. Latents of any size:
sides that cannot be halved often enough are padded inside by reflection at the right and at the bottom. The autoencoder's
`encode` and `decode` take and give [-1, 1]; the whole network takes and gives [0, 1].
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from restoralib.archs.guided_diffusion import (
    UNetBody,
    UNetLayers,
    adm_layers,
    heads_of,
    level_widths,
    read_body,
)
from restoralib.archs.kl_autoencoder import check_latent, check_sides, check_widths
from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.embedding import TimeEmbedding, times_of
from restoralib.blocks.norm_residual import NormResBlock
from restoralib.blocks.pixel_attention import one_head_attention
from restoralib.blocks.resample import CornerDownsample, HalvingDownsample, NearestUpsample
from restoralib.blocks.rrdb import RRDB
from restoralib.blocks.spatial_transformer import SpatialTransformer
from restoralib.blocks.timed_residual import TimedResBlock
from restoralib.ops.pad import pad_to_multiple


class SPADE(nn.Module):
    """Group norm with learned weight and bias, scaled and shifted at every pixel as a map of the same size says.

    Spatially adaptive normalisation (Park et al., arXiv:1903.07291): norm(x) (1 + gamma) + beta, where gamma and beta are 3x3
    convolutions of a layer of 128 channels on the map.

    Args:
        norm_nc: channels of the features, a multiple of 32.
        label_nc: channels of the map.

    Shapes: (b, norm_nc, h, w) and (b, label_nc, h, w) -> (b, norm_nc, h, w).
    """

    def __init__(self, norm_nc: int, label_nc: int) -> None:
        super().__init__()
        self.param_free_norm = nn.GroupNorm(32, norm_nc)  # so it is called, though it has parameters
        self.mlp_shared = nn.Sequential(nn.Conv2d(label_nc, 128, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(128, norm_nc, 3, padding=1)
        self.mlp_beta = nn.Conv2d(128, norm_nc, 3, padding=1)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        hidden = self.mlp_shared(guidance)
        return self.param_free_norm(x) * (1 + self.mlp_gamma(hidden)) + self.mlp_beta(hidden)


class SPADEResBlock(TimedResBlock):
    """A residual block of the U-Net, whose branch passes through SPADE before it is added.

    Args:
        channels: channels in, a multiple of 32.
        emb_channels: features of the embedding of time.
        dropout: in front of the last convolution.
        semb_channels: channels of the map.
        out_channels: channels out, a multiple of 32; None for `channels`.
        use_scale_shift_norm: the embedding scales and shifts instead of being added.

    Shapes: (b, channels, h, w), (b, emb_channels) and (b, semb_channels, h, w) -> (b, out_channels, h, w).
    """

    def __init__(
        self,
        channels: int,
        emb_channels: int,
        dropout: float,
        semb_channels: int,
        out_channels: int | None = None,
        use_scale_shift_norm: bool = False,
    ) -> None:
        super().__init__(channels, emb_channels, out_channels, dropout, use_scale_shift_norm)
        self.spade = SPADE(out_channels or channels, semb_channels)
        for name in ("out_layers", "skip_connection"):  # behind it, in the order of the authors' keys
            layer = self.get_submodule(name)
            delattr(self, name)
            self.add_module(name, layer)

    def forward(self, x: Tensor, emb: Tensor, guidance: Tensor) -> Tensor:  # type: ignore[override]
        skip, h = self.branches(x, emb)
        return skip + self.spade(h, guidance)


class GuidedSequential(nn.Sequential):
    """Layers one after the other, each of which gets what it takes: time, text or the map of its level.

    Shapes: those of its layers.
    """

    def forward(self, x: Tensor, emb: Tensor, context: Tensor, guidance: Tensor) -> Tensor:  # type: ignore[override]
        for layer in self:
            if isinstance(layer, SPADEResBlock):
                x = layer(x, emb, guidance)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context)
            else:
                x = layer(x)
        return x


class StableSRUNet(UNetBody):
    """The authors' UNetModelDualcondV2: Stable Diffusion 2.1's U-Net with SPADE in all its residual blocks.

    It predicts the noise, or v where it was trained to, of a noisy latent.

    Args:
        image_size: side of the training latents; the network is the same for all.
        in_channels: channels of the latent.
        model_channels: unit of the widths, even.
        out_channels: channels of the result.
        num_res_blocks: residual blocks of each level; the decoder has one more.
        attention_resolutions: factors of halving (1, 2, 4 …), not sides, with transformers. The middle always has one.
        dropout: in the residual blocks.
        channel_mult: width of each level in units of `model_channels`; whole multiples of 32 channels.
        conv_resample: 3x3 convolutions where the size changes; otherwise means and nearest neighbours alone.
        dims: 2, for images.
        use_checkpoint: compute each block again in the backward pass of training, which saves memory for time.
        use_fp16: without effect; call `half()` or use autocast. Norms have float32 statistics in any case.
        num_heads: heads of the transformers, where num_head_channels is -1.
        num_head_channels: width of a head, -1 for `num_heads` heads.
        use_scale_shift_norm: the embedding of time scales and shifts features instead of being added.
        use_spatial_transformer: True; the text has no other way in.
        transformer_depth: blocks of each transformer.
        context_dim: features of the text's vectors.
        legacy: without effect here.
        use_linear_in_transformer: linear layers at the ends of the transformers, as in Stable Diffusion 2, and not 1x1
            convolutions, as in 1.
        semb_channels: channels of the maps.

    Shapes: a noisy latent (b, in_channels, h, w), time (b,), one value or a number, the text's vectors (b, m, context_dim) and
        one map a level, the largest first, as a list or one after the other: (b, semb_channels, h / 2^i, w / 2^i), rounded up
        -> (b, out_channels, h, w), any height and width.

    Raises:
        ValueError: the arguments make no network; in `forward`, times, text or maps do not fit.
    """

    def __init__(
        self,
        image_size: int,
        in_channels: int,
        model_channels: int,
        out_channels: int,
        num_res_blocks: int,
        attention_resolutions: Sequence[int],
        dropout: float = 0.0,
        channel_mult: Sequence[float] = (1, 2, 4, 8),
        conv_resample: bool = True,
        dims: int = 2,
        use_checkpoint: bool = False,
        use_fp16: bool = False,
        num_heads: int = -1,
        num_head_channels: int = -1,
        use_scale_shift_norm: bool = False,
        use_spatial_transformer: bool = True,
        transformer_depth: int = 1,
        context_dim: int = 1024,
        legacy: bool = True,
        use_linear_in_transformer: bool = False,
        semb_channels: int = 256,
    ) -> None:
        super().__init__()
        if dims != 2:
            raise ValueError(f"dims should be 2, for images, got {dims}")
        if not use_spatial_transformer:
            raise ValueError("use_spatial_transformer should be True: the text comes in by transformers alone")
        if min(transformer_depth, context_dim, semb_channels) < 1:
            raise ValueError("transformer_depth, context_dim and semb_channels should be at least 1")
        if num_head_channels == -1 and num_heads < 1:
            raise ValueError("num_heads or num_head_channels should say how the transformers split their channels")
        emb = 4 * model_channels

        def block(channels: int, width: int) -> SPADEResBlock:
            return SPADEResBlock(channels, emb, dropout, semb_channels, width, use_scale_shift_norm)

        def transformer(width: int, decodes: bool) -> SpatialTransformer:
            heads = num_heads if num_head_channels == -1 else heads_of(width, num_head_channels)
            if width % heads:
                raise ValueError(f"{heads} heads do not divide {width} channels")
            return SpatialTransformer(
                width, context_dim, heads, width // heads, transformer_depth, use_linear_in_transformer, dropout
            )

        def halving(width: int) -> nn.Module:
            return HalvingDownsample(width, use_conv=conv_resample)

        def doubling(width: int) -> nn.Module:
            return NearestUpsample(width, use_conv=conv_resample)

        self.time_embed = TimeEmbedding(model_channels, emb)
        self.build(
            UNetLayers(block, transformer, halving, doubling, GuidedSequential),
            in_channels=in_channels,
            model_channels=model_channels,
            out_channels=out_channels,
            num_res_blocks=num_res_blocks,
            attention_resolutions=attention_resolutions,
            channel_mult=channel_mult,
            use_checkpoint=use_checkpoint,
        )
        self.context_dim = context_dim
        self.semb_channels = semb_channels
        self.spec = unet_spec(
            in_channels=in_channels,
            out_channels=out_channels,
            channel_mult=channel_mult,
            context_dim=context_dim,
            semb_channels=semb_channels,
        )

    def forward(self, latent: Tensor, time: Tensor | float, context: Tensor, *guidance: Tensor | Sequence[Tensor]) -> Tensor:
        maps = self._check(latent, context, guidance)
        maps = [pad_to_multiple(each, self.multiple >> level) for level, each in enumerate(maps)]
        return self.run(latent, self.time_embed(times_of(latent, time)), lambda level: (context, maps[level]))

    def _check(self, latent: Tensor, context: Tensor, guidance: Sequence[Tensor | Sequence[Tensor]]) -> list[Tensor]:
        """The maps as a list, all of which fit."""
        maps: list[Tensor] = []
        for given in guidance:
            maps.extend([given] if isinstance(given, Tensor) else given)
        if context.ndim != 3 or context.shape[2] != self.context_dim or context.shape[0] not in (1, latent.shape[0]):
            raise ValueError(f"the text should be ({latent.shape[0]} or 1, m, {self.context_dim}), got {tuple(context.shape)}")
        height, width = latent.shape[-2:]
        expected = [
            (latent.shape[0], self.semb_channels, -(-height // 2**level), -(-width // 2**level)) for level in range(self.levels)
        ]
        if [tuple(each.shape) for each in maps] != expected:
            raise ValueError(
                f"a latent {tuple(latent.shape)} needs the maps of a guidance encoder {expected}, the largest first, "
                f"got {[tuple(each.shape) for each in maps]}"
            )
        return maps


class StableSRGuidanceEncoder(nn.Module):
    """The authors' EncoderUNetModelWT: maps that guide the U-Net, from the latent of the degraded image and the time.

    The encoder half of guided diffusion's U-Net and its middle. What there is before each halving and behind the middle passes
    through one more residual block of its own and is a map. The time is the diffusion's own (0 to 999), also where a sampler
    leaves steps out.

    Args:
        image_size: side of the training latents; the network is the same for all.
        in_channels: channels of the latent.
        model_channels: unit of the widths, even.
        out_channels: channels of the maps.
        num_res_blocks: residual blocks of each level.
        attention_resolutions: factors of halving (1, 2, 4 …), not sides, at which there is attention. The middle always has it.
        dropout, channel_mult, conv_resample, dims, use_checkpoint, use_fp16: as for `GuidedUNet`.
        num_heads, num_head_channels, use_scale_shift_norm, resblock_updown, use_new_attention_order: as for `GuidedUNet`.
        num_heads_upsample: without effect, for there is no decoder.

    Shapes: (b, in_channels, h, w), and time (b,), one value or a number -> list of maps (b, out_channels, h / 2^i, w / 2^i),
        rounded up, the largest first; any height and width.

    Raises:
        ValueError: the arguments make no network; in `forward`, times do not fit.
    """

    def __init__(
        self,
        image_size: int,
        in_channels: int,
        model_channels: int,
        out_channels: int,
        num_res_blocks: int,
        attention_resolutions: Sequence[int],
        dropout: float = 0.0,
        channel_mult: Sequence[float] = (1, 2, 4, 8),
        conv_resample: bool = True,
        dims: int = 2,
        use_checkpoint: bool = False,
        use_fp16: bool = False,
        num_heads: int = 1,
        num_head_channels: int = -1,
        num_heads_upsample: int = -1,
        use_scale_shift_norm: bool = False,
        resblock_updown: bool = False,
        use_new_attention_order: bool = False,
    ) -> None:
        super().__init__()
        if dims != 2:
            raise ValueError(f"dims should be 2, for images, got {dims}")
        if num_res_blocks < 1:
            raise ValueError(f"num_res_blocks should be at least 1, got {num_res_blocks}")
        widths = level_widths(model_channels, channel_mult, num_res_blocks)
        attends = [2**level in attention_resolutions for level in range(len(widths))]
        emb = 4 * model_channels
        layers = adm_layers(
            emb,
            dropout=dropout,
            conv_resample=conv_resample,
            num_heads=num_heads,
            num_head_channels=num_head_channels,
            num_heads_upsample=num_heads_upsample,
            use_scale_shift_norm=use_scale_shift_norm,
            resblock_updown=resblock_updown,
            use_new_attention_order=use_new_attention_order,
        )
        self.time_embed = TimeEmbedding(model_channels, emb)
        self.input_blocks, _ = layers.encoder(in_channels, widths, num_res_blocks, attends)
        self.middle_block = layers.middle(widths[-1])
        self.fea_tran = nn.ModuleList(
            TimedResBlock(width, emb, out_channels, dropout, use_scale_shift_norm) for width in widths
        )
        self.use_checkpoint = use_checkpoint
        self.each = num_res_blocks + 1
        self.multiple = 2 ** (len(widths) - 1)
        self.spec = encoder_spec(in_channels=in_channels, out_channels=out_channels, channel_mult=channel_mult)

    def forward(self, latent: Tensor, time: Tensor | float) -> list[Tensor]:
        height, width = latent.shape[-2:]
        emb: Tensor = self.time_embed(times_of(latent, time))
        x = pad_to_multiple(latent, self.multiple)
        features = []
        for index, block in enumerate(self.input_blocks, 1):
            x = self._step(block, x, emb)
            if index % self.each == 0:
                features.append(x)
        features[-1] = self._step(self.middle_block, x, emb)
        maps = (self._step(block, feature, emb) for block, feature in zip(self.fea_tran, features, strict=True))
        return [each[..., : -(-height // 2**level), : -(-width // 2**level)] for level, each in enumerate(maps)]

    def _step(self, block: nn.Module, x: Tensor, emb: Tensor) -> Tensor:
        if self.use_checkpoint and self.training:
            return checkpoint(block, x, emb, use_reentrant=False)  # type: ignore[no-any-return]
        return block(x, emb)  # type: ignore[no-any-return]


class FeatureWrapping(nn.Module):
    """Controllable feature wrapping: what the decoder lacks of the degraded image, from features of both.

    decoder + w C(cat(encoder, decoder)), where C is a residual block, RRDBs and a residual block.

    Args:
        in_ch: channels of the encoder's and of the decoder's features each; norms have 32 groups.
        out_ch: channels of the result, as many as the decoder's.
        num_block: RRDBs.
        num_grow_ch: their growth.

    Shapes: (b, in_ch, h, w) from the encoder, (b, out_ch, h, w) from the decoder -> (b, out_ch, h, w).
    """

    def __init__(self, in_ch: int, out_ch: int, num_block: int = 1, num_grow_ch: int = 32) -> None:
        super().__init__()
        self.encode_enc_1 = NormResBlock(2 * in_ch, in_ch, shortcut="conv_out")
        self.encode_enc_2 = nn.Sequential(*(RRDB(in_ch, num_grow_ch) for _ in range(num_block)))
        self.encode_enc_3 = NormResBlock(in_ch, out_ch, shortcut="conv_out")

    def forward(self, encoder: Tensor, decoder: Tensor, w: float = 1.0) -> Tensor:
        wrapped = self.encode_enc_1(torch.cat((encoder, decoder), 1))
        return decoder + w * self.encode_enc_3(self.encode_enc_2(wrapped))


class Attention(nn.Module):
    """Attention with one head between all pixels, under latent diffusion's names.

    Shapes: (b, channels, h, w) -> (b, channels, h, w).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return one_head_attention(x, self.norm, self.q, self.k, self.v, self.proj_out)


class Level(nn.Module):
    """Residual blocks, each with attention behind it or none has; what changes the size is put in by its owner.

    Shapes: (b, channels, h, w) -> (b, width, h, w).
    """

    def __init__(self, channels: int, width: int, blocks: int, attends: bool, dropout: float) -> None:
        super().__init__()
        self.block = nn.ModuleList(_block(channels if i == 0 else width, width, dropout) for i in range(blocks))
        self.attn = nn.ModuleList(Attention(width) for _ in range(blocks * attends))

    def forward(self, x: Tensor) -> Tensor:
        for index, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[index](x)
        return x


class Middle(nn.Module):
    """Two residual blocks with attention between them.

    Shapes: (b, channels, h, w) -> (b, channels, h, w).
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.block_1 = _block(channels, channels, dropout)
        self.attn_1 = Attention(channels)
        self.block_2 = _block(channels, channels, dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    """Levels from the widest map to the smallest, then the middle; it also gives what the decoder is fed.

    Shapes: (b, in_channels, h, w) -> (b, out_channels, h / factor, w / factor), and the features (b, c_i, h / 2^i, w / 2^i) of
        all levels but the first and the last.
    """

    def __init__(
        self, in_channels: int, out_channels: int, widths: Sequence[int], blocks: int, attends: Sequence[bool], dropout: float
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            part = Level(widths[max(level - 1, 0)], width, blocks, attends[level], dropout)
            if level < len(widths) - 1:
                part.downsample = CornerDownsample(width)
            self.down.append(part)
        self.mid = Middle(widths[-1], dropout)
        self.norm_out = nn.GroupNorm(32, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)

    def features(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The smallest map in front of the middle, and the features for the decoder."""
        x, features = self.conv_in(image), []
        for level in self.down[:-1]:
            x = level(x)
            features.append(x)
            x = level.get_submodule("downsample")(x)
        return self.down[-1](x), features[1:]

    def forward(self, image: Tensor) -> Tensor:
        x = self.mid(self.features(image)[0])
        return self.conv_out(nn.functional.silu(self.norm_out(x)))


class Decoder(nn.Module):
    """The middle, then levels from the smallest map to the widest, with features of the encoder wrapped in between.

    Shapes: (b, in_channels, h, w) -> (b, out_channels, factor h, factor w).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int],
        blocks: int,
        attends: Sequence[bool],
        dropout: float,
        num_fuse_block: int,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], dropout)
        last = len(widths) - 1
        self.up = nn.ModuleList()
        for level, width in enumerate(widths):
            part = Level(widths[min(level + 1, last)], width, blocks + 1, attends[level], dropout)
            if level:
                part.upsample = NearestUpsample(width)
            self.up.append(part)
        for level in range(last - 1, 0, -1):
            self.add_module(f"fusion_layer_{level}", FeatureWrapping(widths[level], widths[level], num_fuse_block))
        self.norm_out = nn.GroupNorm(32, widths[0], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)

    def forward(self, latent: Tensor, features: Sequence[Tensor] | None = None, w: float = 0.0) -> Tensor:
        x = self.mid(self.conv_in(latent))
        last = len(self.up) - 1
        for level in range(last, -1, -1):
            x = self.up[level](x)
            if features is not None and 0 < level < last:
                x = self.get_submodule(f"fusion_layer_{level}")(features[level - 1], x, w)
            if level:
                x = self.up[level].get_submodule("upsample")(x)
        return self.conv_out(nn.functional.silu(self.norm_out(x)))


class StableSRAutoencoder(nn.Module):
    """The authors' AutoencoderKLResi: the KL autoencoder, whose decoder takes features of the degraded image with a weight.

    The decoded image of weight 0 is that of the plain decoder; more keeps more of the degraded image.

    Args:
        ch: unit of the widths.
        out_ch: channels of the decoded image.
        ch_mult: width of each level in units of `ch`, the largest map first; multiples of 32 channels.
        num_res_blocks: residual blocks of a level of the encoder; the decoder has one more.
        attn_resolutions: sides of the maps, for images of `resolution`, that have attention; the middle always has it.
        dropout: in the residual blocks.
        in_channels: channels of the image.
        resolution: side of the training images; it only gives `attn_resolutions` a meaning.
        z_channels: channels between encoder and decoder, in front of the 1x1 convolutions.
        double_z: True; the encoder tells mean and variance.
        num_fuse_block: RRDBs of a feature wrapping.
        embed_dim: channels of a latent.
        fusion_w: the weight where none is given.
        scaling_factor: what the diffusion multiplies latents by; neither `encode` nor `decode` does.

    Shapes: (b, in_channels, h, w) -> (b, out_ch, h, w), any height and width: the image encoded, and decoded with its features.

    Raises:
        ValueError: the arguments make no network; in `encode` and `decode`, the sides do not fit.
    """

    def __init__(
        self,
        ch: int = 128,
        out_ch: int = 3,
        ch_mult: Sequence[int] = (1, 2, 4, 4),
        num_res_blocks: int = 2,
        attn_resolutions: Sequence[int] = (),
        dropout: float = 0.0,
        in_channels: int = 3,
        resolution: int = 512,
        z_channels: int = 4,
        double_z: bool = True,
        num_fuse_block: int = 2,
        embed_dim: int = 4,
        fusion_w: float = 0.5,
        scaling_factor: float = 0.18215,
    ) -> None:
        super().__init__()
        widths = [ch * factor for factor in ch_mult]
        if len(widths) < 3:
            raise ValueError(f"ch_mult should name at least 3 levels, for those between the ends are wrapped, got {ch_mult}")
        check_widths(widths, 32)
        if not double_z:
            raise ValueError("double_z should be True: latents are drawn from a mean and a variance")
        if min(num_res_blocks, z_channels, embed_dim, in_channels, out_ch) < 1 or num_fuse_block < 0:
            raise ValueError("counts of blocks and of channels should be at least 1, num_fuse_block at least 0")
        attends = [resolution // 2**level in attn_resolutions for level in range(len(widths))]
        self.encoder = Encoder(in_channels, 2 * z_channels, widths, num_res_blocks, attends, dropout)
        self.decoder = Decoder(z_channels, out_ch, widths, num_res_blocks, attends, dropout, num_fuse_block)
        self.quant_conv = nn.Conv2d(2 * z_channels, 2 * embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(embed_dim, z_channels, 1)
        self.factor = 2 ** (len(widths) - 1)
        self.channels = embed_dim
        self.fusion_w = fusion_w
        self.scaling_factor = scaling_factor
        self.spec = autoencoder_spec(in_channels=in_channels, out_ch=out_ch, ch_mult=ch_mult)

    def moments(self, image: Tensor) -> Tensor:
        """Mean and logarithm of the variance of latents, not clamped; as `KLAutoencoder.moments`."""
        check_sides(image, self.factor)
        return self.quant_conv(self.encoder(image))  # type: ignore[no-any-return]

    def encode(self, image: Tensor) -> Tensor:
        """The mean of the latents, (b, embed_dim, h / factor, w / factor), of images in [-1, 1]."""
        return self.moments(image).chunk(2, dim=1)[0]

    def decode(self, latent: Tensor, image: Tensor | None = None, w: float | None = None) -> Tensor:
        """The image in [-1, 1], not clamped, of a latent.

        Args:
            latent: (b, embed_dim, h, w).
            image: the degraded image in [-1, 1], of the size of the result; None for the plain decoder.
            w: weight of its features; None for `fusion_w`.

        Raises:
            ValueError: the latent has other channels, or the image another size.
        """
        check_latent(latent, self.channels)
        w = self.fusion_w if w is None else w
        hidden = self.post_quant_conv(latent)
        if image is None or w == 0:
            return self.decoder(hidden)  # type: ignore[no-any-return]
        expected = tuple(self.factor * side for side in latent.shape[-2:])
        if tuple(image.shape[-2:]) != expected:
            raise ValueError(
                f"a latent {tuple(latent.shape)} goes with a degraded image of {expected[0]}x{expected[1]}, "
                f"got {tuple(image.shape)}"
            )
        return self.decoder(hidden, self.encoder.features(image)[1], w)  # type: ignore[no-any-return]

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        padded = pad_to_multiple(2 * image - 1, self.factor)
        return (self.decode(self.encode(padded), padded)[..., :height, :width] + 1) / 2


def _block(channels: int, width: int, dropout: float) -> NormResBlock:
    return NormResBlock(channels, width, shortcut="nin_shortcut", dropout=dropout)


VARIANTS: dict[str, Variant] = {
    "stablesr_unet": Variant(
        StableSRUNet,
        {
            "image_size": 32,
            "in_channels": 4,
            "model_channels": 320,
            "out_channels": 4,
            "num_res_blocks": 2,
            "attention_resolutions": (1, 2, 4),
            "channel_mult": (1, 2, 4, 4),
            "num_head_channels": 64,
            "use_spatial_transformer": True,
            "transformer_depth": 1,
            "context_dim": 1024,
            "legacy": False,
            "use_linear_in_transformer": True,
            "semb_channels": 256,
        },
    ),
    "stablesr_guidance_encoder": Variant(
        StableSRGuidanceEncoder,
        {
            "image_size": 96,
            "in_channels": 4,
            "model_channels": 256,
            "out_channels": 256,
            "num_res_blocks": 2,
            "attention_resolutions": (1, 2, 4),
            "dropout": 0.0,
            "channel_mult": (1, 1, 2, 2),
            "num_heads": 4,
        },
    ),
    "stablesr_autoencoder": Variant(
        StableSRAutoencoder,
        {
            "ch": 128,
            "out_ch": 3,
            "ch_mult": (1, 2, 4, 4),
            "num_res_blocks": 2,
            "attn_resolutions": (),
            "dropout": 0.0,
            "in_channels": 3,
            "resolution": 512,
            "z_channels": 4,
            "num_fuse_block": 2,
            "embed_dim": 4,
        },
    ),
}

# Arguments that no weight tells.
_UNET_UNRECORDED = (
    *("image_size", "dropout", "use_checkpoint", "use_fp16", "num_heads", "num_head_channels", "legacy"),
    "use_spatial_transformer",
)
_ENCODER_UNRECORDED = (
    *("image_size", "dropout", "conv_resample", "use_checkpoint", "use_fp16"),
    *("num_heads", "num_head_channels", "num_heads_upsample", "use_new_attention_order"),
)
_AUTOENCODER_UNRECORDED = ("dropout", "resolution", "attn_resolutions", "fusion_w", "scaling_factor")


def unet_spec(**config: Any) -> NetSpec:
    """What a caller must know of `StableSRUNet(**config)`."""
    return NetSpec(
        in_channels=config.get("in_channels", 4),
        out_channels=config.get("out_channels", 4),
        multiple=2 ** (len(config.get("channel_mult", (1, 2, 4, 8))) - 1),
        halo=None,
        global_ops=("GroupNorm", "attention"),
        unrecorded=_UNET_UNRECORDED,
        role="denoiser",
        inputs=("image", "time", "text", "maps"),
        text_channels=config.get("context_dim", 1024),
        map_channels=config.get("semb_channels", 256),
    )


def encoder_spec(**config: Any) -> NetSpec:
    """What a caller must know of `StableSRGuidanceEncoder(**config)`."""
    return NetSpec(
        in_channels=config.get("in_channels", 4),
        out_channels=config.get("out_channels", 256),
        multiple=2 ** (len(config.get("channel_mult", (1, 2, 4, 8))) - 1),
        halo=None,
        global_ops=("GroupNorm", "attention"),
        unrecorded=_ENCODER_UNRECORDED,
        role="part",
        inputs=("image", "time"),
    )


def autoencoder_spec(**config: Any) -> NetSpec:
    """What a caller must know of `StableSRAutoencoder(**config)`."""
    return NetSpec(
        in_channels=config.get("in_channels", 3),
        out_channels=config.get("out_ch", 3),
        multiple=2 ** (len(config.get("ch_mult", (1, 2, 4, 4))) - 1),
        halo=None,
        global_ops=("GroupNorm", "attention"),
        unrecorded=_AUTOENCODER_UNRECORDED,
        role="autoencoder",
    )


_RES = r"(?:in_layers\.[02]|emb_layers\.1|out_layers\.[03]|skip_connection)"
_SPADE = r"spade\.(?:param_free_norm|mlp_shared\.0|mlp_gamma|mlp_beta)"
_TRANSFORMER = (
    r"(?:norm|proj_in|proj_out|transformer_blocks\.\d+\.(?:attn[12]\.(?:to_[qkv]|to_out\.0)|ff\.net\.(?:0\.proj|2)|norm[123]))"
)
_BLOCKS = r"(?:(?:input_blocks|output_blocks)\.\d+|middle_block)\.\d\."
_UNET_KEY = re.compile(
    rf"(?:time_embed\.[02]|{_BLOCKS}(?:(?:{_RES}|{_SPADE}|{_TRANSFORMER}|conv|op)\.)?|out\.[02])\.?(?:weight|bias)"
)
_ENCODER_KEY = re.compile(
    rf"(?:time_embed\.[02]\.|(?:input_blocks\.\d+|middle_block)\.\d\.(?:(?:{_RES}|norm|qkv|proj_out|op)\.)?"
    rf"|fea_tran\.\d\.{_RES}\.)(?:weight|bias)"
)
_CODER_BLOCK = r"(?:norm[12]|conv[12]|nin_shortcut)"
_CODER_ATTENTION = r"(?:norm|q|k|v|proj_out)"
_FUSION = r"encode_enc_[13]\.(?:norm[12]|conv[12]|conv_out)|encode_enc_2\.\d+\.rdb[123]\.conv[1-5]"
_LEVEL = rf"(?:block\.\d+\.{_CODER_BLOCK}|attn\.\d+\.{_CODER_ATTENTION})"
_AUTOENCODER_KEY = re.compile(
    rf"(?:encoder\.down\.\d+\.(?:{_LEVEL}|downsample\.conv)|decoder\.up\.\d+\.(?:{_LEVEL}|upsample\.conv)"
    rf"|decoder\.fusion_layer_\d+\.(?:{_FUSION})"
    rf"|(?:encoder|decoder)\.(?:conv_in|conv_out|norm_out|mid\.block_[12]\.{_CODER_BLOCK}|mid\.attn_1\.{_CODER_ATTENTION})"
    r"|(?:post_)?quant_conv)\.(?:weight|bias)"
)


def infer_config(state_dict: StateDict) -> Inferred | None:
    """All but the heads, which follow the published networks."""
    if not state_dict:
        return None
    for key, read in ((_UNET_KEY, _read_unet), (_ENCODER_KEY, _read_encoder), (_AUTOENCODER_KEY, _read_autoencoder)):
        if all(key.fullmatch(name) for name in state_dict):
            told = read(state_dict)
            if told is not None:
                return told
    return None


def _read_unet(state_dict: StateDict) -> Inferred | None:
    body = read_body(state_dict, "time_embed")
    first = "middle_block.1.transformer_blocks.0.attn2.to_k.weight"
    maps, projection = "middle_block.0.spade.mlp_shared.0.weight", "middle_block.1.proj_in.weight"
    if body is None or not {first, maps, projection} <= state_dict.keys():
        return None
    body = {key: value for key, value in body.items() if key != "resblock_updown"}
    if state_dict[first].ndim != 2 or state_dict[maps].ndim != 4 or not state_dict[first].shape[0]:
        return None
    layers = body | {
        "transformer_depth": _count(state_dict, r"middle_block\.1\.transformer_blocks\.(\d+)\."),
        "context_dim": state_dict[first].shape[1],
        "semb_channels": state_dict[maps].shape[1],
        "use_linear_in_transformer": state_dict[projection].ndim == 2,
    }
    config = {"image_size": 32, **layers}
    if _published("stablesr_unet", layers):
        return Inferred(StableSRUNet, config | {"num_head_channels": 64})
    if any(len(value) % 64 for key, value in state_dict.items() if key.endswith(".attn1.to_q.weight") and value.ndim == 2):
        return Inferred(StableSRUNet, config, missing=("num_head_channels",))
    assumed = {"num_head_channels": "as in Stable Diffusion 2; num_heads counts beside num_head_channels=-1"}
    return Inferred(StableSRUNet, config | {"num_head_channels": 64}, assumed)


def _read_encoder(state_dict: StateDict) -> Inferred | None:
    levels = _count(state_dict, r"fea_tran\.(\d+)\.")
    count = max((int(key.split(".")[1]) for key in state_dict if key.startswith("input_blocks.")), default=-1) + 1
    if not levels or count % levels or count < 2 * levels:
        return None
    each = count // levels
    try:
        channels = state_dict["time_embed.0.weight"].shape[1]
        modulation = state_dict["fea_tran.0.emb_layers.1.weight"].shape[0]
        out_channels = state_dict["fea_tran.0.out_layers.3.weight"].shape[0]
        in_channels = state_dict["input_blocks.0.0.weight"].shape[1]
        widths = [state_dict[f"fea_tran.{level}.in_layers.0.weight"].shape[0] for level in range(levels)]
    except (KeyError, IndexError):
        return None
    if not channels or any(width % channels for width in widths):
        return None
    layers = {
        "in_channels": in_channels,
        "model_channels": channels,
        "out_channels": out_channels,
        "num_res_blocks": each - 1,
        "attention_resolutions": tuple(
            2**level for level in range(levels) if f"input_blocks.{level * each + 1}.1.norm.weight" in state_dict
        ),
        "channel_mult": tuple(width // channels for width in widths),
        "conv_resample": levels == 1 or f"input_blocks.{each}.0.op.weight" in state_dict,
        "use_scale_shift_norm": modulation == 2 * out_channels,
        "resblock_updown": levels > 1 and f"input_blocks.{each}.0.in_layers.0.weight" in state_dict,
    }
    config = {"image_size": 96, **layers}
    if _published("stablesr_guidance_encoder", layers):
        return Inferred(StableSRGuidanceEncoder, config | {"num_heads": 4})
    return Inferred(StableSRGuidanceEncoder, config, missing=("num_heads",))


def _published(name: str, layers: Mapping[str, Any]) -> bool:
    """Whether these are the layers of a published network."""
    published = VARIANTS[name].config
    return all(published[key] == value for key, value in layers.items() if key in published)


def _read_autoencoder(state_dict: StateDict) -> Inferred | None:
    levels = _count(state_dict, r"encoder\.down\.(\d+)\.")
    if "decoder.fusion_layer_1.encode_enc_1.conv1.weight" not in state_dict:
        return None
    try:
        ch, in_channels = state_dict["encoder.conv_in.weight"].shape[:2]
        out_ch = state_dict["decoder.conv_out.weight"].shape[0]
        z_channels = state_dict["decoder.conv_in.weight"].shape[1]
        embed_dim = state_dict["post_quant_conv.weight"].shape[1]
        widths = [state_dict[f"encoder.down.{level}.block.0.conv1.weight"].shape[0] for level in range(levels)]
    except (KeyError, IndexError, ValueError):
        return None
    if not ch or any(width % ch for width in widths):
        return None
    resolution = 512
    config = {
        "ch": ch,
        "out_ch": out_ch,
        "ch_mult": tuple(width // ch for width in widths),
        "num_res_blocks": _count(state_dict, r"encoder\.down\.0\.block\.(\d+)\."),
        "attn_resolutions": tuple(
            resolution // 2**level for level in range(levels) if f"encoder.down.{level}.attn.0.q.weight" in state_dict
        ),
        "in_channels": in_channels,
        "resolution": resolution,
        "z_channels": z_channels,
        "num_fuse_block": _count(state_dict, r"decoder\.fusion_layer_1\.encode_enc_2\.(\d+)\."),
        "embed_dim": embed_dim,
    }
    return Inferred(StableSRAutoencoder, config)


def _count(state_dict: StateDict, pattern: str) -> int:
    """How many different numbers stand in the keys that begin like a pattern."""
    return len({found[1] for key in state_dict if (found := re.match(pattern, key))})
