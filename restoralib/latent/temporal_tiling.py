"""Temporal tiling: a large latent as a sequence of tiles through SANA's transformer, whose attention carries its sums along.

What a query of linear attention sees of all tokens are two sums of constant size (`restoralib.blocks.linear_attention`). With
tiles B_0, B_1, ... in order, per layer and head,

    S_t = S_{t-1} + sum_{j in B_t} w_j phi(k_j)^T v_j      Z_t = Z_{t-1} + sum_{j in B_t} w_j phi(k_j)
    o_i = phi(q_i) S_t / (phi(q_i) Z_t + eps)   for i in B_t

so that a tile sees all of itself and all tiles before it (`block_causal`), in memory that does not grow with their number; or
every tile first adds its keys and then all read the total (`two_pass`), which is the untiled network to rounding and holds all
tokens. w are weights that sum to one over the tiles which share a token. The other thing in the network that looks beyond a
token is the 3x3 convolution of the Mix-FFN, for which tiles are given their neighbours' pixels.

The sums belong to one network, one noise level and one text. They are arguments and results here (`SequenceState`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from restoralib.blocks.embedding import times_of
from restoralib.blocks.glumb_conv import Border
from restoralib.blocks.linear_attention import LinearState, relu_linear_attention
from restoralib.blocks.rotary import Rotation
from restoralib.diffusion.denoiser import Denoiser, denoiser
from restoralib.diffusion.flow import Flow
from restoralib.diffusion.noise import Noise, noise_source
from restoralib.diffusion.sampling import Step, descending, sample
from restoralib.latent.tile_plan import Order, Tile, TilePlan, plan_latent, tile_rotation
from restoralib.ops.precision import at_least_float32
from restoralib.ops.tile import Span, blend_weights


def block_causal_linear_attention(
    q: Tensor, k: Tensor, v: Tensor, blocks: Sequence[int], state: LinearState | None = None
) -> tuple[Tensor, list[LinearState]]:
    """Linear attention in which each token sees its own block and those before it.

    The same as the matrix phi(q) phi(k)^T with zeros where a key's block comes after the query's.

    Args:
        q: queries before ReLU, (..., heads, n, d).
        k: keys before ReLU, (..., heads, n, d).
        v: values, (..., heads, n, e).
        blocks: how many tokens each block has; their sum is n.
        state: the sums over blocks before these.

    Returns:
        The output (..., heads, n, e), and the sums after each block.

    Raises:
        ValueError: the blocks do not add up to the tokens.
    """
    if sum(blocks) != q.shape[-2] or min(blocks, default=0) < 1:
        raise ValueError(f"expected blocks of one token or more, {q.shape[-2]} in all, got {list(blocks)}")
    outputs, states = [], []
    parts = (torch.split(x, list(blocks), -2) for x in (q, k, v))
    for q_part, k_part, v_part in zip(*parts, strict=True):
        output, state = relu_linear_attention(q_part, k_part, v_part, state)
        outputs.append(output)
        states.append(state)
    return torch.cat(outputs, -2), states


@dataclass(frozen=True)
class SequenceState:
    """The sums over all tiles so far, of all layers, at one noise level.

    Args:
        layers: S and Z of each layer, float32 or better.
        time: the network's times at which they were summed, (1,) or (b,).
    """

    layers: list[LinearState]
    time: Tensor

    def numel(self) -> int:
        """How many values it holds for one picture of the batch."""
        return sum(part.numel() // part.shape[0] for layer in self.layers for part in layer)


class Frontier:
    """What later tiles of a plan see of earlier ones through the 3x3 convolutions: one row and one column of tokens a layer.

    It holds a row of tokens along the whole width for each layer, and so grows with the width of the picture and not with its
    area. Where tiles overlap, a row is blended over them by the weights of the plan; the pixels beside a tile are those of the
    tile before it in its row.

    Args:
        plan: in tokens.
    """

    def __init__(self, plan: TilePlan) -> None:
        self._plan = plan
        self._weights = blend_weights(plan.columns, dtype=torch.float64, ramp="linear")
        self._rows: dict[tuple[int, int, int], Tensor] = {}
        self._beside: dict[int, Tensor] = {}

    def border(self, layer: int, tile: Tile) -> Border:
        """What a tile sees of the tiles before it."""
        backwards = self._plan.backwards(tile.row)
        first = tile.column == (len(self._plan.columns) - 1 if backwards else 0)
        beside = None if first else self._beside[layer]
        corners = (tile.columns[0] > 0, tile.columns[1] < self._plan.size[1])
        top = self._row_above(layer, tile, corners) if tile.row else None
        return Border(top, None if backwards else beside, None, beside if backwards else None, corners)

    def keep(self, layer: int, tile: Tile, maps: Tensor) -> None:
        """Keep of a tile, (b, d, h, w), what later ones need, and drop what none needs any more."""
        plan, backwards = self._plan, self._plan.backwards(tile.row)
        after = tile.column + (-1 if backwards else 1)
        if 0 <= after < len(plan.columns):
            column = plan.columns[after][1] if backwards else plan.columns[after][0] - 1
            column -= tile.columns[0]
            self._beside[layer] = maps[..., column : column + 1].clone()
        else:
            self._beside.pop(layer, None)
        if tile.row + 1 < len(plan.rows):
            row = plan.rows[tile.row + 1][0] - 1 - tile.rows[0]
            self._rows[layer, tile.row, tile.column] = maps[..., row : row + 1, :].clone()
        for column, (start, stop) in enumerate(plan.columns):
            if 0 <= after < len(plan.columns):
                left, right = plan.columns[after]
                needed = start <= right if backwards else stop >= left
            else:
                needed = False
            if not needed:
                self._rows.pop((layer, tile.row - 1, column), None)

    def _row_above(self, layer: int, tile: Tile, corners: tuple[bool, bool]) -> Tensor:
        left, right = tile.columns[0] - corners[0], tile.columns[1] + corners[1]
        row: Tensor | None = None
        for column, (start, stop) in enumerate(self._plan.columns):
            begin, end = max(start, left), min(stop, right)
            if begin >= end:
                continue
            kept = self._rows[layer, tile.row - 1, column][..., begin - start : end - start]
            if row is None:
                row = kept.new_zeros(*kept.shape[:-1], right - left)
            weight = self._weights[column][begin - start : end - start].to(kept)
            row[..., begin - left : end - left] += weight * kept
        assert row is not None
        return row


def block_causal(
    net: nn.Module,
    x: Tensor,
    t: Tensor | float,
    text: Tensor,
    tiles: TilePlan,
    state: SequenceState | None = None,
    *,
    mask: Tensor | None = None,
    condition: Tensor | None = None,
    guidance: Tensor | float | None = None,
    border: bool = True,
    rotary: bool = False,
) -> tuple[Tensor, SequenceState]:
    """One evaluation of the network on a latent, tile after tile, each seeing itself and the tiles before it.

    For tiles that do not overlap, this is the network in which a token's attention and its 3x3 convolutions see only tokens of
    its own tile and of those before it. Of the whole latent only x and the result are held; the tokens are one tile's.

    Args:
        net: a SanaTransformer or SanaDenoiser.
        x: noisy latents, (b, c, h, w).
        t: the network's time, 1000 sigma: a number, or (1,) or (b,).
        text: vectors of the text, (b or 1, m, d).
        tiles: the plan for x, in samples of the latent.
        state: sums over tiles before these; None for none.
        mask: which vectors of the text count, (b or 1, m).
        condition: the degraded latents for a SanaDenoiser, like x.
        guidance: scale of guidance, for networks that are told it.
        border: False to give the convolutions zeros beyond each tile, and hold no rows of tokens.
        rotary: tell the attention where tokens lie, by `tile_rotation`; for networks that were trained so.

    Returns:
        The network's output (b, c, h, w), blended along straight lines where tiles overlap, and the sums with all tiles in
        them.

    Raises:
        ValueError: plan, condition or state do not fit x or the network, or the state is of another noise level.
    """
    run = _Evaluation(net, x, t, text, tiles, mask, condition, guidance)
    layers: Sequence[LinearState | None] = run.layers_of(state)
    frontier = Frontier(run.plan) if border else None
    out: Tensor | None = None
    for tile, weight, key_weight in zip(tiles, tiles.weights(run.x), run.key_weights(), strict=True):
        said, layers = run.tile(tile, layers, key_weight, frontier, rotary=rotary)
        out = x.new_zeros(x.shape[0], said.shape[1], *x.shape[2:]) if out is None else out
        out[tile.place] += weight * said
    assert out is not None
    return out, SequenceState([layer for layer in layers if layer is not None], run.time)


def two_pass(
    net: nn.Module,
    x: Tensor,
    t: Tensor | float,
    text: Tensor,
    tiles: TilePlan,
    *,
    mask: Tensor | None = None,
    condition: Tensor | None = None,
    guidance: Tensor | float | None = None,
    halo: int | None = None,
) -> Tensor:
    """One evaluation of the network on a latent in tiles that is the untiled one, to rounding.

    All tiles go through a layer before any goes through the next: first each adds its keys to the sums, then each reads the
    total. The tokens of the whole latent are held, twice over, so memory grows with the latent; the wide hidden features of a
    layer are one tile's.

    The convolutions need the neighbours of a tile. Without `halo`, tiles are given one token of their neighbours at every
    layer, which all are held anyway; that costs next to nothing. With `halo`, tiles are computed that much larger, as on
    devices that exchange nothing but the sums; tokens of a halo read the sums and are left out of them. The result is the
    untiled one where the halo is at least the number of layers, for each convolution lets the border's error in by one token.

    Args:
        net: a SanaTransformer or SanaDenoiser.
        x: noisy latents, (b, c, h, w).
        t: the network's time, 1000 sigma: a number, or (1,) or (b,).
        text: vectors of the text, (b or 1, m, d).
        tiles: the plan for x, in samples of the latent; tiles that overlap are cut to their cores.
        mask: which vectors of the text count, (b or 1, m).
        condition: the degraded latents for a SanaDenoiser, like x.
        guidance: scale of guidance, for networks that are told it.
        halo: tokens by which each tile is enlarged; None to exchange one token a layer instead.

    Raises:
        ValueError: plan or condition do not fit x or the network, or the halo is negative.
    """
    if halo is not None and halo < 0:
        raise ValueError(f"halo should be None or at least 0, got {halo}")
    run = _Evaluation(net, x, t, text, tiles.core(patch_of(net)), mask, condition, guidance)
    return _exchanging(run) if halo is None else _with_halo(run, halo)


def temporal_denoiser(
    net: nn.Module,
    text: Tensor,
    tile: int | tuple[int, int],
    overlap: int = 0,
    *,
    mask: Tensor | None = None,
    condition: Tensor | None = None,
    guidance: Tensor | float | None = None,
    order: Order = "raster",
    border: bool = True,
    rotary: bool = False,
) -> Denoiser:
    """A denoiser of `Flow` for the samplers that shows a network of velocities one tile after the other, by `block_causal`.

    All tiles make a step before any makes the next, and the sums begin at zero in every step: there is nothing to carry
    from step to step.

    Args:
        net: a SanaTransformer or SanaDenoiser.
        text: vectors of the text, (b or 1, m, d).
        tile: side, or (height, width), of a tile in samples of the latent.
        overlap: samples that neighbours share at least.
        mask: which vectors of the text count, (b or 1, m).
        condition: the degraded latents for a SanaDenoiser.
        guidance: scale of guidance, for networks that are told it.
        order: see `TilePlan`.
        border: see `block_causal`.
        rotary: see `block_causal`.

    Raises:
        ValueError: when called, as `plan_latent` and `block_causal`.
    """

    def velocity(x: Tensor, time: Tensor) -> Tensor:
        plan = _plan_for(net, x, tile, overlap, order)
        return block_causal(
            net, x, time, text, plan, mask=mask, condition=condition, guidance=guidance, border=border, rotary=rotary
        )[0]

    return denoiser(velocity, Flow(), "velocity", time=network_time)


def exact_denoiser(
    net: nn.Module,
    text: Tensor,
    tile: int | tuple[int, int],
    *,
    mask: Tensor | None = None,
    condition: Tensor | None = None,
    guidance: Tensor | float | None = None,
    halo: int | None = None,
) -> Denoiser:
    """A denoiser of `Flow` for the samplers that is the untiled network to rounding, by `two_pass`.

    Args:
        net: a SanaTransformer or SanaDenoiser.
        text: vectors of the text, (b or 1, m, d).
        tile: side, or (height, width), of a tile in samples of the latent.
        mask: which vectors of the text count, (b or 1, m).
        condition: the degraded latents for a SanaDenoiser.
        guidance: scale of guidance, for networks that are told it.
        halo: see `two_pass`.

    Raises:
        ValueError: when called, as `plan_latent` and `two_pass`.
    """

    def velocity(x: Tensor, time: Tensor) -> Tensor:
        return two_pass(
            net, x, time, text, _plan_for(net, x, tile), mask=mask, condition=condition, guidance=guidance, halo=halo
        )

    return denoiser(velocity, Flow(), "velocity", time=network_time)


def sample_tile_by_tile(
    net: nn.Module,
    x: Tensor,
    text: Tensor,
    tiles: TilePlan,
    times: Tensor | Iterable[float],
    step: Step,
    *,
    mask: Tensor | None = None,
    condition: Tensor | None = None,
    guidance: Tensor | float | None = None,
    border: bool = True,
    rotary: bool = False,
    noise: Noise | torch.Generator | Iterable[Tensor] | None = None,
) -> Tensor:
    """Sample a latent by finishing each tile before the next begins.

    A tile sees the tiles before it as they were at the same noise level, for which the sums of every step are kept. Where tiles
    do not overlap and the step draws nothing, the result is that of `temporal_denoiser` in the same sampler. The first tiles
    are there early, for the price of a state (and a row of tokens) for each step.

    Args:
        net: a SanaTransformer or SanaDenoiser.
        x: the state at the first time, (b, c, h, w).
        text: vectors of the text, (b or 1, m, d).
        tiles: the plan for x, in samples of the latent.
        times: as for `sample`, noise levels of `Flow`.
        step: makes one step.
        mask: which vectors of the text count, (b or 1, m).
        condition: the degraded latents for a SanaDenoiser, like x.
        guidance: scale of guidance, for networks that are told it.
        border: see `block_causal`.
        rotary: see `block_causal`.
        noise: as for `sample`; drawn tile by tile.

    Returns:
        The state at the last time, tiles blended along straight lines.

    Raises:
        ValueError: as `sample` and `block_causal`.
    """
    draw, levels = noise_source(noise), descending(times)
    passes: list[_Pass] = []  # one for each call of the network that a tile makes
    out = torch.zeros_like(x)
    for index, (tile, weight) in enumerate(zip(tiles, tiles.weights(x), strict=True)):
        calls = count()

        def velocity(part: Tensor, time: Tensor, index: int = index, tile: Tile = tile, calls: count[int] = calls) -> Tensor:
            call = next(calls)
            if index == 0:
                run = _Evaluation(net, x, time, text, tiles, mask, condition, guidance)
                passes.append(_Pass(run, run.key_weights(), Frontier(run.plan) if border else None))
            this = passes[call]
            layers = this.run.layers_of(this.state)
            said, sums = this.run.tile(tile, layers, this.weights[index], this.frontier, part, rotary=rotary)
            this.state = SequenceState(sums, times_of(part, time))
            return said

        denoise = denoiser(velocity, Flow(), "velocity", time=network_time)
        out[tile.place] += weight * sample(denoise, x[tile.place], levels, step, noise=draw)
    return out


def network_time(sigma: Tensor) -> Tensor:
    """What SANA's transformer is told of a noise level: 1000 sigma."""
    return 1000 * sigma


