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
