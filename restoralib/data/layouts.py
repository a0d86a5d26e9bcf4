"""The layouts of benchmarks: what lies where, how many pairs there are, how papers measure, and where a set comes from.

Nothing here downloads anything. A source or terms that are not surely known are called unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from restoralib.data.adapting import Adapt, central_box_256, crop_larger_truth
from restoralib.data.deblurring import find_realblur
from restoralib.data.entry import Problem
from restoralib.data.finding import Found, Places, Request, find_own_pairs, find_pairs
from restoralib.data.matlab import find_dnd, find_sidd
from restoralib.data.tables import find_csv, find_realir_bench

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Layout:
    """One benchmark, or one general shape of a folder.

    Args:
        name: under which `LAYOUTS` lists it.
        title: the set, its paper and year.
        variants: where its files lie, in order of preference.
        finder: finds the pairs where the variants cannot tell; `where` describes its files then.
        where: what lies where, for readers; None tells it from the variants.
        splits: split -> number of pairs that papers count, or None; the first is the usual one.
        protocol: key of `restoralib.metrics.PROTOCOLS` of its tables; None where there is none.
        others: further protocols that papers use on it.
        plain_protocol: the protocol without super-resolution, where that differs.
        tasks: what it is a benchmark of, by the names that `restore()` takes.
        scaled: it is a set for super-resolution, too.
        tabular: it is a table with columns.
        keep_gray: its tables score grey images as one channel.
        adapt: what its papers do to both images first.
        names: keys of the whole set, where they are known.
        source: where it comes from.
        terms: its terms of use.
        note: what else a reader of figures has to know.
    """

    name: str
    title: str
    variants: Sequence[Places] = ()
    finder: Callable[[Request], Found] | None = None
    where: str | None = None
    splits: Mapping[str, int | None] = field(default_factory=lambda: {"test": None})
    protocol: str | None = None
    others: tuple[str, ...] = ()
    plain_protocol: str | None = None
    tasks: tuple[str, ...] = ()
    scaled: bool = False
    tabular: bool = False
    keep_gray: bool = False
    adapt: Adapt | None = None
    names: Callable[[str], Collection[str]] | None = None
    source: str = UNKNOWN
    terms: str = UNKNOWN
    note: str = ""

    def find(self, request: Request) -> Found:
        """The entries of the set that lies under `request.root`; DatasetError where there is none."""
        if self.finder is not None:
            return self.finder(request)
        return find_pairs(request, self.variants, names=self.names(request.split) if self.names else ())

    def count_problems(self, request: Request, count: int) -> list[Problem]:
        """What is to be said where the number of pairs is not that of the papers."""
        wanted = self.splits.get(request.split)
        if wanted is None or wanted == count:
            return []
        return [Problem(request.root, f"holds {count} pairs of {self.name} ({request.split}), papers count {wanted}")]


def _names(pattern: str, first: int, last: int) -> Callable[[str], Collection[str]]:
    numbers = tuple(pattern.format(number) for number in range(first, last + 1))
    return lambda split: numbers


def _sr(name: str, title: str, count: int, **more: Any) -> Layout:
    """A set of super-resolution tables: the folders of EDSR and SwinIR, BasicSR and SelfExSR, or clean images alone."""
    variants = (
        Places("HR", "LR_bicubic/X{scale}", degraded_stem="{name}x{scale}"),
        Places("HR", "LR_bicubic/X{scale}"),
        Places("GTmod12", "LRbicx{scale}"),
        Places("original", "LRbicx{scale}"),
        Places("image_SRF_{scale}", "image_SRF_{scale}", "{name}_SRF_{scale}_HR", "{name}_SRF_{scale}_LR"),
        Places("HR"),
        Places("original"),
        Places("GTmod12"),
        Places("."),
    )
    return Layout(
        name,
        title,
        variants,
        splits={"test": count},
        protocol="classic-luma",
        others=("basicsr-y",),
        scaled=True,
        keep_gray=True,
        **more,
    )


def _denoising(name: str, title: str, count: int, **more: Any) -> Layout:
    """A set of clean images, to which denoising tables add noise."""
    variants = (Places("."), Places("original_png"), Places("HR"), Places("original"))
    return Layout(name, title, variants, splits={"test": count}, protocol="rgb", tasks=("denoise",), **more)


def _jpeg(name: str, title: str, count: int, **more: Any) -> Layout:
    """A set of clean images, of whose luma JPEG tables make files of quality 10 to 40."""
    return Layout(
        name, title, (Places("."),), splits={"test": count}, protocol="jpeg-y", tasks=("jpeg",), keep_gray=True, **more
    )


def _rain(name: str, title: str, count: int, *more: Places, **facts: Any) -> Layout:
    """A set of deraining tables, in the folders of MPRNet and Restormer or its authors' own."""
    variants = (Places("target", "input"), Places("{split}/target", "{split}/input"), *more)
    return Layout(name, title, variants, splits={"test": count}, protocol="matlab-y", tasks=("derain",), **facts)


