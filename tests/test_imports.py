"""What the top of the package offers, and when its modules are imported; test_package.py checks what they bring along."""

from __future__ import annotations

import subprocess
import sys

import pytest

import restoralib


def test_every_name_of_the_package_is_there():
    assert dir(restoralib) == sorted(restoralib.__all__)
    for name in restoralib.__all__:
        assert getattr(restoralib, name) is not None


def test_other_names_are_not():
    with pytest.raises(AttributeError, match=r"has no attribute 'retsore'; it has .*restore"):
        restoralib.retsore  # noqa: B018


def test_a_plain_import_brings_no_torch():
    code = "import sys, restoralib; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_outlines_of_networks_do_not_wake_the_compiler():
    """`models` and `load_model` outline networks without values; some operations of torch import its compiler for that."""
    code = (
        "import sys\n"
        "from restoralib.archs import VARIANTS\n"
        "from restoralib.checkpoints import skeleton\n"
        "for variant in {v.cls: v for v in VARIANTS.values()}.values():\n"
        "    skeleton(variant.cls, dict(variant.config))\n"
        "    if 'torch._dynamo' in sys.modules:\n"
        "        sys.exit(f'{variant.cls.__name__} does')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
