"""Where the authors' weights are, under which licences, and what the authors report of them.

Nothing is downloaded from here. A licence of weights is that of the page which offers them, where it has one. Figures are those
of the papers or of the authors' pages: PSNR in dB, SSIM where there is a second number.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

Figures = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Published:
    """The weights of one published configuration.

    Args:
        page: where the authors offer them.
        code_license: SPDX identifier of the authors' code; restoralib's own is Apache-2.0.
        weights_license: SPDX identifier of the weights.
        data: what they were trained on; empty where that is not stated or not known here.
        figures: data set -> measure -> value.
        terms: what the licence of the weights asks of their user; empty where it leaves commercial use free.
        urls: addresses of the file; only where its bytes were seen, with their sum and number.
        sha256: of the file.
        size: of the file, in bytes.
    """

    page: str
    code_license: str
    weights_license: str
    data: str = ""
    figures: Figures = field(default_factory=dict)
    terms: str = ""
    urls: tuple[str, ...] = ()
    sha256: str = ""
    size: int = 0


def _figures(text: str, measures: str = "psnr ssim") -> Figures:
    """Figures from a row as papers print it: "Set5 38.42/0.9623, Set14 34.46/0.9250"."""
    rows = (entry.rsplit(" ", 1) for entry in text.split(", "))
    return {name: dict(zip(measures.split(), map(float, values.split("/")), strict=False)) for name, values in rows}


_UNKNOWN = "LicenseRef-unknown"
_NO_WEIGHTS = Published("none were published", "Apache-2.0", "NONE")


def _yjn870(page: str, figures: str) -> Published:
    terms = "its author states none; ask before commercial use"
    return Published(f"github.com/yjn870/{page}", _UNKNOWN, _UNKNOWN, "91-image", _figures(figures), terms)


def _lornatang(figures: str = "") -> Published:
    page = "github.com/Lornatang/SRGAN-PyTorch (README, Google Drive)"
    return Published(page, "Apache-2.0", "Apache-2.0", "ImageNet", _figures(figures) if figures else {})


def _nafnet(data: str, figures: str) -> Published:
    page = "github.com/megvii-research/NAFNet (README, Google Drive)"
    return Published(page, "MIT", "MIT", data, _figures(figures))


def _swinir(file: str, data: str, figures: str = "", measures: str = "psnr ssim") -> Published:
    page = f"github.com/JingyunLiang/SwinIR (releases, {file}.pth)"
    return Published(page, "Apache-2.0", "Apache-2.0", data, _figures(figures, measures) if figures else {})


def _dc_ae(file: str, data: str = "", figures: str = "", measures: str = "rfid psnr") -> Published:
    page = f"huggingface.co/mit-han-lab/dc-ae-{file}, also as dc-ae-{file}-diffusers"
    terms = "its page has a LICENSE.txt of its own, which nobody has read here; read it before commercial use"
    return Published(page, "Apache-2.0", _UNKNOWN, data, _figures(figures, measures) if figures else {}, terms)


def _sana(file: str) -> Published:
    page = f"huggingface.co/Efficient-Large-Model/{file}, also as {file}_diffusers"
    terms = (
        "NVIDIA's NSCL v2-custom, which nobody has read here, and Gemma's terms for the text encoder; "
        "read them before commercial use"
    )
    return Published(page, "Apache-2.0", "LicenseRef-NSCL-v2-custom", terms=terms)


def _dehazeformer(data: str, figures: str) -> Published:
    page = "github.com/IDKiro/DehazeFormer (README, Google Drive)"
    return Published(page, "MIT", "MIT", data, _figures(figures))


def _mprnet(folder: str, data: str, figures: str) -> Published:
    page = f"github.com/swz30/MPRNet ({folder}/pretrained_models/README.md, Google Drive)"
    licence = "LicenseRef-MPRNet-Academic"
    return Published(page, licence, licence, data, _figures(figures), "for academic use, not for commercial use")


def _prenet(folder: str, data: str, figures: str) -> Published:
    page = f"github.com/csdwren/PReNet (logs/{folder}/net_latest.pth)"
    terms = "its authors state none; ask before commercial use"
    return Published(page, _UNKNOWN, _UNKNOWN, data, _figures(figures), terms)


def _snr_aware(file: str, data: str, figures: str) -> Published:
    page = f"github.com/dvlab-research/SNR-Aware-Low-Light-Enhance (README, Google Drive, {file}.pth)"
    terms = "its authors state none; ask before commercial use"
    return Published(page, _UNKNOWN, _UNKNOWN, data, _figures(figures), terms)


def _retinexnet(files: str) -> Published:
    page = f"github.com/aasharma90/RetinexNet_PyTorch (ckpts/{files})"
    terms = "its author states none; ask before commercial use"
    return Published(page, _UNKNOWN, _UNKNOWN, "LOL and synthetic pairs", terms=terms)


def _irsde(data: str, figures: str = "") -> Published:
    page = "github.com/Algolzw/image-restoration-sde (README, Google Drive)"
    return Published(page, "MIT", "MIT", data, _figures(figures, "psnr ssim lpips fid") if figures else {})


_IRSDE_CONFIGURATION = Published(
    "github.com/Algolzw/image-restoration-sde (configuration; see its README for weights)",
    "MIT",
    _UNKNOWN,
    terms="whether its authors offer these weights was not checked",
)


def _adm(file: str, figures: str = "", data: str = "ImageNet") -> Published:
    page = f"github.com/openai/guided-diffusion (README, {file}_diffusion{'_uncond' if not figures else ''}.pt)"
    return Published(page, "MIT", "MIT", data, _figures(figures, "fid precision recall") if figures else {})


def _sr3(figures: str) -> Published:
    page = "github.com/Janspiry/Image-Super-Resolution-via-Iterative-Refinement (README, Google Drive)"
    return Published(page, "Apache-2.0", "Apache-2.0", "FFHQ", _figures(figures))


def _stablesr(page: str, data: str) -> Published:
    licence = "LicenseRef-S-Lab-1.0"
    return Published(f"huggingface.co/Iceclear/StableSR ({page})", licence, licence, data, terms="not for commercial use")


def _restormer(file: str, data: str, figures: str, measures: str = "psnr ssim") -> Published:
    page = f"github.com/swz30/Restormer (releases, {file}.pth)"
    licence = "LicenseRef-Restormer-Academic"
    return Published(page, licence, licence, data, _figures(figures, measures), "for academic use, not for commercial use")


def _edsr(file: str, figures: str) -> Published:
    page = f"github.com/sanghyun-son/EDSR-PyTorch (README, {file}.pt)"
    return Published(page, "MIT", "MIT", "DIV2K", _figures(figures))


def _kair(file: str, data: str = "") -> Published:
    return Published(f"github.com/cszn/KAIR (releases, {file}.pth)", "MIT", "MIT", data)


def _scunet_real(name: str) -> Published:
    terms = "its authors state none for these weights; ask before commercial use"
    return Published(f"github.com/cszn/SCUNet (README, {name}.pth)", "Apache-2.0", _UNKNOWN, "synthetic pairs", terms=terms)


def _hat(file: str, data: str, figures: str = "") -> Published:
    page = f"github.com/XPixelGroup/HAT (README, Google Drive, {file}.pth)"
    return Published(page, "Apache-2.0", "Apache-2.0", data, _figures(figures, "psnr") if figures else {})


def _rcan(scale: int, figures: str) -> Published:
    page = f"github.com/yulunzhang/RCAN (README, RCAN_BIX{scale}.pt)"
    terms = "its authors state none; ask before commercial use"
    return Published(page, _UNKNOWN, _UNKNOWN, "DIV2K", _figures(figures), terms)


def _rlfn(file: str, figures: str = "") -> Published:
    page, terms = f"github.com/bytedance/RLFN (model_zoo/{file}.pth)", "its authors state none; ask before commercial use"
    return Published(page, _UNKNOWN, _UNKNOWN, "", _figures(figures) if figures else {}, terms)


def _esrgan(file: str, data: str, figures: str = "") -> Published:
    page = f"github.com/xinntao/ESRGAN (README, Google Drive, {file}.pth)"
    return Published(page, "Apache-2.0", "Apache-2.0", data, _figures(figures) if figures else {})


def _realesrgan(file: str, data: str = "") -> Published:
    return Published(f"github.com/xinntao/Real-ESRGAN (releases, {file}.pth)", "BSD-3-Clause", "BSD-3-Clause", data)


def _diffir(data: str = "", figures: str = "") -> Published:
    page, terms = "github.com/Zj-BinXia/DiffIR (README)", "its authors state none; ask before commercial use"
    return Published(page, _UNKNOWN, _UNKNOWN, data, _figures(figures) if figures else {}, terms)


_BASICSR = "github.com/XPixelGroup/BasicSR (docs/ModelZoo.md)"
_DF2K = "DF2K (DIV2K, Flickr2K)"
_DF2K_OST = "DF2K (DIV2K, Flickr2K), OST"
_HAT_S = {2: "", 3: "", 4: "Set5 32.92, Set14 29.15, BSD100 27.97, Urban100 27.87, Manga109 32.35"}
_HAT = {2: "", 3: "", 4: "Set5 33.04, Set14 29.23, BSD100 28.00, Urban100 27.97, Manga109 32.48"}
_RCAN = {
    2: "Set5 38.27/0.9614, Set14 34.12/0.9216, BSD100 32.41/0.9027, Urban100 33.34/0.9384, Manga109 39.44/0.9786",
    3: "Set5 34.74/0.9299, Set14 30.65/0.8482, BSD100 29.32/0.8111, Urban100 29.09/0.8702, Manga109 34.44/0.9499",
    4: "Set5 32.63/0.9002, Set14 28.87/0.7889, BSD100 27.77/0.7436, Urban100 26.82/0.8087, Manga109 31.22/0.9173",
    8: "Set5 27.31/0.7878, Set14 25.23/0.6511, BSD100 24.98/0.6058, Urban100 23.00/0.6452, Manga109 25.24/0.8029",
}
_RLFN = {
    2: "Set5 38.07/0.9607, Set14 33.72/0.9187, BSD100 32.22/0.9000, Urban100 32.33/0.9299",
    4: "Set5 32.24/0.8952, Set14 28.62/0.7813, BSD100 27.60/0.7364, Urban100 26.17/0.7877",
}
_RRDB_PSNR = "Set5 32.73/0.9011, Set14 28.99/0.7917, BSD100 27.85/0.7455, Urban100 27.03/0.8153, Manga109 31.66/0.9196"
_LEFTTHOMAS = "github.com/leftthomas/SRGAN (epochs/netG_epoch_{}_100.pth)"
_SGRVINOD = "github.com/sgrvinod/a-PyTorch-Tutorial-to-Super-Resolution (README; whole pickled networks, to be converted)"
_DFWB = "DFWB (DIV2K, Flickr2K, WED, BSD500)"

_CLASSICAL = {
    2: "Set5 38.42/0.9623, Set14 34.46/0.9250, BSD100 32.53/0.9041, Urban100 33.81/0.9427, Manga109 39.92/0.9797",
    3: "Set5 34.97/0.9318, Set14 30.93/0.8534, BSD100 29.46/0.8145, Urban100 29.75/0.8826, Manga109 35.12/0.9537",
    4: "Set5 32.92/0.9044, Set14 29.09/0.7950, BSD100 27.92/0.7489, Urban100 27.45/0.8254, Manga109 32.03/0.9260",
    8: "",
}
_CLASSICAL_DIV2K = {
    2: "Set5 38.35/0.9620, Set14 34.14/0.9227, BSD100 32.44/0.9030, Urban100 33.40/0.9393, Manga109 39.60/0.9792",
    3: "Set5 34.89/0.9312, Set14 30.77/0.8503, BSD100 29.37/0.8124, Urban100 29.29/0.8744, Manga109 34.74/0.9518",
    4: "Set5 32.72/0.9021, Set14 28.94/0.7914, BSD100 27.83/0.7459, Urban100 27.07/0.8164, Manga109 31.67/0.9226",
    8: "",
}
_LIGHTWEIGHT = {
    2: "Set5 38.14/0.9611, Set14 33.86/0.9206, BSD100 32.31/0.9012, Urban100 32.76/0.9340, Manga109 39.12/0.9783",
    3: "Set5 34.62/0.9289, Set14 30.54/0.8463, BSD100 29.20/0.8082, Urban100 28.66/0.8624, Manga109 33.98/0.9478",
    4: "Set5 32.44/0.8976, Set14 28.77/0.7858, BSD100 27.69/0.7406, Urban100 26.47/0.7980, Manga109 30.92/0.9151",
}
_SWINIR_NOISE = {
    ("gray", 15): "Set12 33.36, BSD68 31.97, Urban100 33.70",
    ("gray", 25): "Set12 31.01, BSD68 29.50, Urban100 31.30",
    ("gray", 50): "Set12 27.91, BSD68 26.58, Urban100 27.98",
    ("color", 15): "CBSD68 34.42, Kodak24 35.34, McMaster 35.61, Urban100 35.13",
    ("color", 25): "CBSD68 31.78, Kodak24 32.89, McMaster 33.20, Urban100 32.90",
    ("color", 50): "CBSD68 28.56, Kodak24 29.79, McMaster 30.22, Urban100 29.82",
}
_SWINIR_JPEG = {
    ("gray", 10): "Classic5 30.27/0.8249/29.95, LIVE1 29.86/0.8287/29.50",
    ("gray", 20): "Classic5 32.52/0.8748/31.99, LIVE1 32.25/0.8909/31.70",
    ("gray", 30): "Classic5 33.73/0.8961/33.03, LIVE1 33.69/0.9174/33.01",
    ("gray", 40): "Classic5 34.52/0.9082/33.66, LIVE1 34.67/0.9317/33.88",
    ("color", 10): "LIVE1 28.06/0.8089/27.76",
    ("color", 20): "LIVE1 30.45/0.8741/29.97",
    ("color", 30): "LIVE1 31.82/0.9018/31.24",
    ("color", 40): "LIVE1 32.75/0.9174/32.12",
}
_RESTORMER_NOISE = {
    ("gray", "blind"): "Set12 33.35/31.04/28.01, BSD68 31.95/29.51/26.62, Urban100 33.67/31.39/28.33",
    ("color", "blind"): (
        "CBSD68 34.39/31.78/28.59, Kodak24 35.44/33.02/30.00, McMaster 35.55/33.31/30.29, Urban100 35.06/32.91/30.02"
    ),
    ("gray", "sigma15"): "Set12 33.42, BSD68 31.96, Urban100 33.79",
    ("gray", "sigma25"): "Set12 31.08, BSD68 29.52, Urban100 31.46",
    ("gray", "sigma50"): "Set12 28.00, BSD68 26.62, Urban100 28.29",
    ("color", "sigma15"): "CBSD68 34.40, Kodak24 35.47, McMaster 35.61, Urban100 35.13",
    ("color", "sigma25"): "CBSD68 31.79, Kodak24 33.04, McMaster 33.34, Urban100 32.96",
    ("color", "sigma50"): "CBSD68 28.60, Kodak24 30.01, McMaster 30.30, Urban100 30.02",
}
_PROMPTIR = (
    "SOTS outdoor 30.58/0.974, Rain100L 36.37/0.972, "
    "CBSD68 sigma15 33.98/0.933, CBSD68 sigma25 31.31/0.888, CBSD68 sigma50 28.06/0.799"
)
_RAIN = "Test100 32.00/0.923, Rain100H 31.46/0.904, Rain100L 38.99/0.978, Test2800 34.18/0.944, Test1200 33.19/0.926"
_DEFOCUS = "DPDD indoor 28.87/0.882, DPDD outdoor 23.24/0.743, DPDD combined 25.98/0.811"
_DUAL_PIXEL = "DPDD indoor 29.48/0.895, DPDD outdoor 23.97/0.773, DPDD combined 26.66/0.833"

_PRENET_DATA = {  # name in ours, name in theirs, what it was trained on
    "rain100h": ("Rain100H", "RainTrainH, without the 546 images whose scenes Rain100H tests on"),
    "rain100l": ("Rain100L", "RainTrainL"),
    "rain1400": ("Rain1400", "Rain12600"),
}
_PRENET = {
    ("prenet", "PReNet6"): ("29.46/0.899", "37.48/0.979", "32.60/0.946"),
    ("prenet_r", "PReNet6_r"): ("28.98/0.892", "37.10/0.977", "32.44/0.944"),
    ("prn", "PRN6"): ("28.07/0.884", "36.99/0.977", "31.69/0.941"),
    ("prn_r", "PRN6_r"): ("27.43/0.874", "36.11/0.973", "31.31/0.937"),
}

_HAZE = {  # data of training and of the figures, by the folder of the weights
    "indoor": ("RESIDE ITS", "SOTS indoor"),
    "outdoor": ("RESIDE OTS", "SOTS outdoor"),
    "reside6k": ("RESIDE-6K", "RESIDE-6K"),
    "rshaze": ("RS-Haze", "RS-Haze"),
}
_DEHAZEFORMER = {
    "t": "35.15/0.989 33.71/0.982 30.36/0.973 39.11/0.968",
    "s": "36.82/0.992 34.36/0.983 30.62/0.976 39.57/0.970",
    "b": "37.84/0.994 34.95/0.984 31.45/0.980 39.87/0.971",
    "m": "38.46/0.994 34.29/0.983 30.89/0.977 39.71/0.971",
    "l": "40.05/0.996",
}

PUBLISHED: dict[str, Published] = {
    "srcnn_x2": _yjn870("SRCNN-pytorch (README)", "Set5 36.65"),
    "srcnn_x3": _yjn870("SRCNN-pytorch (README)", "Set5 33.29"),
    "srcnn_x4": _yjn870("SRCNN-pytorch (README)", "Set5 30.25"),
    "fsrcnn_x2": _yjn870("FSRCNN-pytorch (weights/fsrcnn_x2.pth)", "Set5 37.12"),
    "fsrcnn_x3": _yjn870("FSRCNN-pytorch (weights/fsrcnn_x3.pth)", "Set5 33.22"),
    "fsrcnn_x4": _yjn870("FSRCNN-pytorch (weights/fsrcnn_x4.pth)", "Set5 30.50"),
    **{f"fsrcnn_s_x{scale}": _NO_WEIGHTS for scale in (2, 3, 4)},
    **{f"srresnet_x{scale}": _lornatang() for scale in (2, 8)},
    "srresnet_x4": _lornatang("Set5 32.16/0.8938"),
    **{f"srgan_x{scale}": _lornatang() for scale in (2, 8)},
    "srgan_x4": _lornatang("Set5 30.67/0.8627"),
    "srgan_discriminator": _lornatang(),
    **{f"srgan_leftthomas_x{scale}": Published(_LEFTTHOMAS.format(scale), "MIT", "MIT", "VOC2012") for scale in (2, 4, 8)},
    **{f"{name}_sgrvinod_x4": Published(_SGRVINOD, "MIT", "MIT", "COCO 2014") for name in ("srresnet", "srgan")},
    **{f"msrresnet_x{scale}": Published(_BASICSR, "Apache-2.0", "Apache-2.0", "DIV2K") for scale in (2, 3)},
    "msrresnet_x4": Published(
        _BASICSR, "Apache-2.0", "Apache-2.0", "DIV2K", _figures("Set5 30.25/0.8651, Set14 26.78/0.7451, DIV2K 29.00/0.8195")
    ),
    "plainnet_width32": _NO_WEIGHTS,
    "dc_ae_f32c32_sana_1_0": _dc_ae("f32c32-sana-1.0", "", "MJHQ 1024 0.339/29.31"),
    "dc_ae_f32c32_sana_1_1": _dc_ae("f32c32-sana-1.1", "", "MJHQ 1024 0.314/29.74"),
    "dc_ae_f32c32_in_1_0": _dc_ae("f32c32-in-1.0", "ImageNet", "ImageNet 256 0.69/23.85/0.66/0.082", "rfid psnr ssim lpips"),
    "dc_ae_f32c32_mix_1_0": _dc_ae("f32c32-mix-1.0"),
    "dc_ae_f64c128_in_1_0": _dc_ae("f64c128-in-1.0", "ImageNet", "ImageNet 512 0.22/26.15/0.71/0.080", "rfid psnr ssim lpips"),
    "dc_ae_f64c128_mix_1_0": _dc_ae("f64c128-mix-1.0"),
    "dc_ae_f128c512_in_1_0": _dc_ae("f128c512-in-1.0", "ImageNet", "ImageNet 512 0.23", "rfid"),
    "dc_ae_f128c512_mix_1_0": _dc_ae("f128c512-mix-1.0"),
    "sana_600m_512": _sana("Sana_600M_512px"),
    "sana_600m_1024": _sana("Sana_600M_1024px"),
    "sana_1600m_512": _sana("Sana_1600M_512px"),
    "sana_1600m_1024": _sana("Sana_1600M_1024px_BF16"),
    "sana_1600m_2k": _sana("Sana_1600M_2Kpx_BF16"),
    "sana_1600m_4k": _sana("Sana_1600M_4Kpx_BF16"),
    "sana15_1600m_1024": _sana("SANA1.5_1.6B_1024px"),
    "sana15_4800m_1024": _sana("SANA1.5_4.8B_1024px"),
    "nafnet_sidd_width32": _nafnet("SIDD", "SIDD 39.9672/0.9599"),
    "nafnet_sidd_width64": _nafnet("SIDD", "SIDD 40.3045/0.9614"),
    "nafnet_gopro_width32": _nafnet("GoPro", "GoPro 32.8705/0.9606"),
    "nafnet_gopro_width64": _nafnet("GoPro", "GoPro 33.7103/0.9668"),
    "nafnet_reds_width64": _nafnet("REDS", "REDS-val-300 29.0903/0.8671"),
    "baseline_sidd_width32": _nafnet("SIDD", "SIDD 39.8857/0.9596"),
    "baseline_sidd_width64": _nafnet("SIDD", "SIDD 40.2970/0.9617"),
    "baseline_gopro_width32": _nafnet("GoPro", "GoPro 32.4799/0.9575"),
    "baseline_gopro_width64": _nafnet("GoPro", "GoPro 33.3960/0.9649"),
    **{
        f"swinir_classical_x{scale}": _swinir(f"001_classicalSR_DF2K_s64w8_SwinIR-M_x{scale}", "DF2K (DIV2K, Flickr2K)", row)
        for scale, row in _CLASSICAL.items()
    },
    **{
        f"swinir_classical_div2k_x{scale}": _swinir(f"001_classicalSR_DIV2K_s48w8_SwinIR-M_x{scale}", "DIV2K", row)
        for scale, row in _CLASSICAL_DIV2K.items()
    },
    **{
        f"swinir_lightweight_x{scale}": _swinir(f"002_lightweightSR_DIV2K_s64w8_SwinIR-S_x{scale}", "DIV2K", row)
        for scale, row in _LIGHTWEIGHT.items()
    },
    **{
        f"swinir_real_x{scale}": _swinir(f"003_realSR_BSRGAN_DFO_s64w8_SwinIR-M_x{scale}_GAN", "DFO (DIV2K, Flickr2K, OST)")
        for scale in (2, 4)
    },
    "swinir_real_large_x4": _swinir("003_realSR_BSRGAN_DFOWMFC_s64w8_SwinIR-L_x4_GAN", "DFOWMFC"),
    **{
        f"swinir_{color}_denoising_{sigma}": _swinir(f"{file}_DFWB_s128w8_SwinIR-M_noise{sigma}", _DFWB, row)
        for (color, sigma), row in _SWINIR_NOISE.items()
        for file in ["004_grayDN" if color == "gray" else "005_colorDN"]
    },
    **{
        f"swinir_{color}_jpeg_{quality}": _swinir(f"{file}_DFWB_s126w7_SwinIR-M_jpeg{quality}", _DFWB, row, "psnr ssim psnr_b")
        for (color, quality), row in _SWINIR_JPEG.items()
        for file in ["006_CAR" if color == "gray" else "006_colorCAR"]
    },
    **{f"hat_s_x{scale}": _hat(f"HAT-S_SRx{scale}", _DF2K, row) for scale, row in _HAT_S.items()},
    **{f"hat_x{scale}": _hat(f"HAT_SRx{scale}", _DF2K, row) for scale, row in _HAT.items()},
    **{
        f"{name}_imagenet_x{scale}": _hat(f"{file}_SRx{scale}_ImageNet-pretrain", f"ImageNet, {_DF2K}", rows.get(scale, ""))
        for name, file, rows in (("hat", "HAT", {4: "Urban100 28.37"}), ("hat_l", "HAT-L", {4: "Urban100 28.60"}))
        for scale in (2, 3, 4)
    },
    "hat_real_gan_x4": _hat("Real_HAT_GAN_SRx4", _DF2K_OST),
    "hat_real_gan_sharper_x4": _hat("Real_HAT_GAN_SRx4_sharper", _DF2K_OST),
    "edsr_baseline_x2": _edsr("edsr_baseline_x2", "DIV2K 34.61"),
    "edsr_baseline_x3": _edsr("edsr_baseline_x3", "DIV2K 30.92"),
    "edsr_baseline_x4": _edsr("edsr_baseline_x4", "DIV2K 28.95"),
    "edsr_x2": _edsr("edsr_x2", "DIV2K 35.03"),
    "edsr_x3": _edsr("edsr_x3", "DIV2K 31.26"),
    "edsr_x4": _edsr("edsr_x4", "DIV2K 29.25"),
    **{f"dncnn_{sigma}": _kair(f"dncnn_{sigma}", "BSD400") for sigma in (15, 25, 50)},
    **{name: _kair(name) for name in ("dncnn_gray_blind", "dncnn_color_blind", "dncnn3")},
    **{name: _kair(name, "BSD, WED, DIV2K, Flickr2K") for name in ("drunet_color", "drunet_gray")},
    **{name: _kair(name) for name in ("drunet_deblocking_color", "drunet_deblocking_grayscale")},
    **{
        f"scunet_{color}_{sigma}": replace(_kair(f"scunet_{color}_{sigma}", ""), code_license="Apache-2.0")
        for color in ("color", "gray")
        for sigma in (15, 25, 50)
    },
    **{name: _scunet_real(name) for name in ("scunet_color_real_psnr", "scunet_color_real_gan")},
    **{f"rcan_x{scale}": _rcan(scale, row) for scale, row in _RCAN.items()},
    **{f"rlfn_x{scale}": _rlfn(f"rlfn_x{scale}", row) for scale, row in _RLFN.items()},
    **{f"rlfn_s_x{scale}": _rlfn(f"rlfn_s_x{scale}") for scale in (2, 4)},
    "rlfn_ntire_x4": _rlfn("rlfn_ntire_x4"),
    "esrgan_x4": _esrgan("RRDB_ESRGAN_x4", _DF2K_OST),
    "esrgan_psnr_x4": _esrgan("RRDB_PSNR_x4", "DF2K (DIV2K, Flickr2K)", _RRDB_PSNR),
    "realesrgan_x4plus": _realesrgan("RealESRGAN_x4plus", _DF2K_OST),
    "realesrnet_x4plus": _realesrgan("RealESRNet_x4plus", _DF2K_OST),
    "realesrgan_x2plus": _realesrgan("RealESRGAN_x2plus", _DF2K_OST),
    "realesrgan_x4plus_anime_6b": _realesrgan("RealESRGAN_x4plus_anime_6B"),
    "realesr_animevideov3": _realesrgan("realesr-animevideov3"),
    "realesr_general_x4v3": _realesrgan("realesr-general-x4v3"),
    "realesr_general_wdn_x4v3": _realesrgan("realesr-general-wdn-x4v3"),
    "realesrgan_x4plus_discriminator": _realesrgan("RealESRGAN_x4plus_netD", _DF2K_OST),
    "realesrgan_x2plus_discriminator": _realesrgan("RealESRGAN_x2plus_netD", _DF2K_OST),
    "realesrgan_x4plus_anime_6b_discriminator": _realesrgan("RealESRGAN_x4plus_anime_6B_netD"),
    **{f"esrgan_discriminator_{input_size}": _NO_WEIGHTS for input_size in (128, 256)},
    "degradation_classifier": _NO_WEIGHTS,  # those that are bundled are ours
    "mprnet_deraining": _mprnet(
        "Deraining",
        "Rain13K",
        "Test100 30.27/0.897, Rain100H 30.41/0.890, Rain100L 36.40/0.965, Test2800 33.64/0.938, Test1200 32.91/0.916",
    ),
    "mprnet_deblurring": _mprnet(
        "Deblurring", "GoPro", "GoPro 32.66/0.959, HIDE 30.96/0.939, RealBlur-R 35.99/0.952, RealBlur-J 28.70/0.873"
    ),
    "mprnet_denoising": _mprnet("Denoising", "SIDD", "SIDD 39.71/0.958, DND 39.80/0.954"),
    **{
        f"{name}_{ours}": _prenet(f"{theirs}/{folder}", data, f"{theirs} {figure}")
        for (name, folder), row in _PRENET.items()
        for (ours, (theirs, data)), figure in zip(_PRENET_DATA.items(), row, strict=True)
    },
    "restormer_deraining": _restormer("deraining", "Rain13K", _RAIN),
    "restormer_motion_deblurring": _restormer(
        "motion_deblurring", "GoPro", "GoPro 32.92/0.961, HIDE 31.22/0.942, RealBlur-R 36.19/0.957, RealBlur-J 28.96/0.879"
    ),
    "restormer_single_image_defocus": _restormer("single_image_defocus_deblurring", "DPDD", _DEFOCUS),
    "restormer_dual_pixel_defocus": _restormer("dual_pixel_defocus_deblurring", "DPDD", _DUAL_PIXEL),
    "restormer_real_denoising": _restormer("real_denoising", "SIDD", "SIDD 40.02/0.960, DND 40.03/0.956"),
    **{
        f"restormer_gaussian_{color}_{level}": _restormer(
            f"gaussian_{color}_denoising_{level}",
            _DFWB,
            row,
            "psnr_sigma15 psnr_sigma25 psnr_sigma50" if level == "blind" else "psnr",
        )
        for (color, level), row in _RESTORMER_NOISE.items()
    },
    "promptir": Published(
        "github.com/va1shn9v/PromptIR (releases, model.ckpt)",
        "LicenseRef-PromptIR-Academic",
        "LicenseRef-PromptIR-Academic",
        "BSD400, WED, Rain100L, RESIDE OTS",
        _figures(_PROMPTIR),
        "for academic use, not for commercial use",
    ),
    "diffir_gopro": _diffir("GoPro", "GoPro 33.20/0.963, HIDE 31.55/0.947"),
    "diffir_s1_gopro": _diffir("GoPro"),
    **{f"diffir_{stage}real_x{scale}": _diffir() for stage in ("", "s1_") for scale in (1, 2, 4)},
    **{f"diffir_{stage}srgan_x4": _diffir() for stage in ("", "s1_")},
    "irsde_derain_rain100h": _irsde("Rain100H", "Rain100H 31.65/0.9041/0.047/18.64"),
    "irsde_derain_rain100l": _irsde("Rain100L", "Rain100L 38.30/0.9805/0.014/7.94"),
    "irsde_deblur_gopro": _irsde("GoPro", "GoPro 30.70/0.901/0.064/6.32"),
    **{name: _IRSDE_CONFIGURATION for name in ("irsde_inpaint", "irsde_deshadow", "refusion")},
    "adm_imagenet64": _adm("64x64", "ImageNet 64x64 with classifier guidance 2.07/0.74/0.63"),
    "adm_imagenet128": _adm("128x128", "ImageNet 128x128 with classifier guidance 2.97/0.78/0.59"),
    "adm_imagenet256": _adm("256x256", "ImageNet 256x256 with classifier guidance 4.59/0.82/0.52"),
    "adm_imagenet256_uncond": _adm("256x256"),
    "adm_imagenet512": _adm("512x512", "ImageNet 512x512 with classifier guidance 7.72/0.87/0.42"),
    "adm_ffhq_10m": Published(
        "github.com/DPS2022/diffusion-posterior-sampling (README, Google Drive, ffhq_10m.pt)",
        _UNKNOWN,
        _UNKNOWN,
        "FFHQ",
        terms="its authors state none, and FFHQ is not for commercial use; ask before that",
    ),
    "kl_f8": Published(
        "huggingface.co/stabilityai/sd-vae-ft-mse; also under first_stage_model in the files of Stable Diffusion",
        "MIT",
        "MIT",
        "LAION-Aesthetics and LAION-Humans",
        _figures("COCO 2017 256 4.70/24.5/0.71", "rfid psnr ssim"),
    ),
    "stablesr_unet": _stablesr("stablesr_000117.ckpt, model.diffusion_model", "DF2K, OST, DIV8K and faces of FFHQ"),
    "stablesr_guidance_encoder": _stablesr(
        "stablesr_000117.ckpt, structcond_stage_model", "DF2K, OST, DIV8K and faces of FFHQ"
    ),
    "stablesr_autoencoder": _stablesr("vqgan_cfw_00011.ckpt", "100,000 images that the diffusion made, their truth and input"),
    "sr3_faces_16_128": _sr3("CelebA-HQ 23.26/0.675"),
    "sr3_faces_64_512": _sr3("CelebA-HQ 19.87/0.445"),
    "palette_inpainting_celebahq": Published(
        "github.com/Janspiry/Palette-Image-to-Image-Diffusion-Models (README, Google Drive)",
        "MIT",
        "MIT",
        "CelebA-HQ",
        _figures("centre mask 5.7873/3.0705, irregular mask 5.4026/3.1221", "fid is"),
    ),
    **{
        f"dehazeformer_{size}_{folder}": _dehazeformer(data, f"{test} {values}")
        for size, row in _DEHAZEFORMER.items()
        for (folder, (data, test)), values in zip(_HAZE.items(), row.split(), strict=False)
    },
    **{
        f"dehazeformer_{size}": Published(
            "github.com/IDKiro/DehazeFormer (a size of the authors' code)",
            "MIT",
            _UNKNOWN,
            terms="no weights and no figures of this size are known here; ask its authors",
        )
        for size in ("d", "w")
    },
    "dmcnn": Published(
        "github.com/ZhengJun-AI/MoirePhotoRestoration-MCNN (a port; its whole pickled network has to be converted)",
        _UNKNOWN,
        _UNKNOWN,
        "TIP2018",
        _figures("TIP2018 26.77/0.871"),
        "no licence of the port is known here; ask before commercial use",
    ),
    "retinexnet_lol": _retinexnet("Decom/9200.tar and ckpts/Relight/9200.tar"),
    "retinexnet_lol_decom": _retinexnet("Decom/9200.tar"),
    "retinexnet_lol_relight": _retinexnet("Relight/9200.tar"),
    "snr_aware_lolv1": _snr_aware("LOLv1", "LOL-v1", "LOL-v1 24.61/0.842"),
    "snr_aware_lolv2_real": _snr_aware("LOLv2_real", "LOL-v2-real", "LOL-v2-real 21.48/0.849"),
    "snr_aware_lolv2_synthetic": _snr_aware("LOLv2_synthetic", "LOL-v2-synthetic", "LOL-v2-synthetic 24.14/0.928"),
    "snr_aware_sid": _snr_aware("sid_G", "SID", "SID 22.87/0.625"),
    "snr_aware_smid": _snr_aware("smid_G", "SMID", "SMID 28.49/0.805"),
    "snr_aware_sdsd_indoor": _snr_aware("indoor_G", "SDSD-indoor", "SDSD-indoor 29.44/0.894"),
    "snr_aware_sdsd_outdoor": _snr_aware("outdoor_G", "SDSD-outdoor", "SDSD-outdoor 28.66/0.866"),
    "zero_dce": Published(
        "github.com/Li-Chongyi/Zero-DCE (Zero-DCE_code/snapshots/Epoch99.pth)",
        "CC-BY-NC-4.0",
        "CC-BY-NC-4.0",
        "SICE part 1",
        _figures("SICE part 2 16.57/0.59"),
        "for academic research, not for commercial use",
    ),
    "zero_dce_pp": Published(
        "github.com/Li-Chongyi/Zero-DCE_extension (Zero-DCE++/snapshots_Zero_DCE++/Epoch99.pth)",
        "LicenseRef-Zero-DCE-Academic",
        "LicenseRef-Zero-DCE-Academic",
        "SICE part 1",
        terms="its page names the MIT licence and academic research as the only purpose; ask before commercial use",
    ),
}