def _gopro(name: str, title: str, blurred: str, **more: Any) -> Layout:
    return Layout(
        name,
        title,
        (
            Places("{split}/*/sharp", f"{{split}}/*/{blurred}"),
            Places("GOPRO_Large/{split}/*/sharp", f"GOPRO_Large/{{split}}/*/{blurred}"),
            Places("{split}/target", "{split}/input"),
            Places("target", "input"),
        ),
        splits={"test": 1111, "train": 2103},
        protocol="gopro",
        tasks=("deblur",),
        source="https://seungjunnah.github.io/Datasets/gopro",
        terms="CC BY 4.0, by its authors' page",
        **more,
    )


def _low_light(name: str, title: str, test: int, train: int, *variants: Places, **more: Any) -> Layout:
    return Layout(
        name,
        title,
        variants,
        splits={"test": test, "train": train},
        protocol="rgb",
        others=("lol-gt-mean",),
        tasks=("low_light",),
        note="papers that match the mean to the truth (lol-gt-mean) gain 2 to 4 dB by it",
        **more,
    )


_RAIN100 = (
    Places("norain", "rain", "norain-{name}", "rain-{name}"),
    Places("norain", "rain", "norain-{name}", "norain-{name}"),
    Places("norain", "rain/X2", "norain-{name}", "norain-{name}x2"),
    Places(".", "rainy", "norain-{name}", "rain-{name}"),
    Places(".", ".", "norain-{name}", "rain-{name}"),
)
_RAIN100_NOTE = "an earlier and a later release differ in their images; all-in-one papers measure RGB with skimage's SSIM"
_BERKELEY = "Berkeley: non-commercial research and education"
_SET14 = "baboon barbara bridge coastguard comic face flowers foreman lenna man monarch pepper ppt3 zebra"

