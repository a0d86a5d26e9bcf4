"""Window attention and Swin Transformer layers, against the papers' formulas and the authors' way to compute them."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restoralib.blocks.window_attention import (
    RSTB,
    STL,
    DropPath,
    WindowAttention,
    residual_conv,
    shift_mask,
    shifted_windows,
    window_partition,
    window_reverse,
)

SIZES = [(2, 2, 2), (2, 6, 4), (3, 3, 9), (3, 6, 9), (4, 4, 4), (4, 8, 12), (5, 10, 5), (7, 14, 7)]
every_size = pytest.mark.parametrize(("window", "height", "width"), SIZES)
CONNECTIONS = ("1conv", "3conv")


def randomized(block: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    return block.double()


def features(height: int, width: int, channels: int = 8) -> torch.Tensor:
    return torch.randn(2, channels, height, width, dtype=torch.float64)


def pairs(window: int):
    """All pairs of a window's pixels: (number, row, column) of each."""
    pixels = [(number, *place) for number, place in enumerate(itertools.product(range(window), repeat=2))]
    return itertools.product(pixels, pixels)


def authors_mask(height: int, width: int, window: int, shift: int) -> torch.Tensor:
    """The mask from labels of nine regions, as Swin Transformer's authors draw them on the shifted image."""
    regions = torch.zeros(height, width)
    slices = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for label, (rows, columns) in enumerate(itertools.product(slices, slices)):
        regions[rows, columns] = label
    rows, columns = range(0, height, window), range(0, width, window)
    labels = torch.stack([regions[i : i + window, j : j + window].flatten() for i in rows for j in columns])
    return torch.where(labels[:, :, None] == labels[:, None, :], 0.0, -100.0)


