"""Every degradation against the stored outputs of its reference implementation; goldens/degradation.py explains the files."""

from __future__ import annotations

import goldens_formation
import goldens_linear
import goldens_noise_jpeg
import pytest
from goldens.degradation import Golden, check_close

PARTS = (goldens_linear, goldens_noise_jpeg, goldens_formation)
OPERATORS = {name: runner for part in PARTS for name, runner in part.OPERATORS.items()}
CHECKS = {name: check for part in PARTS for name, check in part.CHECKS.items()}


def test_golden_degradations_give_the_references_outputs(degradations_golden, record_property):
    golden = Golden(degradations_golden)
    assert set(golden.tensors) == set(golden.inputs) | set(golden.parameters), "a tensor that nothing tells of"
    problems, worst = [], 0.0
    for name, entry in golden.parameters.items():
        if "operator" not in entry:
            assert set(entry) == {"fact"}, f"{name} has neither an operator nor a fact"
            continue
        operator = entry["operator"]
        if operator not in OPERATORS:
            problems.append(f"{name}: unknown operator {operator!r}")
            continue
        try:
            ours = OPERATORS[operator](golden, name, entry)
            worst = max(worst, CHECKS.get(operator, check_close)(ours, golden.tensors[name], entry))
        except (AssertionError, ValueError, TypeError, KeyError) as error:
            problems.append(f"{name}: {type(error).__name__}: {error}")
    record_property("worst_error", worst)
    assert not problems, "\n".join(problems)


def test_no_operator_has_two_runners():
    assert len(OPERATORS) == sum(len(part.OPERATORS) for part in PARTS)
    assert set(CHECKS) <= set(OPERATORS)


def test_a_file_that_names_an_unknown_operator_fails(tmp_path):
    import torch
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, tmp_path / "new.safetensors")
    (tmp_path / "new.json").write_text('{"inputs": [], "parameters": {"x": {"operator": "teleport"}}, "facts": {}}')
    with pytest.raises(AssertionError, match="unknown operator 'teleport'"):
        test_golden_degradations_give_the_references_outputs(tmp_path / "new.safetensors", lambda *_: None)
