"""The degradation classifier: strengths stay to be seen, and the file tells the network."""

import pytest
import torch

from restoralib.archs import ARCHITECTURES, DegradationClassifier
from restoralib.blocks.degradation_prompt import DEGRADATIONS

infer_config = ARCHITECTURES["degradation_classifier"].infer_config


def test_there_is_a_logit_for_each_of_the_nine_degradations():
    net = DegradationClassifier()
    assert net.judge.head.out_features == len(DEGRADATIONS) == 9
    assert net.spec.role == "classifier" and net.spec.out_channels == 9


@pytest.mark.parametrize(
    "config", [{"spectral": [2, 3]}, {"cellular": [5, 4, 3, 2], "hidden": 7}, {"numbers": 3, "hidden": 2, "classes": 5}]
)
def test_weights_tell_the_configuration(config):
    net = DegradationClassifier(**config)
    plain = {"spectral": [16, 24, 32], "cellular": [24, 32, 32], "numbers": 48, "hidden": 64, "classes": 9}
    assert infer_config(net.state_dict()).config == plain | config


@pytest.mark.parametrize("config", [{"spectral": (4,)}, {"cellular": (4, 0)}, {"classes": 1.5}, {"numbers": True}])
def test_wrong_arguments_are_refused(config):
    with pytest.raises(ValueError, match=r"expected two widths or more .* hidden and classes of at least 1, got"):
        DegradationClassifier(**config)


def test_a_batch_does_not_change_what_is_said_of_an_image():
    net = DegradationClassifier((4, 5), (6, 7), 8).eval()
    images = torch.rand(3, 3, 40, 51)
    torch.testing.assert_close(net(images), torch.cat([net(image[None]) for image in images]), atol=1e-5, rtol=1e-5)


def test_evidence_is_measured_in_float32_at_least():
    net, image = DegradationClassifier().eval(), torch.rand(1, 3, 40, 40)
    with torch.autocast("cpu", torch.bfloat16):
        evidence = net.evidence(image.bfloat16())
    assert {part.dtype for part in evidence} == {torch.float32}
    for part, expected in zip(evidence, net.evidence(image.bfloat16().float()), strict=True):
        assert torch.equal(part, expected)
    assert net.double()(image.double()).dtype == torch.float64


def test_what_is_far_off_counts_no_more_than_what_is_rare():
    standard = DegradationClassifier().judge.numbers_standard
    standard.mean.fill_(2.0)
    standard.spread.fill_(0.5)
    x = torch.zeros(1, len(standard.mean))
    x[0, :3] = torch.tensor([2.0, 3.0, 1e6])
    assert standard(x)[0, :4].tolist() == [0.0, 2.0, 5.0, -4.0]


def test_twice_the_noise_is_another_image():
    net = DegradationClassifier().eval()
    noise = torch.randn(1, 3, 64, 64)
    weak, strong = (net(0.5 + sigma * noise) for sigma in (0.02, 0.04))
    assert (weak - strong).abs().max() > 1e-3
