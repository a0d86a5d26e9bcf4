"""Check what is in the wheel of a folder: the package whole, the weights, the licence, nothing else, and less than 20 MB."""

import json
import re
import sys
from pathlib import Path
from zipfile import ZipFile

PACKAGE = Path(__file__).parents[1] / "restoralib"
MAX_BYTES = 20_000_000


def problems(wheel: Path) -> list[str]:
    """What is wrong with a wheel."""
    found = []
    if wheel.stat().st_size > MAX_BYTES:
        found.append(f"{wheel.stat().st_size} bytes, more than {MAX_BYTES}")
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        requirements = [line for line in archive.read(metadata).decode().splitlines() if line.startswith("Requires-Dist:")]
    package = {path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    wanted = {name for name in package if "__pycache__" not in name}
    weights = json.loads((PACKAGE / "weights" / "manifest.json").read_text(encoding="utf-8"))
    wanted |= {"restoralib/py.typed", *(f"restoralib/weights/{entry['file']}" for entry in weights)}
    about = metadata.rpartition("/")[0]
    wanted |= {f"{about}/licenses/LICENSE", f"{about}/licenses/NOTICE", f"{about}/entry_points.txt"}
    found += [f"{name} is missing" for name in sorted(wanted - names)]
    extra = {name for name in names - wanted if not name.startswith(f"{about}/")}
    found += [f"{name} should not be there" for name in sorted(extra)]
    core = {re.split(r"[ :<>=;\[]+", line)[1] for line in requirements if "extra ==" not in line}
    if core != {"torch", "einops", "safetensors", "timm", "numpy", "typing-extensions"}:
        found.append(f"core dependencies are {sorted(core)}")
    return found


if __name__ == "__main__":
    (wheel,) = Path(sys.argv[1]).glob("*.whl")
    sys.stdout.write(f"{wheel.name}, {wheel.stat().st_size} bytes\n")
    if found := problems(wheel):
        sys.exit("\n".join(found))