def patch_of(net: nn.Module) -> int:
    """Samples of the latent along a token of a SANA.

    Raises:
        TypeError: the network is none.
    """
    patch: Any = getattr(net, "patch_size", None)
    if not isinstance(patch, int) or not hasattr(net, "transformer_blocks"):
        raise TypeError(f"expected a SanaTransformer or SanaDenoiser, got {type(net).__name__}")
    return patch


def _plan_for(net: nn.Module, x: Tensor, tile: int | tuple[int, int], overlap: int = 0, order: Order = "raster") -> TilePlan:
    return plan_latent(x.shape[-2], x.shape[-1], tile, overlap, order=order, multiple=patch_of(net))


@dataclass
class _Pass:
    """One evaluation of which the tiles come at different times."""

    run: _Evaluation
    weights: list[Tensor | None]
    frontier: Frontier | None
    state: SequenceState | None = None


class _Evaluation:
    """What one evaluation of a network on a latent needs: arguments that were checked, text and time embedded once."""

    def __init__(
        self,
        net: Any,
        x: Tensor,
        t: Tensor | float,
        text: Tensor,
        tiles: TilePlan,
        mask: Tensor | None,
        condition: Tensor | None,
        guidance: Tensor | float | None,
    ) -> None:
        patch = patch_of(net)
        if x.ndim != 4 or tuple(x.shape[-2:]) != tiles.size:
            raise ValueError(f"the tiles are those of a latent of {tiles.size[0]}x{tiles.size[1]}, got {tuple(x.shape)}")
        if condition is not None and (condition.shape[2:] != x.shape[2:] or len(condition) not in (1, len(x))):
            raise ValueError(f"the condition should be of the latent's size {tuple(x.shape)}, got {tuple(condition.shape)}")
        self.net = net
        self.x = x
        self.condition = condition
        self.tiles = tiles
        self.patch = patch
        self.plan = tiles.reduced(patch)
        self.blocks = self.net.transformer_blocks
        attention = self.blocks[0].attn1
        self.heads = attention.heads
        self.features = attention.to_k.weight.shape[0] // attention.heads
        self.time = times_of(x, t, "time")
        scale = None if guidance is None else times_of(x, guidance, "guidance")
        self.modulation, self.e = self.net.times(self.time, scale)
        self.context, self.bias = self.net.text(text, mask)

    def layers_of(self, state: SequenceState | None) -> list[LinearState | None]:
        """The sums of each layer, or nothing for each, after a look whether they can be this network's."""
        if state is None:
            return [None] * len(self.blocks)
        if len(state.layers) != len(self.blocks):
            raise ValueError(
                f"the state is of a network with {len(state.layers)} layers, this one has {len(self.blocks)}; "
                "every network needs its own"
            )
        heads, features = self.heads, self.features
        for layer in state.layers:
            for name, part, shape in (("s", layer.s, (heads, features, features)), ("z", layer.z, (heads, features))):
                if part.shape[1:] != shape or part.shape[0] not in (1, self.x.shape[0]):
                    raise ValueError(
                        f"the state's {name} should be {(self.x.shape[0], *shape)} for this network, got {tuple(part.shape)}; "
                        "every network needs its own"
                    )
        if bool((state.time.to(self.time) != self.time).any()):
            raise ValueError(
                f"the state was summed at time {state.time.tolist()}, this is {self.time.tolist()}; every noise level "
                "needs its own"
            )
        return list(state.layers)

    def key_weights(self) -> list[Tensor | None]:
        """How much the tokens of each tile count in the sums, (1, n); nothing where tiles share none."""
        if self.plan.disjoint:
            return [None] * len(self.plan)
        like = self.x.new_zeros((), dtype=at_least_float32(self.x.dtype))
        return [weight.flatten()[None] for weight in self.plan.weights(like)]

    def embed(self, tile: Tile, x: Tensor | None = None) -> Tensor:
        """The tokens of a tile, (b, n, d)."""
        part = self.x[tile.place] if x is None else x
        if self.condition is not None:
            part = torch.cat((part, self.condition[tile.place].expand(len(part), -1, -1, -1)), 1)
        origin = tile.rows[0] // self.patch, tile.columns[0] // self.patch
        return self.net.embed(part, origin, self.plan.size)

    def tile(
        self,
        tile: Tile,
        layers: Sequence[LinearState | None],
        weight: Tensor | None,
        frontier: Frontier | None,
        x: Tensor | None = None,
        *,
        rotary: bool = False,
    ) -> tuple[Tensor, list[LinearState]]:
        """A tile through all layers: what the network says of it, and the sums with it in them."""
        small = Tile(tile.row, tile.column, self.plan.rows[tile.row], self.plan.columns[tile.column])
        tokens, after = self.embed(tile, x), []
        rotation: Rotation | None = None
        if rotary:
            dtype = at_least_float32(tokens.dtype)
            rotation = Rotation(*(part.to(tokens.device, dtype) for part in tile_rotation(small, self.features)))
        for index, (block, state) in enumerate(zip(self.blocks, layers, strict=True)):
            if frontier is None:
                tokens, state = block(
                    tokens, self.context, self.modulation, small.grid, self.bias, state, weight, rotation=rotation
                )
            else:
                modulated = block.modulated(tokens, self.modulation)
                state = block.attn1.update(modulated, state, weight=weight, rotation=rotation)
                tokens = block.attend(tokens, modulated, state, self.modulation, rotation)
                del modulated
                tokens = block.cross(tokens, self.context, self.bias)
                border = frontier.border(index, small)
                seen = block.modulated(tokens, self.modulation, for_mix=True).mT.unflatten(2, small.grid)
                frontier.keep(index, small, seen)
                del seen
                tokens = block.mix(tokens, self.modulation, small.grid, border)
            after.append(state)
        said: Tensor = self.net.unembed(tokens, self.e, small.grid)
        return said, after


