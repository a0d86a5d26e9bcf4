"""Make a small set of pairs from the photographs of a folder, open it, find what is broken in it, and feed it to a network.

    python examples/paired_data.py [FOLDER] [--out pairs]

Writes OUT/lq (spoiled by one to three random degradations), OUT/gt, and OUT/pairs.csv with what is to be undone as captions.
"""

import argparse
import json
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from restoralib.data import CleanPairs, StoredPairs, open_benchmark, write_csv
from restoralib.degradations import PairedDegradation, rebuild
from restoralib.images import Picture, write_image
from restoralib.metrics import get_protocol


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent)
    parser.add_argument("--out", type=Path, default=Path("pairs"))
    parser.add_argument("--count", type=int, default=4)
    options = parser.parse_args()

    # Pairs from clean photographs: each depends on the seed and its number alone.
    drawn = CleanPairs(options.folder, PairedDegradation.draw, size=128, length=options.count, seed=0)
    rows = []
    for number, item in enumerate(drawn):
        again = rebuild(json.loads(item["record"]))(item["clean"][None])[0]
        assert torch.equal(again, item["degraded"]), "a record rebuilds its pair"
        row = {"caption": " + ".join(json.loads(item["record"])["tasks"])}
        for side, image in (("lq", item["degraded"]), ("gt", item["clean"])):
            path = options.out / side / f"{item['name']}_{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, Picture(image))
            row["degraded" if side == "lq" else "clean"] = str(path)
        rows.append(row)
    write_csv(options.out / "pairs.csv", rows)

    # The same as a benchmark, with its protocol.
    benchmark = open_benchmark("pairs", options.out)
    protocol = get_protocol(benchmark.protocol or "rgb")
    for pair in benchmark:
        figure = protocol.psnr(pair.degraded[None], pair.clean[None]).item()
        print(f"{pair.name}: PSNR {figure:.2f} dB before restoration ({protocol.name})")

    # Half a file, as an interrupted copy leaves it.
    victim = options.out / "lq" / f"{benchmark.names[0]}.png"
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    print(*open_benchmark("pairs", options.out).problems, sep="\n")
    victim.write_bytes(whole)

    # And as training data, with captions.
    patches = StoredPairs(open_benchmark("csv", options.out / "pairs.csv"), size=64, length=8)
    batch = next(iter(DataLoader(patches, batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(0))))
    print(f"a batch: {tuple(batch['degraded'].shape)}, to do: {', '.join(batch['caption'])}")


if __name__ == "__main__":
    main()
