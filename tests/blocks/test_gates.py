import torch

from restoralib.blocks import SimpleGate


def test_first_half_of_the_channels_weighs_the_second():
    x = torch.randn(2, 6, 3, 5)
    assert torch.equal(SimpleGate()(x), x[:, :3] * x[:, 3:])
