"""PReNet and its sisters, against the formulas of the paper."""

import pytest
import torch
import torch.nn.functional as F

from restoralib.archs import prenet
from restoralib.archs.prenet import PRN, VARIANTS, PReNet, PReNet_r, PRN_r, infer_config
from restoralib.checkpoints import CheckpointWarning, load_model

CLASSES = [PReNet, PReNet_r, PRN, PRN_r]
every_class = pytest.mark.parametrize("cls", CLASSES)
GATES = ("conv_i", "conv_f", "conv_g", "conv_o")


def tiny(cls, stages=2):
    torch.manual_seed(0)
    return cls(stages).double().eval()


def image(height=9, width=12, batch=1):
    torch.manual_seed(1)
    return torch.rand(batch, 3, height, width, dtype=torch.float64)


def unrolled(weights, y, stages):
    """All stages' images, written down from the weights alone."""

    def conv(name, x):
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), weights[f"{name}.weight"], weights[f"{name}.bias"])

    blocks = range(1, 6) if "res_conv5.0.weight" in weights else [1] * 5
    recurrent = "conv_i.0.weight" in weights
    h = c = y.new_zeros(len(y), 32, *y.shape[2:])
    x, images = y, []
    for _ in range(stages):
        s = F.relu(conv("conv0.0", torch.cat([y, x], 1)))
        if recurrent:
            i, f, g, o = (conv(f"{gate}.0", torch.cat([s, h], 1)) for gate in GATES)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            s = h = torch.sigmoid(o) * torch.tanh(c)
        for block in blocks:
            s = F.relu(F.relu(conv(f"res_conv{block}.2", F.relu(conv(f"res_conv{block}.0", s)))) + s)
        x = conv("conv.0", s) + y
        images.append(x)
    return images


@every_class
@pytest.mark.parametrize("stages", [1, 3])
def test_stages_follow_the_formulas(cls, stages):
    net, y = tiny(cls, stages), image(batch=2)
    expected = unrolled(net.state_dict(), y, stages)
    torch.testing.assert_close(net(y), expected[-1], rtol=1e-12, atol=1e-12)
    results = net.train()(y)
    assert isinstance(results, list)
    torch.testing.assert_close(results, expected[::-1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("cls", "parameters", "keys"), [(PReNet, 168_963, 32), (PReNet_r, 94_979, 16), (PRN, 95_107, 24), (PRN_r, 21_123, 8)]
)
def test_parameters_are_the_papers(cls, parameters, keys):
    net = cls()
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert len(net.state_dict()) == keys
    assert net.recurrent_iter == 6


@every_class
def test_keys_are_in_the_authors_order(cls):
    blocks = [f"res_conv{i}.{layer}" for i in range(1, 6 if cls in (PReNet, PRN) else 2) for layer in (0, 2)]
    gates = [f"{gate}.0" for gate in GATES] if cls in (PReNet, PReNet_r) else []
    layers = ["conv0.0", *blocks, *gates, "conv.0"]
    assert list(cls().state_dict()) == [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]


@every_class
@pytest.mark.parametrize("stages", [1, 2, 6])
def test_halo_is_exact(cls, stages):
    """NaN passes through everything that depends on it, also where a gate's gradient is too small for numbers."""
    net = cls(stages).eval()
    halo = net.spec.halo
    assert halo == stages * (13 if cls in (PReNet, PReNet_r) else 12)
    strip = torch.rand(1, 3, 1, 2 * halo + 5)
    strip[..., halo + 2] = torch.nan
    with torch.inference_mode():
        for x in (strip, strip.mT):
            spoiled = net(x).isnan().any(1).flatten().nonzero().flatten()
            assert spoiled.tolist() == list(range(2, 2 * halo + 3))


@pytest.mark.parametrize("name", VARIANTS)
def test_published_variants(name):
    variant = VARIANTS[name]
    net = variant.cls(**variant.config)
    inferred = infer_config(net.state_dict())
    assert (inferred.cls, inferred.config) == (variant.cls, variant.config)
    assert set(inferred.assumed) == set(net.spec.unrecorded) == {"recurrent_iter"}
    assert net.spec.tasks == variant.tasks == ("derain",)
    assert name.rsplit("_", 1)[0] == variant.cls.__name__.lower()


@every_class
def test_stages_are_taken_for_six_with_a_warning(cls, tmp_path):
    torch.save(cls(6).state_dict(), tmp_path / "net_latest.pth")
    with pytest.warns(CheckpointWarning, match="recurrent_iter"):
        net = load_model(tmp_path / "net_latest.pth")
    assert type(net) is cls and net.recurrent_iter == 6
    assert load_model(tmp_path / "net_latest.pth", recurrent_iter=4).recurrent_iter == 4


@pytest.mark.slow
@every_class
def test_dynamic_sizes_compile_in_one_graph(cls):
    net = tiny(cls)
    torch.compiler.reset()
    compiled = torch.compile(net, backend="eager", fullgraph=True, dynamic=True)
    with torch.inference_mode():
        for size in ((9, 12), (5, 31)):
            torch.testing.assert_close(compiled(image(*size)), net(image(*size)))


@every_class
def test_the_image_is_left_as_it_was(cls):
    x = image()
    before = x.clone()
    tiny(cls)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("cls", "change"),
    [
        (PReNet, {"conv0.0.weight": torch.zeros(32, 3, 3, 3)}),  # the ablation without the image beside the result
        (PReNet, {"conv_z.0.weight": torch.zeros(32, 64, 3, 3)}),  # the ablation with another recurrence
        (PRN, {"conv_i.0.weight": torch.zeros(32, 64, 3, 3)}),
        (PRN_r, {"res_conv2.0.weight": torch.zeros(32, 32, 3, 3)}),
        (PRN_r, {"conv.0.weight": torch.zeros(3, 64, 3, 3)}),
        (PRN_r, {"conv.0.bias": torch.zeros(())}),
    ],
)
def test_other_networks_are_not_taken_for_it(cls, change):
    assert infer_config(cls().state_dict() | change) is None
    assert infer_config({}) is None


@every_class
def test_stages_are_a_whole_number(cls):
    for stages in (0, -1, 1.5):
        with pytest.raises(ValueError, match=f"recurrent_iter should be a whole number of at least 1, got {stages}"):
            cls(stages)
    assert prenet.spec(cls, 4).tasks == ()
