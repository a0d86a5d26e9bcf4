"""What the SANA-Denoiser is trained with: schedules, losses, prompts, low-rank differences, and the recipe at toy size."""

import logging
import math

import pytest
import torch
from torch import nn

from restoralib import load_model
from restoralib.archs import DCAE, VARIANTS, SanaDenoiser, SanaTransformer
from restoralib.checkpoints import skeleton
from restoralib.latent import (
    PromptTable,
    add_lora,
    draw_levels,
    encode_text,
    flow_dpm_schedule,
    flow_euler_schedule,
    merge_lora,
    paired_flow_loss,
)
from restoralib.latent.lora import ATTENTION, SELF_ATTENTION, LoRALinear
from restoralib.latent.objectives import WEIGHTINGS
from restoralib.latent.prompts import PROMPTS, REALRESTORER_PROMPTS, WHOLE_PROMPTS, all_prompts, draw_prompt, level_prompt
from restoralib.training import sana as recipe
from restoralib.training.export import export_weights

DENOISER = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "num_layers": 2,
    "num_cross_attention_heads": 2,
    "cross_attention_head_dim": 8,
    "cross_attention_dim": 32,
    "caption_channels": 12,
}
AUTOENCODER = {
    "latent_channels": 4,
    "encoder_block_types": ("ResBlock", "ResBlock", "ResBlock"),
    "decoder_block_types": ("ResBlock", "ResBlock", "ResBlock"),
    "encoder_block_out_channels": (8, 8, 16),
    "decoder_block_out_channels": (8, 8, 16),
    "encoder_layers_per_block": (1, 1, 1),
    "decoder_layers_per_block": (1, 1, 1),
    "encoder_qkv_multiscales": ((), (), ()),
    "decoder_qkv_multiscales": ((), (), ()),
}


def denoiser():
    torch.manual_seed(0)
    return SanaDenoiser(**DENOISER)


def test_schedules_fall_from_noise_to_nothing():
    for make, first in ((flow_euler_schedule, 1.0), (flow_dpm_schedule, 0.9997)):
        levels = make(20)
        assert levels.shape == (21,) and levels.diff().lt(0).all() and levels[-1] == 0
        assert float(levels[0]) == pytest.approx(first, abs=1e-4)
        with pytest.raises(ValueError, match="at least 1 and whole"):
            make(0)
        with pytest.raises(ValueError, match="positive shift"):
            make(3, 0)


def test_levels_are_logit_normal_and_shifted():
    levels = draw_levels(20_000, torch.Generator().manual_seed(0))
    back = (levels / (3 - 2 * levels)).logit()  # the shift undone
    assert abs(float(back.mean())) < 0.03 and abs(float(back.std()) - 1) < 0.03


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_the_loss_is_the_weighted_error_of_the_velocity(weighting):
    clean, condition, eps, text = (torch.randn(3, 4, 2, 5).double() for _ in range(4))
    sigma = torch.tensor([0.1, 0.5, 0.9]).double()

    def net(x, condition_, time, text_, mask):
        torch.testing.assert_close(time, 1000 * sigma)
        assert condition_ is condition and text_ is text and mask == "mask"
        torch.testing.assert_close(x, (1 - sigma.view(-1, 1, 1, 1)) * clean + sigma.view(-1, 1, 1, 1) * eps)
        return torch.zeros_like(x)

    weights = {
        "logit_normal": torch.ones(3),
        "sigma_sqrt": 1 / sigma.square(),
        "cosmap": 2 / (math.pi * (1 - 2 * sigma + 2 * sigma.square())),
    }[weighting]
    expected = (weights * (eps - clean).square().mean((1, 2, 3))).mean()
    loss = paired_flow_loss(net, clean, condition, sigma, eps, text, "mask", weighting=weighting)
    torch.testing.assert_close(loss, expected)


def test_a_wrong_weighting_and_a_level_without_noise_are_told():
    x = torch.randn(1, 4, 3, 3)
    with pytest.raises(ValueError, match="choose one of logit_normal, sigma_sqrt, cosmap"):
        paired_flow_loss(denoiser(), x, x, torch.tensor([0.5]), x, torch.randn(1, 2, 12), weighting="uniform")
    with pytest.raises(ValueError, match="no bound"):
        paired_flow_loss(denoiser(), x, x, torch.tensor([0.0]), x, torch.randn(1, 2, 12), weighting="sigma_sqrt")


def test_low_rank_differences_have_the_published_count():
    for names, count in ((SELF_ATTENTION, 11_468_800), (ATTENTION, 22_937_600)):
        net = skeleton(SanaDenoiser, VARIANTS["sana_1600m_1024"].config | {"num_layers": 1})  # of 20
        assert 20 * add_lora(net, 32, names, beside=("proj",)) == count
        assert sum(p.numel() for p in net.parameters() if p.requires_grad) == count // 20 + 2048