_ALL: tuple[Layout, ...] = (
    # One's own
    Layout(
        "folder",
        "clean images of your own",
        (Places("."),),
        scaled=True,
        protocol="classic-luma",
        others=("basicsr-y",),
        plain_protocol="rgb",
        source="yours",
        terms="yours",
    ),
    Layout(
        "pairs",
        "degraded and clean images of your own, with the same names",
        finder=find_own_pairs,
        where="lq + gt, input + target, degraded + clean, low + high, blur + sharp, LR + HR; or two folders: path, and clean=",
        scaled=True,
        protocol="basicsr-y",
        plain_protocol="rgb",
        source="yours",
        terms="yours",
    ),
    Layout(
        "csv",
        "pairs of your own that a table lists, with captions",
        finder=find_csv,
        where="columns degraded, clean, caption; paths relative to the file",
        scaled=True,
        protocol="basicsr-y",
        plain_protocol="rgb",
        source="yours",
        terms="yours",
    ),
    # Super-resolution
    _sr(
        "set5",
        "Set5, Bevilacqua et al., BMVC 2012",
        5,
        names=lambda split: ("baby", "bird", "butterfly", "head", "woman"),
        terms="research benchmark, no explicit licence",
    ),
    _sr(
        "set14",
        "Set14, Zeyde et al., 2010",
        14,
        names=lambda split: tuple(_SET14.split()),
        terms="research benchmark, no explicit licence",
        note="some copies hold grey images; the classic protocol scores them as they are, RGB networks get them three times",
    ),
    _sr("bsd100", "BSD100 (B100), Martin et al., ICCV 2001", 100, terms=_BERKELEY),
    _sr(
        "urban100",
        "Urban100, Huang et al., CVPR 2015",
        100,
        names=_names("img_{:03d}", 1, 100),
        source="https://github.com/jbhuang0604/SelfExSR",
    ),
    _sr(
        "manga109",
        "Manga109, Matsui et al., 2017",
        109,
        source="http://www.manga109.org, on request",
        terms="academic use, by agreement with its authors",
    ),
    Layout(
        "div2k",
        "DIV2K, Agustsson and Timofte, CVPR Workshops 2017",
        (
            Places(
                "DIV2K_{split}_HR",
                "DIV2K_{split}_LR_bicubic/X{scale}",
                degraded_stem="{name}x{scale}",
                splits={"validation": "valid"},
            ),
            Places("DIV2K_{split}_HR", splits={"validation": "valid"}),
        ),
        splits={"validation": 100, "train": 800},
        names=lambda split: tuple(f"{number:04d}" for number in (range(801, 901) if split == "validation" else range(1, 801))),
        protocol="basicsr-rgb",
        others=("basicsr-y",),
        plain_protocol="rgb",
        scaled=True,
        source="https://data.vision.ee.ethz.ch/cvl/DIV2K/",
        terms="academic research",
    ),
    Layout(
        "flickr2k",
        "Flickr2K, Lim et al. (EDSR), CVPR Workshops 2017",
        (Places("Flickr2K_HR", "Flickr2K_LR_bicubic/X{scale}", degraded_stem="{name}x{scale}"), Places("Flickr2K_HR")),
        splits={"train": 2650},
        names=_names("{:06d}", 1, 2650),
        scaled=True,
        note="for training only; with DIV2K's 800 it is DF2K",
    ),
    # Denoising
    _denoising("cbsd68", "CBSD68, Martin et al., ICCV 2001; the choice of Roth and Black", 68, terms=_BERKELEY),
    _denoising("bsd68", "BSD68, the same in grey", 68, keep_gray=True, terms=_BERKELEY),
    _denoising(
        "kodak24",
        "Kodak24, the Kodak Lossless True Color Image Suite",
        24,
        names=_names("kodim{:02d}", 1, 24),
        source="https://r0k.us/graphics/kodak/",
        terms="released for unrestricted use, by that page",
    ),
    _denoising("mcmaster", "McMaster, Zhang et al., 2011", 18, names=_names("{}", 1, 18)),
    _denoising(
        "set12",
        "Set12, the grey test images of DnCNN, Zhang et al., TIP 2017",
        12,
        names=_names("{:02d}", 1, 12),
        keep_gray=True,
        source="https://github.com/cszn/DnCNN",
        note="a set for denoising in grey, unusual for super-resolution",
    ),
    Layout(
        "sidd",
        "SIDD, Abdelhamed et al., CVPR 2018",
        finder=find_sidd,
        where="ValidationNoisyBlocksSrgb.mat + ValidationGtBlocksSrgb.mat; BenchmarkNoisyBlocksSrgb.mat; "
        "Medium for training: Data/SCENE/*_NOISY_SRGB_NAME + *_GT_SRGB_NAME",
        splits={"validation": 1280, "benchmark": 1280, "train": 320},
        protocol="sidd",
        tasks=("denoise_real",),
        source="https://abdokamel.github.io/sidd/",
        note="results are not rounded to 8 bits; the benchmark's truth is withheld, see write_sidd_submission",
    ),
    Layout(
        "dnd",
        "DND, Plotz and Roth, CVPR 2017",
        finder=find_dnd,
        where="info.mat + images_srgb/0001.mat to 0050.mat",
        splits={"test": 1000},
        tasks=("denoise_real",),
        source="https://noise.visinf.tu-darmstadt.de",
        note="50 photographs x 20 boxes; the truth is withheld, see write_dnd_submission",
    ),
    # JPEG
    _jpeg("classic5", "Classic5, five classic grey images", 5, note="JPEG of the luma, quality 10 to 40; with PSNR-B"),
    _jpeg("live1", "LIVE1, Sheikh et al., 2005", 29, note="JPEG of the luma, quality 10 to 40; with PSNR-B"),
    # Deblurring
    _gopro("gopro", "GoPro, Nah et al., CVPR 2017; averaged with gamma, the usual input", "blur_gamma"),
    _gopro("gopro_linear", "GoPro, the version averaged without gamma", "blur"),
    Layout(
        "hide",
        "HIDE, Shen et al., ICCV 2019",
        (
            Places("GT", "{split}/test-*", scenes=False),
            Places("GT", "{split}"),
            Places("{split}/target", "{split}/input"),
            Places("target", "input"),
        ),
        splits={"test": 2025, "train": 6397},
        protocol="gopro",
        tasks=("deblur",),
        source="https://github.com/joanshen0508/HA_deblur",
        note="tables show networks trained on GoPro",
    ),
    *(
        Layout(
            f"realblur_{kind.lower()}",
            f"RealBlur-{kind}, Rim et al., ECCV 2020",
            finder=partial(find_realblur, kind=kind),
            where=f"RealBlur_{kind}_test_list.txt and the folders that it names; test/input + test/target",
            splits={"test": 980, "train": 3758},
            tasks=("deblur",),
            source="http://cg.postech.ac.kr/research/realblur/",
            note="tables align the result first (ECC homography) and measure inside a mask, which no protocol here does",
        )
        for kind in ("J", "R")
    ),
    Layout(
        "dpdd",
        "DPDD, Abuolaim and Brown, ECCV 2020; single images",
        (
            Places("{split}_c/target", "{split}_c/source", by_order=True, splits={"validation": "val"}),
            Places("{split}/target", "{split}/inputC", by_order=True, splits={"validation": "val"}),
            Places("target", "inputC", by_order=True),
        ),
        splits={"test": 76, "validation": 74, "train": 350},
        protocol="rgb",
        tasks=("defocus",),
        source="https://github.com/Abdullah-Abuolaim/defocus-deblurring-dual-pixel",
        note="the two sides carry different names and are paired in alphabetical order; also MAE and LPIPS",
    ),
    # Rain
    _rain("rain100l", "Rain100L, Yang et al., CVPR 2017", 100, *_RAIN100, others=("skimage-rgb",), note=_RAIN100_NOTE),
    _rain("rain100h", "Rain100H, Yang et al., CVPR 2017", 100, *_RAIN100, others=("skimage-rgb",), note=_RAIN100_NOTE),
    _rain(
        "test100",
        "Test100, of Rain800, Zhang et al. (ID-CGAN)",
        98,
        source="https://github.com/hezhangsprinter/ID-CGAN; as MPRNet's tables use it, https://github.com/swz30/MPRNet",
        note="98 images: MSPFN left two out, and MPRNet and Restormer followed",
    ),
    _rain(
        "test1200",
        "Test1200, Zhang and Patel (DID-MDN), CVPR 2018",
        1200,
        source="https://github.com/hezhangsprinter/DID-MDN; as MPRNet's tables use it, https://github.com/swz30/MPRNet",
    ),
    _rain(
        "test2800",
        "Test2800, Fu et al. (DDN), CVPR 2017",
        2800,
        Places("ground_truth", "rainy_image", degraded_stem="{name}_*", many=True),
        source="as MPRNet's tables use it, https://github.com/swz30/MPRNet",
    ),
    # Haze
    *(
        Layout(
            f"sots_{part}",
            f"SOTS {part}, of RESIDE, Li et al., TIP 2019",
            (
                *(
                    Places(f"{folder}{truth}", f"{folder}hazy", degraded_stem="{name}_*", many=True)
                    for folder in ("", f"{part}/", *extra)
                    for truth in ("gt", "clear")
                ),
                Places("gt", "hazy"),
                Places("test/gt", "test/hazy"),
                Places("target", "input"),
            ),
            splits={"test": 500},
            names=names,
            protocol="sots",
            others=("skimage-rgb", "rgb"),
            tasks=("dehaze",),
            adapt=crop_larger_truth,
            source="https://sites.google.com/view/reside-dehaze-datasets",
            terms="research",
            note=note,
        )
        for part, extra, names, note in (
            (
                "indoor",
                ("nyuhaze500/",),
                lambda split: tuple(f"{image}_{haze}" for image in range(1400, 1450) for haze in range(1, 11)),
                "10 pixels on each side of the original truth (640x480 against 620x460) are left out",
            ),
            ("outdoor", (), None, "500 hazy images of 492 clear ones"),
        )
    ),
    # Low light
    _low_light(
        "lol",
        "LOL v1, Wei et al., BMVC 2018",
        15,
        485,
        Places("{split}/high", "{split}/low", splits={"test": "eval15", "train": "our485"}),
        Places("high", "low"),
        source="https://daooshee.github.io/BMVC2018website/",
        terms="research",
    ),
    _low_light(
        "lol_v2_real",
        "LOL v2 real, Yang et al., TIP 2021",
        100,
        689,
        Places("Real_captured/{split}/Normal", "Real_captured/{split}/Low", "normal{name}", "low{name}"),
        Places("Real_captured/{split}/Normal", "Real_captured/{split}/Low"),
        Places("{split}/Normal", "{split}/Low", "normal{name}", "low{name}"),
        Places("{split}/Normal", "{split}/Low"),
        source="https://github.com/flyywh/CVPR-2020-Semi-Low-Light",
    ),
    _low_light(
        "lol_v2_synthetic",
        "LOL v2 synthetic, Yang et al., TIP 2021",
        100,
        900,
        Places("Synthetic/{split}/Normal", "Synthetic/{split}/Low"),
        Places("{split}/Normal", "{split}/Low"),
        source="https://github.com/flyywh/CVPR-2020-Semi-Low-Light",
    ),
    # Moire
    Layout(
        "tip2018",
        "TIP2018 moire, Sun et al., TIP 2018",
        (
            Places("{split}Data/target", "{split}Data/source", "{name}_target", "{name}_source"),
            Places("{split}/target", "{split}/source", "{name}_target", "{name}_source"),
            Places("target", "source", "{name}_target", "{name}_source"),
            Places("target", "source"),
        ),
        splits={"test": None, "train": None},
        protocol="gopro",
        tasks=("demoire",),
        adapt=central_box_256,
        note="of both images the central box (w/6 to 5w/6, h/6 to 5h/6), resized to 256x256; counts of the public files differ",
    ),
    # Nine degradations
    Layout(
        "realir_bench",
        "RealIR-Bench, Yang et al. (RealRestorer), 2026",
        finder=find_realir_bench,
        where=".parquet or .arrow of the Hub, with one column of images; or images in folders",
        splits={"test": 464},
        tabular=True,
        tasks=("auto",),
        source="https://huggingface.co/datasets/RealRestorer/RealIR-Bench",
        terms="academic, non-commercial",
        note="no truth: its score FS comes from a language model's marks and LPIPS, restoralib.metrics.realir_fs",
    ),
)

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _ALL}
