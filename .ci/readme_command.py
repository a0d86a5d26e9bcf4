"""Print the README's shell command that contains a word, so that CI runs what people are told to run."""

import re
import sys
from pathlib import Path


def readme_command(word: str) -> str:
    """The one ```bash block of the README with this word in it."""
    readme = Path(__file__).parents[1] / "README.md"
    blocks = re.findall(r"^```bash\n(.*?)^```", readme.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    found = [block for block in blocks if word in block]
    if len(found) != 1:
        raise SystemExit(f"README.md should have one ```bash block with {word!r}, it has {len(found)}")
    return found[0]


if __name__ == "__main__":
    sys.stdout.write(readme_command(sys.argv[1]))
