"""The degradation classifier: strengths stay to be seen, and the file tells the network."""

import pytest
import torch

from restoralib.archs import ARCHITECTURES, DegradationClassifier
from restoralib.blocks.degradation_prompt import DEGRADATIONS

infer_config = ARCHITECTURES["degradation_classifier"].infer_config


def test_there_is_a_logit_for_each_of_the_nine_degradations():
    net = DegradationClassifier()
    assert net.head.out_features == len(DEGRADATIONS) == 9
    assert net.spec.role == "classifier" and net.spec.out_channels == 9


@pytest.mark.parametrize("config", [{"widths": [2, 3]}, {"widths": [5, 4, 3, 2, 1], "hidden": 7}, {"hidden": 3, "classes": 2}])
def test_weights_tell_the_configuration(config):
    net = DegradationClassifier(**config)
    assert infer_config(net.state_dict()).config == {"widths": [16, 24, 48, 64], "hidden": 64, "classes": 9, **config}


@pytest.mark.parametrize("config", [{"widths": (4,)}, {"widths": (4, 0)}, {"hidden": 0}, {"classes": 1.5}])
def test_wrong_arguments_are_refused(config):
    with pytest.raises(ValueError, match="expected two widths or more, hidden and classes of at least 1"):
        DegradationClassifier(**config)


def test_a_batch_does_not_change_what_is_said_of_an_image():
    net = DegradationClassifier(widths=(4, 5, 6)).eval()
    images = torch.rand(3, 3, 20, 31)
    torch.testing.assert_close(net(images), torch.cat([net(image[None]) for image in images]), atol=1e-5, rtol=1e-5)


def test_twice_the_noise_is_another_image():
    net = DegradationClassifier().eval()
    noise = torch.randn(1, 3, 64, 64)
    weak, strong = (net(0.5 + sigma * noise) for sigma in (0.02, 0.04))
    assert (weak - strong).abs().max() > 1e-3