def test_low_rank_differences_start_at_zero_learn_alone_and_merge():
    net, x = denoiser(), torch.randn(2, 4, 3, 4)
    inputs = (x, torch.randn_like(x), 300, torch.randn(1, 2, 12))
    before, state = net(*inputs), {key: value.clone() for key, value in net.state_dict().items()}
    add_lora(net, 3, beside=("proj",))
    assert torch.equal(net(*inputs), before)
    learning = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert len(learning) == 2 * 4 * 2 + 1 and all(
        name == "proj.weight" or name.split(".")[-2] in ("up", "down") for name in learning
    )
    net(*inputs).square().sum().backward()
    assert all((parameter.grad is not None) == (name in learning) for name, parameter in net.named_parameters())
    for layer in net.modules():
        if isinstance(layer, LoRALinear):
            nn.init.normal_(layer.up.weight, std=0.1)
    learned = net(*inputs)
    assert not torch.allclose(learned, before)
    merge_lora(net)
    torch.testing.assert_close(net(*inputs), learned, atol=1e-5, rtol=1e-5)
    assert net.state_dict().keys() == state.keys() and all(parameter.requires_grad for parameter in net.parameters())
    changed = {key for key, value in net.state_dict().items() if not torch.equal(value, state[key])}
    assert changed == {f"transformer_blocks.{i}.attn1.to_{name}.weight" for i in (0, 1) for name in ("q", "k", "v", "out.0")}


def test_layers_that_are_not_there_are_told():
    with pytest.raises(ValueError, match="no linear layer has a name like nothing"):
        add_lora(denoiser(), 2, "nothing")
    with pytest.raises(ValueError, match="at least 1"):
        add_lora(denoiser(), 0)


def test_prompts_name_the_degradation():
    generator = torch.Generator().manual_seed(0)
    assert {draw_prompt(("jpeg",), generator) for _ in range(30)} == set(PROMPTS["jpeg"])
    assert {draw_prompt(("jpeg", "denoise"), generator) for _ in range(60)} == set(WHOLE_PROMPTS)
    assert draw_prompt(("derain",), generator) == REALRESTORER_PROMPTS["derain"]
    assert draw_prompt(("color",), generator) in WHOLE_PROMPTS
    assert level_prompt(sigma=25) == "Remove gaussian noise sigma 25" and level_prompt(quality=15).endswith("quality 15")
    with pytest.raises(ValueError, match="either sigma or quality"):
        level_prompt()
    assert len(REALRESTORER_PROMPTS) == 9 and len(set(all_prompts())) == len(all_prompts()) == 19


def test_a_table_gives_vectors_and_comes_back_from_its_file(tmp_path):
    table = PromptTable(["a", "b"], 6, tokens=3)
    vectors, mask = table(["b", "a", "b"])
    assert torch.equal(vectors, table.weight[[1, 0, 1]]) and mask.shape == (3, 3)
    vectors.sum().backward()
    assert table.weight.grad.any()
    table.save(tmp_path / "table.safetensors")
    again = PromptTable.load(tmp_path / "table.safetensors")
    assert again.prompts == ("a", "b") and torch.equal(again("a")[0], table("a")[0])
    with pytest.raises(ValueError, match="no vectors for 'c'; choose from 'a', 'b'"):
        table("c")
    with pytest.raises(ValueError, match="at least one text"):
        table([])
    with pytest.raises(ValueError, match="different texts"):
        PromptTable(["a", "a"], 6)
    export_weights(denoiser(), tmp_path / "net.safetensors", arch="sana_denoiser", config=DENOISER)
    with pytest.raises(ValueError, match="holds no table"):
        PromptTable.load(tmp_path / "net.safetensors")