def _exchanging(run: _Evaluation) -> Tensor:
    """Two passes a layer with all tokens in one map, (b, h, w, d), in which tiles find their neighbours."""
    canvas = _assembled(run, (run.embed(tile) for tile in run.tiles))
    for block in run.blocks:
        state: LinearState | None = None
        for tile in run.plan:
            state = block.attn1.update(block.modulated(_cut(canvas, tile), run.modulation), state)
        canvas = _assembled(run, (_seeing(run, block, _cut(canvas, tile), state) for tile in run.plan))
        canvas = _assembled(run, (_mixed(run, block, canvas, tile) for tile in run.plan))
    return _result(run, (_cut(canvas, tile) for tile in run.plan))


def _with_halo(run: _Evaluation, halo: int) -> Tensor:
    """Two passes a layer with tiles that share nothing but the sums, each `halo` tokens larger than its core."""
    large = []
    for tile in run.plan:
        rows, columns = (
            (max(start - halo, 0), min(stop + halo, length))
            for (start, stop), length in zip((tile.rows, tile.columns), run.plan.size, strict=True)
        )
        large.append(Tile(tile.row, tile.column, rows, columns))
    p = run.patch
    parts = [
        run.embed(Tile(*tile[:2], (p * tile.rows[0], p * tile.rows[1]), (p * tile.columns[0], p * tile.columns[1])))
        for tile in large
    ]

    def core(tokens: Tensor, tile: Tile, outer: Tile) -> Tensor:
        (top, bottom), (left, right), (first, _), (before, _) = tile.rows, tile.columns, outer.rows, outer.columns
        maps = tokens.reshape(len(tokens), *outer.grid, -1)
        return maps[:, top - first : bottom - first, left - before : right - before].flatten(1, 2)

    for block in run.blocks:
        state: LinearState | None = None
        for tokens, tile, outer in zip(parts, run.plan, large, strict=True):
            state = block.attn1.update(block.modulated(core(tokens, tile, outer), run.modulation), state)
        for index, outer in enumerate(large):
            parts[index] = block.mix(_seeing(run, block, parts[index], state), run.modulation, outer.grid)
    return _result(run, (core(*each) for each in zip(parts, run.plan, large, strict=True)))


