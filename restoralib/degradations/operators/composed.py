"""Operators one after the other."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from restoralib.degradations.operators.operator import LinearOperator


class ComposedOperator(LinearOperator):
    """A product of operators, the last one first, as matrices are written; also `a @ b`.

    Its pseudo-inverse is not the product of the single ones; it comes by conjugate gradients.

    Args:
        operators: at least one; each takes what the next one gives.

    Raises:
        ValueError: there is none, or shapes do not fit together.
    """

    def __init__(self, *operators: LinearOperator) -> None:
        if not operators:
            raise ValueError("expected at least one operator")
        for outer, inner in pairwise(operators):
            if outer.in_shape != inner.out_shape:
                raise ValueError(
                    f"{type(outer).__name__} takes {outer.in_shape}, but {type(inner).__name__} gives {inner.out_shape}"
                )
        batches = {operator.batch for operator in operators if operator.batch is not None}
        if len(batches) > 1:
            raise ValueError(f"operators for batches of different sizes: {sorted(batches)}")
        super().__init__(operators[-1].in_shape, operators[0].out_shape, batches.pop() if batches else None)
        self.operators = operators

    def _forward(self, x: Tensor) -> Tensor:
        for operator in reversed(self.operators):
            x = operator._forward(x)
        return x

    def _adjoint(self, y: Tensor) -> Tensor:
        for operator in self.operators:
            y = operator._adjoint(y)
        return y