@pytest.fixture(scope="module")
def text_encoder():
    """A tiny Gemma 2 with random weights and a tokenizer of words, made without a network."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = sorted({word for text in all_prompts() for word in text.split()})
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<unk>", *words])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    torch.manual_seed(0)
    config = transformers.Gemma2Config(
        vocab_size=len(vocabulary),
        hidden_size=12,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=6,
        pad_token_id=0,
    )
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
    return wrapped, transformers.Gemma2Model(config).eval()


def test_texts_are_encoded_and_filled_up(text_encoder):
    vectors, mask = encode_text(["Remove blur, restore sharpness", "Please dehaze the image"], *text_encoder, tokens=20)
    assert vectors.shape == (2, 20, 12) and mask.sum(1).tolist() == [4, 4]
    alone, _ = encode_text("Please dehaze the image", *text_encoder, tokens=9)
    torch.testing.assert_close(alone[0, :4], vectors[1, :4])
    cut, counts = encode_text("Please dehaze the image", *text_encoder, tokens=2)
    torch.testing.assert_close(cut[0], vectors[1, :2])
    assert counts.tolist() == [[1, 1]]
    with pytest.raises(ValueError, match="at least one text"):
        encode_text([], *text_encoder)


def test_a_table_of_an_encoder_tells_the_network_the_same(text_encoder):
    table = PromptTable.encoded(all_prompts(), *text_encoder)
    assert not table.weight.requires_grad and table.weight.shape[1] < 20  # the longest of the texts
    vectors, mask = encode_text("Please dehaze the image", *text_encoder)
    net, x = denoiser(), torch.randn(1, 4, 3, 4)
    text, counts = table("Please dehaze the image")
    with torch.inference_mode():
        torch.testing.assert_close(net(x, x, 500, text, counts), net(x, x, 500, vectors, mask))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Photographs, and weights of a small SANA and its autoencoder."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("sana")
    (folder / "photographs").mkdir()
    generator = torch.Generator().manual_seed(0)
    for number in range(4):
        coarse = torch.rand(1, 3, 6, 7, generator=generator)
        picture = nn.functional.interpolate(coarse, (40, 48), mode="bicubic").clamp(0, 1)[0]
        Image.fromarray((picture * 255).byte().permute(1, 2, 0).numpy()).save(folder / "photographs" / f"{number}.png")
    torch.manual_seed(0)
    base = SanaTransformer(**DENOISER)
    export_weights(base, folder / "base.safetensors", arch="sana", config=DENOISER)
    autoencoder = AUTOENCODER | {"scaling_factor": 2.0}
    export_weights(DCAE(**autoencoder), folder / "autoencoder.safetensors", arch="dcae", config=autoencoder)
    return folder


def run(files, out, *more):
    arguments = ["--base", files / "base.safetensors", "--autoencoder", files / "autoencoder.safetensors", "--out", out]
    short = ["--batch", "4", "--sides", "16", "--rate", "5e-3", "--ema", "0", "--precision", "float32"]
    recipe.main([str(each) for each in (files / "photographs", *arguments, *short, *more)])


def validations(caplog):
    return [float(record.getMessage().split("validation ")[1].split(",")[0]) for record in caplog.records
            if "validation" in record.getMessage()]  # fmt: skip


def test_the_full_recipe_lowers_its_loss_over_two_sizes(files, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    run(files, tmp_path / "net.safetensors", "--phase", "full", "--steps", "40", "--sides", "16", "32", "--every", "10")
    figures = validations(caplog)
    assert len(figures) == 4 and 0 > figures[-1] > 0.75 * figures[0]
    assert (tmp_path / "net.state.16.pt").exists() and (tmp_path / "net.state.32.pt").exists()
    net, table = load_model(tmp_path / "net.safetensors"), PromptTable.load(tmp_path / "net.prompts.safetensors")
    assert type(net) is SanaDenoiser and table.prompts == all_prompts()
    assert net.proj.weight[:, 4:].any()


def test_the_low_rank_recipe_changes_attention_and_projection_alone(files, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    table = PromptTable(all_prompts(), 12, learned=False)
    table.save(tmp_path / "table.safetensors")
    options = ("--phase", "lora", "--rank", "4", "--table", tmp_path / "table.safetensors", "--every", "10")
    run(files, tmp_path / "net.safetensors", *options, "--steps", "20")
    figures = validations(caplog)
    assert figures[-1] > figures[0]
    net, base = load_model(tmp_path / "net.safetensors"), load_model(files / "base.safetensors")
    changed = {key for key, value in base.state_dict().items() if not torch.equal(value, net.state_dict()[key])}
    assert changed == {key for key in base.state_dict() if "attn" in key and key.endswith("weight")}
    # Its result is where the second phase starts.
    recipe.load_denoiser(tmp_path / "net.safetensors")
    with pytest.raises(TypeError, match="holds DCAE, expected SanaTransformer or SanaDenoiser"):
        recipe.load_denoiser(files / "autoencoder.safetensors")


def test_pairs_share_their_crop_and_say_what_to_undo():
    images = [torch.randint(0, 256, (3, 20, 24), dtype=torch.uint8) for _ in range(3)]
    clean, degraded, prompts = recipe.draw_pairs(images, 16, 6, torch.Generator().manual_seed(3))
    assert clean.shape == degraded.shape == (6, 3, 16, 16) and set(prompts) <= set(all_prompts())
    for one, other in zip(clean, degraded, strict=True):
        likeness = torch.corrcoef(torch.stack((one.flatten(), other.flatten())))[0, 1]
        assert not torch.equal(one, other) and likeness > 0.1