def attention_formula(attn: WindowAttention, window: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Swin, eq. 4, for the pixels (n, c) of one window: SoftMax(q k^T / sqrt(d) + bias) v, head by head."""
    size = round(len(window) ** 0.5)
    q, k, v = (window @ part.T + shift for part, shift in zip(attn.qkv.weight.chunk(3), attn.qkv.bias.chunk(3), strict=True))
    mixed = []
    for head, (q_head, k_head, v_head) in enumerate(zip(*(part.chunk(attn.num_heads, 1) for part in (q, k, v)), strict=True)):
        logits = q_head @ k_head.T * attn.scale
        bias = torch.zeros_like(logits)
        for (one, row, column), (other, other_row, other_column) in pairs(size):
            entry = (row - other_row + size - 1) * (2 * size - 1) + column - other_column + size - 1
            bias[one, other] = attn.relative_position_bias_table[entry, head]
        mixed.append((logits + bias + (0 if mask is None else mask)).softmax(-1) @ v_head)
    return torch.cat(mixed, 1) @ attn.proj.weight.T + attn.proj.bias


def layer_formula(layer: STL, x: torch.Tensor) -> torch.Tensor:
    """A layer as the authors compute it: roll, attend in every window under the mask of regions, roll back, feed forward."""
    size, shift = layer.window_size, layer.shift_size
    height, width = x.shape[2:]
    x = x.permute(0, 2, 3, 1)
    rolled = torch.roll(layer.norm1(x), (-shift, -shift), (1, 2))
    mask = authors_mask(height, width, size, shift) if shift else torch.zeros(height * width // size**2, 1, 1)
    mixed = torch.zeros_like(rolled)
    corners = [(row, column) for row in range(0, height, size) for column in range(0, width, size)]
    for image, (number, (row, column)) in itertools.product(range(len(x)), enumerate(corners)):
        window = rolled[image, row : row + size, column : column + size].flatten(0, 1)
        attended = attention_formula(layer.attn, window, mask[number])
        mixed[image, row : row + size, column : column + size] = attended.unflatten(0, (size, size))
    x = x + torch.roll(mixed, (shift, shift), (1, 2))
    x = x + layer.mlp.fc2(F.gelu(layer.mlp.fc1(layer.norm2(x))))
    return x.permute(0, 3, 1, 2)


@every_size
def test_windows_are_cut_row_by_row_and_put_together_again(window, height, width):
    x = torch.randn(2, height, width, 3)
    windows = window_partition(x, window)
    assert windows.shape == (2, height * width // window**2, window**2, 3)
    rows, columns = range(0, height, window), range(0, width, window)
    for number, (row, column) in enumerate(itertools.product(rows, columns)):
        assert torch.equal(windows[:, number], x[:, row : row + window, column : column + window].flatten(1, 2))
    assert torch.equal(window_reverse(windows, window, height, width), x)
    assert torch.equal(window_partition(window_reverse(windows, window, height, width), window), windows)


@pytest.mark.parametrize(("height", "width"), [(9, 8), (8, 9), (3, 3)])
def test_what_does_not_fit_the_windows_is_named(height, width):
    with pytest.raises(ValueError, match=f"multiples of the window's 4 pixels, got {height} x {width}"):
        window_partition(torch.zeros(1, height, width, 2), 4)


@pytest.mark.parametrize("window", [1, 2, 3, 4, 7, 8])
def test_every_relative_position_has_a_row_of_the_table(window):
    index = WindowAttention(2, 1, window).relative_position_index
    assert index.dtype == torch.int64 and index.shape == (window**2, window**2)
    for (one, row, column), (other, other_row, other_column) in pairs(window):
        assert index[one, other] == (row - other_row + window - 1) * (2 * window - 1) + column - other_column + window - 1
    assert sorted(set(index.flatten().tolist())) == list(range((2 * window - 1) ** 2))


@every_size
def test_the_mask_is_the_authors_mask_of_regions(window, height, width):
    shift = window // 2
    expected = authors_mask(height, width, window, shift)
    assert torch.equal(shift_mask(height, width, window, shift), expected)
    # A plan has the windows with a mask last, and only their masks.
    order, inverse, mask = shifted_windows(height, width, window, shift)
    pixels = torch.arange(height * width)
    assert torch.equal(order[inverse], pixels) and torch.equal(inverse[order], pixels)
    rolled = window_partition(pixels.view(1, height, width, 1).roll((-shift, -shift), (1, 2)), window)[0, :, :, 0].tolist()
    planned = order.view(-1, window**2).tolist()
    numbers = [rolled.index(pixels) for pixels in planned]
    masked = len(numbers) - len(mask)
    assert not expected[numbers[:masked]].any() and torch.equal(mask, expected[numbers[masked:]])


@pytest.mark.parametrize("window", [1, 2, 3, 4])
@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("qk_scale", [None, 0.3])
def test_attention_is_the_papers_formula(window, heads, qk_scale):
    attn = randomized(WindowAttention(8, heads, window, qk_scale=qk_scale))
    assert attn.scale == (qk_scale or (8 / heads) ** -0.5)
    windows = torch.randn(2, 3, window**2, 8, dtype=torch.float64)
    mask = -100.0 * torch.randint(2, (2, window**2, window**2)).double()
    mask.diagonal(dim1=1, dim2=2).zero_()
    free, masked = attn(windows), attn(windows, mask)
    for image, number in itertools.product(range(2), range(3)):
        torch.testing.assert_close(free[image, number], attention_formula(attn, windows[image, number]))
        expected = attention_formula(attn, windows[image, number], mask[number - 1] if number else None)
        torch.testing.assert_close(masked[image, number], expected)


def test_attention_without_biases_is_that_with_zero_biases():
    bare, zero = WindowAttention(8, 2, 3, qkv_bias=False), WindowAttention(8, 2, 3)
    assert bare.qkv.bias is None
    zero.load_state_dict(bare.state_dict() | {"qkv.bias": torch.zeros(24)})
    windows = torch.randn(2, 3, 9, 8)
    torch.testing.assert_close(bare(windows), zero(windows))


@every_size
def test_a_shifted_layer_is_the_authors_roll_and_mask(window, height, width):
    layer, x = randomized(STL(8, 2, window, window // 2)), features(height, width)
    expected = layer_formula(layer, x)
    torch.testing.assert_close(layer(x), expected)
    plan = shifted_windows(height, width, window, window // 2, dtype=torch.float64)
    assert torch.equal(layer(x, plan), layer(x))


@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_any_shift_is_the_authors_roll_and_mask(shift):
    layer, x = randomized(STL(8, 2, 4, shift)), features(8, 12)
    torch.testing.assert_close(layer(x), layer_formula(layer, x))


@pytest.mark.parametrize(("height", "width"), [(5, 7), (1, 9), (8, 3), (2, 2)])
@pytest.mark.parametrize("shift", [0, 2])
def test_other_sizes_are_padded_by_reflection(height, width, shift):
    layer, x = randomized(STL(8, 2, 4, shift)), features(height, width)
    bottom, right = -height % 4, -width % 4
    # A side too short to be reflected is repeated.
    x_padded = F.pad(x, (0, right, 0, 0), mode="reflect" if right < width else "replicate")
    x_padded = F.pad(x_padded, (0, 0, 0, bottom), mode="reflect" if bottom < height else "replicate")
    torch.testing.assert_close(layer(x), layer(x_padded)[..., :height, :width])
    assert layer(x).shape == x.shape


@pytest.mark.parametrize("window", [2, 3, 4])
def test_windows_never_mix_unless_shifted(window):
    size = 3 * window
    grid = torch.arange(size)
    for shift in {0, window // 2}:
        layer, x = randomized(STL(8, 2, window, shift)), features(size, size).requires_grad_()
        owner = (grid + window - shift) // window if shift else grid // window
        for row, column in [(0, 0), (window - 1, window), (size - 1, size // 2)]:
            (gradient,) = torch.autograd.grad(layer(x)[0, :, row, column].square().sum(), x)
            seen = gradient[0].abs().amax(0)
            expected = (owner == owner[row])[:, None] & (owner == owner[column])
            assert torch.equal(seen > 1e-30 * seen.max(), expected)
            assert not gradient[1].any()


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(lambda: STL(8, 2, 4), id="STL"),
        pytest.param(lambda: STL(8, 2, 4, 2, qkv_bias=False), id="shifted STL"),
        *(pytest.param(lambda c=c: RSTB(8, 2, 2, 4, resi_connection=c, drop_path=0.0), id=f"RSTB {c}") for c in CONNECTIONS),
        pytest.param(lambda: RSTB(8, 3, 2, 4, use_checkpoint=True), id="RSTB with checkpoints"),
    ],
)
def test_gradients_are_those_of_finite_differences_and_reach_every_parameter(block):
    block, x = randomized(block()), features(7, 6)[:1].requires_grad_()
    assert torch.autograd.gradcheck(block, x, fast_mode=True)
    block(x).backward(torch.randn_like(x))
    for name, parameter in block.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_a_block_is_its_layers_a_convolution_and_its_input(connection):
    block, x = randomized(RSTB(8, 3, 2, 4, resi_connection=connection)), features(8, 12)
    layers = list(block.residual_group["blocks"])
    assert [layer.shift_size for layer in layers] == [0, 2, 0]
    deep = x
    for layer in layers:
        deep = layer_formula(layer, deep)
    torch.testing.assert_close(block(x), x + block.conv(deep))


@pytest.mark.parametrize(("depth", "shifted"), [(1, True), (2, False)])
def test_a_block_may_have_no_shift(depth, shifted):
    assert {layer.shift_size for layer in RSTB(8, depth, 2, 4, shifted).residual_group["blocks"]} == {0}


def test_checkpoints_change_no_gradient():
    plain, saving = (randomized(RSTB(8, 2, 2, 4, use_checkpoint=use)) for use in (False, True))
    x = features(8, 8)
    for block in (plain, saving):
        block(x).square().sum().backward()
    for one, other in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_a_path_is_dropped_for_whole_images_in_training_alone():
    torch.manual_seed(0)
    drop, x = DropPath(0.25), torch.ones(4000, 2, 3)
    dropped = drop(x)
    assert torch.equal(dropped, dropped[:, :1, :1].expand_as(x))
    torch.testing.assert_close(dropped.unique(), torch.tensor([0, 4 / 3]))
    assert abs(dropped.mean() - 1) < 0.05
    assert drop.eval()(x) is x
    assert DropPath(0.0)(x) is x


@pytest.mark.parametrize("size", [(4, 4), (8, 12), (7, 9)])
def test_a_state_dict_holds_the_mask_of_its_resolution(size):
    layer = STL(8, 2, 4, 2, resolution=size)
    padded = tuple(side + -side % 4 for side in size)
    state = layer.state_dict()
    assert torch.equal(state["attn_mask"], authors_mask(*padded, 4, 2))
    assert "attn_mask" not in STL(8, 2, 4, 2).state_dict() and "attn_mask" not in STL(8, 2, 4, resolution=size).state_dict()
    # It is never read, and a wrong index is not believed.
    state["attn_mask"], state["attn.relative_position_index"] = torch.full((3, 3), torch.nan), torch.zeros(16, 16)
    again, x = STL(8, 2, 4, 2), torch.randn(1, 8, 8, 8)
    again.load_state_dict(state)
    assert torch.equal(again(x), layer(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: STL(8, 2, 4, 4), "shift_size should be at least 0 and less than window_size, got 4 and 4"),
        (lambda: STL(8, 2, 4, -1), "got -1 and 4"),
        (lambda: WindowAttention(8, 3), "dim should be a multiple of num_heads, got 8 and 3"),
        (lambda: residual_conv(8, "2conv"), "resi_connection should be '1conv' or '3conv', got '2conv'"),
    ],
)
def test_impossible_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
