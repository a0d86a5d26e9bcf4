"""Feature stacks: layers, names, where weights are looked for, and what is said when they are not there."""

import pytest
import torch
from goldens.fill import fill
from safetensors.torch import save_file

from restoralib.blocks.features import FeatureStack, Fire, feature_skeleton, imagenet_normalize, load_features

NETWORKS = ["alexnet", "squeezenet1_1", "vgg16", "vgg19"]


def small_weights(name="squeezenet1_1"):
    return {key: torch.from_numpy(fill(key, tuple(value.shape))) for key, value in feature_skeleton(name).state_dict().items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_keys_and_shapes_are_torchvisions(name):
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)(weights=None)
    wanted = {key: value.shape for key, value in theirs.state_dict().items() if key.startswith("features.")}
    ours = {key: value.shape for key, value in feature_skeleton(name).state_dict().items()}
    assert list(ours.items()) == list(wanted.items())


@pytest.mark.parametrize("name", ["alexnet", "squeezenet1_1"])
def test_features_are_torchvisions(name):
    torchvision = pytest.importorskip("torchvision")
    theirs = getattr(torchvision.models, name)(weights=None).eval()
    stack = load_features(name, theirs.state_dict())
    image = torch.rand(1, 3, 65, 70)
    x = image
    for position, module in enumerate(theirs.features):
        x = module(x)
        if position in (1, 4, 7):
            assert torch.equal(stack(image, [position])[0], x)


def test_layers_of_vgg_have_the_papers_names():
    vgg16, vgg19 = feature_skeleton("vgg16"), feature_skeleton("vgg19")
    taps = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
    assert [vgg16.index(name) for name in taps] == [3, 8, 15, 22, 29]
    assert [vgg19.index(name) for name in ("conv1_2", "conv3_4", "relu5_4", "conv5_4", "pool5")] == [2, 16, 35, 34, 36]
    with pytest.raises(ValueError, match=r"vgg16 has no layer 'conv3_4'; it has conv1_1"):
        vgg16.index("conv3_4")
    with pytest.raises(ValueError, match="has layers 0 to 30, got 31"):
        vgg16.index(31)
    with pytest.raises(ValueError, match="give the number of one, 0 to 12"):
        feature_skeleton("alexnet").index("conv1")


def test_features_before_an_activation_stay_and_weights_are_frozen():
    stack = load_features("squeezenet1_1", small_weights())
    image = torch.rand(1, 3, 40, 40, requires_grad=True)
    before, after = stack(image, [0, 1])
    assert torch.equal(before.relu(), after)
    after.sum().backward()
    assert image.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in stack.parameters())
    assert not any(module.inplace for module in feature_skeleton("vgg19").modules() if isinstance(module, torch.nn.ReLU))


def test_pooling_can_be_replaced():
    stack = load_features("squeezenet1_1", small_weights())
    image = torch.rand(1, 3, 40, 40)
    usual = stack(image, [2])[0]
    other = stack(image, [2], pool=lambda x: torch.nn.functional.avg_pool2d(x, 3, 2, ceil_mode=True))[0]
    assert usual.shape == other.shape
    assert (usual - other).abs().max() > 0


def test_weights_are_copied():
    weights = small_weights()
    stack = load_features("squeezenet1_1", weights)
    weights["features.0.weight"].zero_()
    assert stack.features[0].weight.abs().sum() > 0


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_weights_are_found_in_the_users_folders(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORALIB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    weights = small_weights()
    if kind == "pth":
        file = tmp_path / "torch" / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
        file.parent.mkdir(parents=True)
        torch.save({**weights, "classifier.1.weight": torch.zeros(2)}, file)
    else:
        file = tmp_path / "home" / "squeezenet1_1.safetensors"
        file.parent.mkdir(parents=True)
        save_file(weights, file)
    for source in (None, file, str(file)):
        stack = load_features("squeezenet1_1", source)
        assert torch.equal(stack.features[0].weight, weights["features.0.weight"])


@pytest.mark.parametrize("name", NETWORKS)
def test_missing_weights_are_named_with_where_they_belong(name, tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORALIB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    message = rf"the weights of {name} are not here .*https://download.pytorch.org/models/{name.split('1_')[0]}.*\.pth \(.* MB"
    with pytest.raises(FileNotFoundError, match=message) as caught:
        load_features(name)
    assert str(tmp_path / "home") in str(caught.value)
    assert str(tmp_path / "torch" / "hub" / "checkpoints") in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"elsewhere.pth"):
        load_features(name, tmp_path / "elsewhere.pth")


def test_wrong_files_are_refused(tmp_path):
    weights = small_weights()
    with pytest.raises(ValueError, match="choose one of alexnet, squeezenet1_1, vgg16, vgg19"):
        load_features("resnet18")
    with pytest.raises(ValueError, match=r"does not fit alexnet: .* keys or shapes differ"):
        load_features("alexnet", weights)
    with pytest.raises(ValueError, match=r"first features.0.weight"):
        load_features("squeezenet1_1", weights | {"features.0.weight": torch.zeros(3)})
    torch.save(weights, tmp_path / "whole.pth")
    (tmp_path / "half.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"half.pth cannot be read .*download it again"):
        load_features("squeezenet1_1", tmp_path / "half.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="should hold a state dict, got a list"):
        load_features("squeezenet1_1", tmp_path / "list.pth")


def test_bad_images_are_named():
    stack = load_features("squeezenet1_1", small_weights())
    assert isinstance(stack, FeatureStack)
    with pytest.raises(ValueError, match=r"expects colour images \(b, 3, h, w\), got \(1, 1, 20, 20\); repeat grey"):
        stack(torch.rand(1, 1, 20, 20), [1])
    with pytest.raises(ValueError, match="an image of 2x9 is too small for squeezenet1_1"):
        stack(torch.rand(1, 3, 2, 9), [1])
    with pytest.raises(ValueError, match="from the first to the last"):
        stack(torch.rand(1, 3, 20, 20), [4, 1])


def test_small_parts():
    assert Fire(8, 2, 5)(torch.rand(1, 8, 3, 4)).shape == (1, 10, 3, 4)
    white = imagenet_normalize(torch.ones(1, 3, 1, 1)).flatten()
    assert torch.allclose(white, torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))
