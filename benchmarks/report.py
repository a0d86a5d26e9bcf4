"""restoralib beside its peers, as ratios of one run each, written to `benchmarks/REPORT.md`.

    python benchmarks/report.py                     # sections that benchmarks/report.json lacks
    python benchmarks/report.py --only nafnet metrics --rounds 3 --threads 2

A section is run whole: ours and the peer's with the same weights and the same input, call by call in turn. What it finds is
kept in `report.json`, so that a run that was stopped goes on where it was. Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import logging
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from measuring import ceilings, interleaved, machine, multiply_adds, ratio
from torch import Tensor, nn

from restoralib import archs, list_models, metrics
from restoralib.archs import VARIANTS

HERE = Path(__file__).parent
EVAL = HERE.parents[1] / "shared" / "data" / "eval"
PEERS = ("spandrel", "spandrel_extra_arches", "diffusers", "deepinv", "piq", "torchmetrics", "pyiqa", "onnxruntime")
Rows = list[dict[str, Any]]


class Missing(Exception):
    """A section that cannot be run here; its text says why."""


@dataclass(frozen=True)
class Net:
    """A network that is compared with a peer's.

    Args:
        cls: our class.
        variant: the published configuration.
        side: of the image in pixels.
        leave: arguments of the configuration that our class does not take.
    """

    cls: str
    variant: str
    side: int
    leave: tuple[str, ...] = ()


# Published configurations; the images are as large as a tile of a photograph, or as the patches of the papers.
NETS = {
    "nafnet": Net("NAFNet", "nafnet_gopro_width32", 256, ("train_size", "fast_imp")),
    "swinir-light": Net("SwinIR", "swinir_lightweight_x4", 64),
    "restormer": Net("Restormer", "restormer_deraining", 128),
    "swinir": Net("SwinIR", "swinir_classical_x4", 64),
    "esrgan": Net("RRDBNet", "realesrgan_x4plus_anime_6b", 64),
    "compact": Net("SRVGGNetCompact", "realesr_general_x4v3", 128),
    "scunet": Net("SCUNet", "scunet_color_15", 64),
    "drunet": Net("DRUNet", "drunet_color", 128),
    "dncnn": Net("DnCNN", "dncnn_15", 256),
    "rcan": Net("RCAN", "rcan_x4", 48),
    "hat": Net("HAT", "hat_s_x4", 32),
    "mprnet": Net("MPRNet", "mprnet_deraining", 64),
}


def peer_of(name: str, net: nn.Module, config: dict[str, Any]) -> tuple[str, nn.Module]:
    """The peer's network with our weights.

    Raises:
        Missing: it is not installed, or does not know the network.
    """
    try:
        import spandrel
    except ImportError as error:
        raise Missing(f"spandrel is not installed ({error})") from error
    state = {key: value.clone() for key, value in net.state_dict().items()}
    if name == "mprnet":
        from spandrel_extra_arches.architectures.MPRNet import MPRNet

        theirs = MPRNet(**config)
        theirs.load_state_dict(state)
        return "spandrel_extra_arches", theirs.eval()
    if name == "restormer":
        import spandrel_extra_arches

        spandrel_extra_arches.install(ignore_duplicates=True)
    try:
        found = spandrel.ModelLoader().load_from_state_dict(state).model.eval()
    except Exception as error:  # a peer that does not know it is left out
        raise Missing(f"spandrel does not load it ({type(error).__name__}: {str(error)[:80]})") from error
    return "spandrel_extra_arches" if name == "restormer" else "spandrel", found


def first(result: Any) -> Tensor:
    """The restored image of a network that gives several."""
    return result[0] if isinstance(result, tuple | list) else result


def measure_net(name: str, rounds: int) -> Rows:
    """A network beside its peer: as shipped, in channels_last memory, in bfloat16."""
    case = NETS[name]
    config = {key: value for key, value in VARIANTS[case.variant].config.items() if key not in case.leave}
    torch.manual_seed(0)
    ours = getattr(archs, case.cls)(**config).eval()
    with torch.no_grad():
        for parameter in ours.parameters():  # zeros at the end of residual branches would hide differences
            if parameter.ndim > 1 and not parameter.any():
                parameter.normal_(std=0.02)
    peer, theirs = peer_of(name, ours, config)
    theirs_last = peer_of(name, ours, config)[1].to(memory_format=torch.channels_last)
    ours = ours.to(memory_format=torch.channels_last)
    image = torch.rand(1, ours.spec.in_channels, case.side, case.side)
    image_last = image.to(memory_format=torch.channels_last)
    extra = (torch.full((1, 1, case.side, case.side), 0.1),) if case.cls == "DRUNet" and not ours.blind else ()
    given, given_last = (torch.cat((x, *extra), 1) for x in (image, image_last))
    arguments = (image_last, *extra)

    def half() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return first(ours(*arguments))

    calls = {
        "ours": lambda: first(ours(*arguments)),
        "ours, bfloat16": half,
        "peer": lambda: first(theirs(given.clone())),
        "peer, channels_last": lambda: first(theirs_last(given_last.clone())),
    }
    with torch.inference_mode():
        expected, result, rough = calls["peer"](), calls["ours"](), calls["ours, bfloat16"]()
        error = float((result - expected).abs().max() / expected.abs().max())
        noise = float(10 * torch.log10(result.square().max() / (rough.float() - result).square().mean()))
        seconds = interleaved(calls, rounds)
    best = min(seconds["ours"])
    return [
        {
            "what": f"{case.variant}, {case.side}x{case.side}",
            "peer": peer,
            "peer / ours": ratio(seconds, "peer", "ours"),
            "peer channels_last / ours": ratio(seconds, "peer, channels_last", "ours"),
            "ours / ours in bfloat16": ratio(seconds, "ours", "ours, bfloat16"),
            "bfloat16, dB to float32": noise,
            "ours, s": sorted(seconds["ours"])[rounds // 2],
            "GMAC": multiply_adds(ours, *arguments) / 1e9,
            "GMAC/s, best": multiply_adds(ours, *arguments) / best / 1e9,
            "difference": error,
        }
    ]


def measure_metrics(rounds: int) -> Rows:
    """Metrics of one RGB image of 512x512 in float32."""
    generator = torch.Generator().manual_seed(0)
    target = nn.functional.avg_pool2d(torch.rand(1, 3, 512, 512, generator=generator), 9, 1, 4)
    image = nn.functional.avg_pool2d(target, 3, 1, 1)
    ours: dict[str, Callable[..., Tensor]] = {"psnr": metrics.psnr, "ssim": metrics.ssim, "ms_ssim": metrics.ms_ssim}
    theirs: dict[str, dict[str, Callable[..., Any]]] = {name: {} for name in ours}
    try:
        import piq

        theirs["psnr"]["piq"] = lambda x, y: piq.psnr(x, y, data_range=1.0)
        theirs["ssim"]["piq"] = lambda x, y: piq.ssim(x, y, data_range=1.0, downsample=False)
        theirs["ms_ssim"]["piq"] = lambda x, y: piq.multi_scale_ssim(x, y, data_range=1.0)
    except ImportError:
        pass
    try:
        from torchmetrics.functional import image as torchmetrics_image

        theirs["psnr"]["torchmetrics"] = lambda x, y: torchmetrics_image.peak_signal_noise_ratio(x, y, data_range=1.0)
        theirs["ssim"]["torchmetrics"] = lambda x, y: torchmetrics_image.structural_similarity_index_measure(
            x, y, data_range=1.0
        )
        theirs["ms_ssim"]["torchmetrics"] = lambda x, y: torchmetrics_image.multiscale_structural_similarity_index_measure(
            x, y, data_range=1.0
        )
    except ImportError:
        pass
    if not any(theirs.values()):
        raise Missing("neither piq nor torchmetrics is installed")
    rows = []
    with torch.inference_mode():
        for name, peers in theirs.items():
            calls = {"ours": lambda name=name: ours[name](image, target)}
            calls |= {peer: lambda call=call: call(image, target) for peer, call in peers.items()}
            seconds = interleaved(calls, rounds)
            for peer, call in peers.items():
                rows.append(
                    {
                        "what": f"{name}, 512x512",
                        "peer": peer,
                        "peer / ours": ratio(seconds, peer, "ours"),
                        "ours, s": sorted(seconds["ours"])[rounds // 2],
                        "difference": abs(float(call(image, target)) - float(ours[name](image, target))),
                    }
                )
    return rows


def measure_sampler(rounds: int) -> Rows:
    """Fifty steps of DDIM at 128x128 with a network that costs nothing: what the sampler itself takes."""
    try:
        from diffusers import DDIMScheduler
    except ImportError as error:
        raise Missing(f"diffusers is not installed ({error})") from error
    from restoralib.diffusion import DDPM, denoiser, sample
    from restoralib.diffusion.sampling import ddim
    from restoralib.ops.schedules import linear_betas

    process = DDPM(linear_betas(1000))
    scheduler = DDIMScheduler(
        beta_start=1e-4, beta_end=0.02, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(50)
    noise = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    predict = denoiser(lambda x, t: 0.9 * x, process, "eps")
    times = [*scheduler.timesteps.tolist(), -1]

    def theirs() -> Tensor:
        x = noise
        for t in scheduler.timesteps:
            x = scheduler.step(0.9 * x, t, x).prev_sample
        return x

    calls = {"ours": lambda: sample(predict, noise, times, ddim(process)), "peer": theirs}
    with torch.inference_mode():
        error = float((calls["ours"]() - theirs()).abs().max() / theirs().abs().max())
        seconds = interleaved(calls, rounds)
    return [
        {
            "what": "DDIM, 50 steps of 128x128",
            "peer": "diffusers",
            "peer / ours": ratio(seconds, "peer", "ours"),
            "ours, s": sorted(seconds["ours"])[rounds // 2],
            "difference": error,
        }
    ]


def measure_latent(rounds: int) -> Rows:
    """DC-AE and SANA's transformer beside diffusers', at a fraction of their published width, which fits any memory."""
    try:
        import diffusers
    except ImportError as error:
        raise Missing(f"diffusers is not installed ({error})") from error
    config = dict(VARIANTS["dc_ae_f32c32_sana_1_0"].config)
    for half in ("encoder", "decoder"):
        config[f"{half}_block_out_channels"] = [max(32, width // 4) for width in config[f"{half}_block_out_channels"]]
    sana = {
        "in_channels": 32,
        "out_channels": 32,
        "num_attention_heads": 18,
        "attention_head_dim": 32,
        "num_layers": 4,
        "num_cross_attention_heads": 8,
        "cross_attention_head_dim": 72,
        "cross_attention_dim": 576,
        "caption_channels": 256,
        "sample_size": 32,
    }
    torch.manual_seed(0)
    pairs = {
        "DC-AE f32c32 of a quarter of the width, 256x256": (archs.DCAE(**config), diffusers.AutoencoderDC(**config)),
        "SANA, width 576, 4 layers, 1024 tokens": (
            archs.SanaTransformer(**sana),
            diffusers.SanaTransformer2DModel(**sana),
        ),
    }
    image, latent, text = torch.rand(1, 3, 256, 256), torch.randn(1, 32, 32, 32), torch.randn(1, 64, 256)
    time, mask = torch.tensor([500.0]), torch.ones(1, 64)
    rows = []
    for what, (ours, theirs) in pairs.items():
        ours, theirs = ours.eval(), theirs.eval()
        with torch.no_grad():
            theirs.load_state_dict(ours.state_dict())
        if what.startswith("DC-AE"):
            calls = {
                "ours": lambda net=ours: net.decode(net.encode(image)),
                "peer": lambda net=theirs: net.decode(net.encode(image).latent).sample,
            }
        else:
            calls = {
                "ours": lambda net=ours: net(latent, text, time, mask),
                "peer": lambda net=theirs: (
                    net(latent, encoder_hidden_states=text, timestep=time, encoder_attention_mask=mask).sample
                ),
            }
        with torch.inference_mode():
            expected = calls["peer"]()
            error = float((first(calls["ours"]()) - expected).abs().max() / expected.abs().max())
            seconds = interleaved(calls, rounds)
        rows.append(
            {
                "what": what,
                "peer": "diffusers",
                "peer / ours": ratio(seconds, "peer", "ours"),
                "ours, s": sorted(seconds["ours"])[rounds // 2],
                "difference": error,
            }
        )
    return rows


def measure_int8(rounds: int) -> Rows:
    """The bundled restorers in 8 bits by ONNX Runtime: what that costs in dB, and how much faster it is."""
    try:
        import onnxruntime  # noqa: F401

        from restoralib.export import OnnxModel, export_onnx, quantize_onnx
        from restoralib.images import read_image
    except ImportError as error:
        raise Missing(f"ONNX Runtime is not installed ({error})") from error
    if not EVAL.is_dir():
        raise Missing(f"{EVAL} is not there")
    from restoralib import restore
    from restoralib.zoo import load_bundled, model_info

    files = sorted((EVAL / "CBSD68").glob("*.*"))[:8]
    train = sorted((EVAL.parent / "train").glob("*.*"))[:12]
    photographs, known = ([read_image(file).color[:, :256, :256] for file in part] for part in (files, train))

    def degrade(image: Tensor, scale: int, number: int) -> Tensor:
        if scale > 1:
            from restoralib.ops.resize import resize

            return resize(image[None], 1 / scale)[0].clamp(0, 1)
        noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(number))
        return (image + 25 / 255 * noise).clamp(0, 1)

    rows = []
    for name in list_models(bundled=True):
        info = model_info(name)
        if info.role != "restorer" or not set(info.tasks) & {"denoise", "sr2", "sr3", "sr4"}:
            continue
        net = load_bundled(name)
        if type(net).__name__ != info.cls:  # a chain of several networks
            continue
        scale = info.scale
        targets = [x[:, : x.shape[1] // scale * scale, : x.shape[2] // scale * scale] for x in photographs]
        pairs = [(degrade(x, scale, number), x) for number, x in enumerate(targets)]
        with tempfile.TemporaryDirectory() as folder:
            whole, small = Path(folder) / "whole.onnx", Path(folder) / "small.onnx"
            export_onnx(net, whole)
            quantize_onnx(whole, [degrade(x, scale, 100 + number) for number, x in enumerate(known)], small)
            models = {"eager": net, "float32": OnnxModel(whole), "int8": OnnxModel(small)}
            figures = {
                kind: sum(float(metrics.psnr(restore(image, model, tile=None)[None], target[None])) for image, target in pairs)
                / len(pairs)
                for kind, model in models.items()
            }
            image = torch.rand(1, net.spec.in_channels, 256, 256)
            with torch.inference_mode():
                net_last = net.to(memory_format=torch.channels_last)
                image_last = image.to(memory_format=torch.channels_last)
                calls = {
                    "eager": lambda net=net_last, x=image_last: net(x),
                    "float32": lambda m=models["float32"], x=image: m(x),
                    "int8": lambda m=models["int8"], x=image: m(x),
                }
                seconds = interleaved(calls, rounds)
            rows.append(
                {
                    "what": f"{name}, 256x256",
                    "eager / int8": ratio(seconds, "eager", "int8"),
                    "ONNX float32 / int8": ratio(seconds, "float32", "int8"),
                    "eager / ONNX float32": ratio(seconds, "eager", "float32"),
                    "PSNR eager": figures["eager"],
                    "PSNR ONNX float32": figures["float32"],
                    "PSNR int8": figures["int8"],
                    "loss, dB": figures["eager"] - figures["int8"],
                    "size, kB": f"{whole.stat().st_size / 1000:.0f} -> {small.stat().st_size / 1000:.0f}",
                }
            )
    return rows


def measure_compile(rounds: int) -> Rows:
    """What restoralib.compile gains, and which form it keeps."""
    from restoralib import compile as compile_net
    from restoralib import create_model

    rows = []
    for name, side in (("nafnet_gopro_width32", 256), ("swinir_lightweight_x4", 64), ("restormer_deraining", 128)):
        net = create_model(name).eval().to(memory_format=torch.channels_last)
        image = torch.rand(1, 3, side, side).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            kept = compile_net(net)
            forced = compile_net(net, backend="inductor") if kept is net else kept
            seconds = interleaved({"eager": lambda: net(image), "compiled": lambda: forced(image)}, rounds)  # noqa: B023
        rows.append(
            {
                "what": f"{name}, {side}x{side}",
                "eager / compiled": ratio(seconds, "eager", "compiled"),
                "kept": "eager" if kept is net else "compiled",
            }
        )
    return rows


SECTIONS: dict[str, Callable[[int], Rows]] = {
    **{name: lambda rounds, name=name: measure_net(name, rounds) for name in NETS},
    "metrics": measure_metrics,
    "sampler": measure_sampler,
    "latent": measure_latent,
    "int8": measure_int8,
    "compile": measure_compile,
}


def run(name: str, rounds: int) -> dict[str, Any]:
    """One section: its rows, the machine's ceilings before and after it, the load, the versions."""
    before, found = machine(), ceilings()
    try:
        rows, reason = SECTIONS[name](rounds), None
    except Missing as error:
        rows, reason = [], str(error)
    best = {kind: max(rate, found[kind]) for kind, rate in ceilings().items()}
    for row in rows:
        if "GMAC/s, best" in row:
            row |= {f"of {kind}": row["GMAC/s, best"] * 1e9 / rate for kind, rate in best.items()}
    versions = {"torch": torch.__version__}
    for package in PEERS:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "rows": rows,
        "reason": reason,
        "rounds": rounds,
        "ceilings, GMAC/s": {kind: rate / 1e9 for kind, rate in best.items()},
        "machine": {**before, "load after": machine()["load"]},
        "versions": versions,
        "date": datetime.date.today().isoformat(),
    }