def _seeing(run: _Evaluation, block: Any, tokens: Tensor, state: LinearState | None) -> Tensor:
    """Tokens with what they see in the sums and of the text."""
    modulated = block.modulated(tokens, run.modulation)
    seen: Tensor = block.cross(block.attend(tokens, modulated, state, run.modulation), run.context, run.bias)
    return seen


def _mixed(run: _Evaluation, block: Any, canvas: Tensor, tile: Tile) -> Tensor:
    """The tokens of a tile behind the Mix-FFN, which sees one token of its neighbours on all sides."""
    (top, bottom), (left, right), (height, width) = tile.rows, tile.columns, run.plan.size
    corners = (left > 0, right < width)

    def seen(rows: Span, columns: Span) -> Tensor:
        part = Tile(0, 0, rows, columns)
        maps: Tensor = block.modulated(_cut(canvas, part), run.modulation, for_mix=True).mT.unflatten(2, part.grid)
        return maps

    across = left - corners[0], right + corners[1]
    border = Border(
        seen((top - 1, top), across) if top else None,
        seen(tile.rows, (left - 1, left)) if left else None,
        seen((bottom, bottom + 1), across) if bottom < height else None,
        seen(tile.rows, (right, right + 1)) if right < width else None,
        corners,
    )
    mixed: Tensor = block.mix(_cut(canvas, tile), run.modulation, tile.grid, border)
    return mixed


def _cut(canvas: Tensor, tile: Tile) -> Tensor:
    """The tokens (b, n, d) of a tile of a map (b, h, w, d)."""
    return canvas[:, slice(*tile.rows), slice(*tile.columns)].flatten(1, 2)


def _assembled(run: _Evaluation, parts: Iterable[Tensor]) -> Tensor:
    """The map (b, h, w, d) of all tiles' tokens."""
    canvas: Tensor | None = None
    for tile, tokens in zip(run.plan, parts, strict=True):
        if canvas is None:
            canvas = tokens.new_empty(len(tokens), *run.plan.size, tokens.shape[-1])
        canvas[:, slice(*tile.rows), slice(*tile.columns)] = tokens.reshape(len(tokens), *tile.grid, -1)
    assert canvas is not None
    return canvas


def _result(run: _Evaluation, parts: Iterable[Tensor]) -> Tensor:
    """The network's output of all tiles' tokens behind the last layer."""
    out: Tensor | None = None
    for tile, small, tokens in zip(run.tiles, run.plan, parts, strict=True):
        said = run.net.unembed(tokens, run.e, small.grid)
        if out is None:
            out = said.new_empty(*said.shape[:2], *run.x.shape[2:])
        out[tile.place] = said
    assert out is not None
    return out