def table(rows: Rows) -> str:
    """A Markdown table."""
    head = list(dict.fromkeys(key for row in rows for key in row))

    def cell(key: str, value: Any) -> str:
        if not isinstance(value, float):
            return str(value)
        if key.startswith("of "):
            return f"{100 * value:.0f} %"
        return f"{value:.1e}" if key == "difference" else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"

    lines = [head, ["---"] * len(head), *([cell(key, row.get(key, "")) for key in head] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_report(found: dict[str, Any], file: Path) -> None:
    """The Markdown page of what was found so far."""
    groups = {"Networks": [n for n in NETS if n in found], **{n: [n] for n in SECTIONS if n not in NETS and n in found}}
    parts = [
        "# Benchmarks\n",
        "Written by `python benchmarks/report.py`; do not edit. Ratios are medians over rounds in which all calls of a row",
        "are made in turn, with the same weights and the same input, so that a busy machine slows all alike.",
        "Shares are of the best that plain products and convolutions in float32 reached in the same run, on five shapes.\n",
    ]
    for title, names in groups.items():
        rows = [row for name in names for row in found[name]["rows"]]
        if names:
            parts += [f"## {title.capitalize()}\n", table(rows) + "\n" if rows else ""]
        for name in names:
            section = found[name]
            if section["reason"]:
                parts.append(f"{name}: not measured, {section['reason']}.\n")
        about = [
            f"- {name}: {found[name]['date']}, {found[name]['rounds']} rounds, {found[name]['machine']['threads']} threads of "
            f"{found[name]['machine']['cores']} cores ({found[name]['machine']['processor']}, "
            f"{found[name]['machine']['instructions']}), load {found[name]['machine']['load']} to "
            f"{found[name]['machine']['load after']}; ceilings "
            + ", ".join(f"{kind} {rate:.0f}" for kind, rate in found[name]["ceilings, GMAC/s"].items())
            + " GMAC/s; "
            + ", ".join(f"{package} {version}" for package, version in found[name]["versions"].items())
            for name in names
        ]
        parts += [*about, ""]
    file.write_text("\n".join(parts), encoding="utf-8")


def main() -> None:
    """Run sections, and write the report after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="sections to run, also where they were run before")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--json", type=Path, default=HERE / "report.json")
    parser.add_argument("--out", type=Path, default=HERE / "REPORT.md")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    found = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else {}
    for name in options.only or [name for name in SECTIONS if name not in found]:
        print(f"{name} …", flush=True)
        found[name] = run(name, options.rounds)
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        write_report(found, options.out)
        print(table(found[name]["rows"]) if found[name]["rows"] else found[name]["reason"], flush=True)


if __name__ == "__main__":
    main()
