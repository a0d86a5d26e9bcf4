"""Linear operators: one body over all of them, and what each has of its own."""

import copy
import math
from functools import lru_cache

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from restoralib.degradations import filter2d, fspecial_disk, fspecial_gaussian, fspecial_motion, gaussian_kernel
from restoralib.degradations.filters import blur_decimate
from restoralib.degradations.operators import (
    AveragePoolOperator,
    BlurDecimateOperator,
    BlurOperator,
    ChannelOperator,
    CircularBlurOperator,
    ComposedOperator,
    DenseOperator,
    GreyOperator,
    HadamardOperator,
    IdentityOperator,
    MaskOperator,
    ResizeOperator,
    SeparableBlurOperator,
    SeparableOperator,
    SpectralOperator,
    blur_operator,
    walsh_hadamard,
)
from restoralib.ops import resize


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LINE = torch.tensor([0.2, 0.6, 0.1])
KERNEL = rand(3, 4, seed=5) / 6
OPERATORS = {
    "identity": lambda s: IdentityOperator(s),
    "mask": lambda s: MaskOperator(s, (rand(*s[1:]) > 0.4).double()),
    "soft mask a channel": lambda s: MaskOperator(s, rand(*s)),
    "masks": lambda s: MaskOperator(s, (rand(2, 1, *s[1:]) > 0.4).double()),
    "grey": lambda s: GreyOperator(s),
    "luma": lambda s: GreyOperator(s, [0.3, 0.59, 0.11][: s[0]]),
    "channels": lambda s: ChannelOperator(s, rand(4, s[0])),
    "separable": lambda s: SeparableOperator(s, rand(3, s[1]), rand(s[2] + 2, s[2])),
    "bicubic": lambda s: ResizeOperator(s, 0.5),
    "bicubic, any factor": lambda s: ResizeOperator(s, 1 / 3.3),
    "enlargement": lambda s: ResizeOperator(s, 1.5, kernel="bilinear"),
    "box": lambda s: ResizeOperator(s, 1 / 3, kernel="box"),
    "pool": lambda s: AveragePoolOperator(s, math.gcd(math.gcd(*s[1:]), 4)),
    "separable blur": lambda s: SeparableBlurOperator(s, LINE, rand(5), padding="reflect"),
    "circular gaussian": lambda s: CircularBlurOperator(s, gaussian_kernel(7, 0.6)),
    "circular motion": lambda s: CircularBlurOperator(s, fspecial_motion(5, 30)),
    "circular, even": lambda s: CircularBlurOperator(s, KERNEL, convolve=True),
    "circular, own kernels": lambda s: CircularBlurOperator(s, rand(2, 5, 3)),
    "motion": lambda s: BlurOperator(s, fspecial_motion(5, 30), padding="reflect"),
    "disk": lambda s: BlurOperator(s, fspecial_disk(1.4), padding="symmetric"),
    "even": lambda s: BlurOperator(s, KERNEL, padding="zeros", convolve=True),
    "own kernels": lambda s: BlurOperator(s, rand(2, 5, 3), padding="replicate", convolve=True),
    "chosen": lambda s: blur_operator(s, fspecial_gaussian(5, 0.7), padding="replicate"),
    "classical": lambda s: BlurDecimateOperator(s, fspecial_motion(5, 60), 2),
    "classical, own kernels": lambda s: BlurDecimateOperator(s, rand(2, 3, 3), 3),
    "dense": lambda s: DenseOperator(s, rand(7, math.prod(s))),
    "composed": lambda s: AveragePoolOperator(s, 1) @ MaskOperator(s, rand(*s[1:])) @ CircularBlurOperator(s, KERNEL),
}
SHAPES = [(3, 6, 8), (1, 7, 5), (3, 1, 4), (1, 1, 1)]
CASES = [(name, shape) for name in OPERATORS for shape in SHAPES]
CASES += [("hadamard", shape) for shape in [(3, 4, 8), (2, 2, 16), (1, 1, 1)]]
OPERATORS["hadamard"] = lambda s: HadamardOperator(s, 1.0 if s[1] == 1 else 0.3)
SPECTRAL = [(name, shape) for name, shape in CASES if isinstance(OPERATORS[name](shape), SpectralOperator)]


@lru_cache
def case(name, shape):
    """An operator, and A of each image of a batch of two as (2, m, n)."""
    operator = OPERATORS[name](shape)
    n = math.prod(operator.in_shape)
    basis = torch.eye(n, dtype=torch.float64).view(n, *operator.in_shape)
    if operator.batch is None:
        return operator, operator.forward(basis).flatten(1).T.expand(2, -1, -1)
    return operator, torch.stack([operator.forward(vector.expand(2, *operator.in_shape)).flatten(1) for vector in basis], 2)


def close(ours, theirs, tolerance=1e-10):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= tolerance * max(1.0, float(theirs.abs().max()))


@pytest.mark.parametrize(("name", "shape"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adjoint(name, shape, dtype):
    operator = OPERATORS[name](shape)
    x = torch.randn(2, *operator.in_shape, dtype=dtype)
    y = torch.randn(2, *operator.out_shape, dtype=dtype)
    ax, aty = operator.forward(x), operator.adjoint(y)
    assert ax.shape == y.shape and aty.shape == x.shape and ax.dtype == aty.dtype == dtype
    left, right = (ax * y).flatten(1).sum(1), (x * aty).flatten(1).sum(1)
    bound = 1e-5 if dtype == torch.float32 else 1e-12
    assert ((left - right).abs() <= bound * (ax * y).abs().flatten(1).sum(1).clamp(min=1)).all()


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_pseudo_inverse_is_that_of_the_matrix(name, shape):
    operator, a = case(name, shape)
    x, y = rand(2, *operator.in_shape, seed=1), rand(2, *operator.out_shape, seed=2)
    tolerance = 1e-9 if isinstance(operator, SpectralOperator) or getattr(operator, "_closed", False) else 1e-6
    close(operator.forward(operator.pinv(operator.forward(x))), operator.forward(x), tolerance)
    inverse = operator.pinv(y)
    close(operator.pinv(operator.forward(inverse)), inverse, tolerance)
    close(inverse.flatten(1), torch.einsum("bnm,bm->bn", torch.linalg.pinv(a, rtol=1e-10), y.flatten(1)), tolerance)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_prox_solves_its_equations(name, shape):
    operator, a = case(name, shape)
    x, y = rand(2, *operator.in_shape, seed=1), rand(2, *operator.out_shape, seed=2)
    rho = torch.tensor([0.3, 2.0], dtype=torch.float64)
    near = operator.prox(x, y, rho)
    eye = torch.eye(a.shape[2], dtype=torch.float64)
    right = torch.einsum("bmn,bm->bn", a, y.flatten(1)) + rho[:, None] * x.flatten(1)
    expected = torch.linalg.solve(a.mT @ a + rho[:, None, None] * eye, right)
    close(near.flatten(1), expected, 1e-8)
    close(operator.prox(x, y, 0.3)[0], near[0], 1e-11)  # a plain number keeps its 53 bits


@pytest.mark.parametrize(("name", "shape"), SPECTRAL)
def test_svd_rebuilds_the_operator_from_orthonormal_vectors(name, shape):
    operator = OPERATORS[name](shape)
    n, m, s = math.prod(operator.in_shape), math.prod(operator.out_shape), operator.singular_values
    assert s.dtype == torch.float64 and s.min() >= 0 and s.shape[-1] <= min(m, n)
    x, y = rand(2, *operator.in_shape, seed=1), rand(2, *operator.out_shape, seed=2)
    for vector, forth, back in ((x, operator.Vt, operator.V), (y, operator.Ut, operator.U)):
        coefficients = forth(vector)
        assert coefficients.shape == (2, vector[0].numel())
        close(coefficients.square().sum(1), vector.flatten(1).square().sum(1))
        close(back(coefficients), vector)
        close(forth(back(vector.flatten(1))), vector.flatten(1))
    k = s.shape[-1]
    thin = operator.Vt(x, thin=True)
    close(thin, operator.Vt(x)[:, :k])
    close(operator.V(thin, thin=True), operator.V(torch.nn.functional.pad(thin, (0, n - k))))
    scaled = torch.zeros(2, m, dtype=torch.float64)
    scaled[:, :k] = operator.Vt(x)[:, :k] * s
    close(operator.U(scaled), operator.forward(x))
    values = torch.linalg.svdvals(case(name, shape)[1])
    ours = torch.nn.functional.pad(s.expand(2, -1), (0, values.shape[1] - k)).sort(descending=True).values
    close(ours, values)


@pytest.mark.parametrize("name", OPERATORS)
def test_half_types_are_computed_in_float32_and_gradients_pass(name):
    operator = OPERATORS[name]((3, 8, 8))
    x = torch.rand(2, *operator.in_shape)
    half = operator.forward(x.half())
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), operator.forward(x.half().float()), atol=2e-2, rtol=1e-2)
    x.requires_grad_(True)
    with torch.inference_mode():
        operator.forward(x)  # whose casts of the tables have to serve gradients later
    y = torch.rand(2, *operator.out_shape)
    (gradient,) = torch.autograd.grad(operator.forward(x), x, y)
    torch.testing.assert_close(gradient, operator.adjoint(y), atol=1e-5, rtol=1e-5)
    again = copy.deepcopy(operator)
    assert torch.equal(again.forward(x), operator.forward(x))


@pytest.mark.parametrize(
    "make",
    [
        IdentityOperator,
        GreyOperator,
        HadamardOperator,
        lambda shape: ResizeOperator(shape, 0.5),
        lambda shape: AveragePoolOperator(shape, 2),
        lambda shape: SeparableOperator(shape, rand(8, 8)),
        lambda shape: SeparableBlurOperator(shape, LINE),
        lambda shape: MaskOperator(shape, rand(8, 8)),
        lambda shape: CircularBlurOperator(shape, KERNEL),
        lambda shape: BlurOperator(shape, KERNEL),
        lambda shape: BlurDecimateOperator(shape, KERNEL, 2),
        lambda shape: DenseOperator(shape, rand(3, 64)),
    ],
)
def test_what_is_no_shape_of_an_image_is_refused(make):
    with pytest.raises(ValueError, match=r"expected the shape \(c, h, w\) of an image .* got \(8, 8\)"):
        make((8, 8))


@pytest.mark.parametrize("name", OPERATORS)
def test_other_shapes_and_types_are_refused(name):
    operator = OPERATORS[name]((3, 8, 8))
    with pytest.raises(ValueError, match=r"expected \(b, 3, 8, 8\), got \(2, 3, 8, 7\)"):
        operator(torch.zeros(2, 3, 8, 7))
    with pytest.raises(ValueError, match="expected"):
        operator.adjoint(torch.zeros(2, *operator.out_shape, 1))
    with pytest.raises(TypeError, match="floating point"):
        operator(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match="rho should be positive"):
        operator.prox(torch.zeros(2, 3, 8, 8), torch.zeros(2, *operator.out_shape), 0.0)
    with pytest.raises(ValueError, match=r"one for each of 2 images, got shape \(3,\)"):
        operator.prox(torch.zeros(2, 3, 8, 8), torch.zeros(2, *operator.out_shape), torch.ones(3))
    if operator.batch is not None:
        with pytest.raises(ValueError, match="batch of 2"):
            operator(torch.zeros(3, 3, 8, 8))


def test_they_are_the_plain_functions():
    x = rand(2, 3, 9, 12)
    kernel = rand(3, 5)
    for padding in ("reflect", "symmetric", "replicate", "circular", "zeros"):
        for convolve in (False, True):
            operator = blur_operator((3, 9, 12), kernel, padding=padding, convolve=convolve)
            close(operator(x), filter2d(x, kernel, padding=padding, convolve=convolve))
            outer = blur_operator((3, 9, 12), rand(3)[:, None] * rand(5), padding=padding, convolve=convolve)
            assert isinstance(outer, SpectralOperator)
            close(outer(x), filter2d(x, rand(3)[:, None] * rand(5), padding=padding, convolve=convolve))
    for kind in ("box", "bilinear", "bicubic", "lanczos3"):
        close(ResizeOperator((3, 9, 12), 0.4, kernel=kind)(x), resize(x, 0.4, kernel=kind))
    close(AveragePoolOperator((3, 9, 12), 3)(x), torch.nn.functional.avg_pool2d(x, 3))
    close(BlurDecimateOperator((3, 9, 12), kernel, 4)(x), blur_decimate(x, kernel, 4))
    close(GreyOperator((3, 9, 12))(x), x.mean(1, keepdim=True))


def test_a_kernel_larger_than_the_circle_goes_round():
    x, kernel = rand(1, 1, 4, 3), rand(11, 9)
    close(CircularBlurOperator((1, 4, 3), kernel)(x), filter2d(x, kernel, padding="circular"))


def test_walsh_hadamard_is_its_matrix_and_its_own_inverse():
    h = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(4):
        h = torch.kron(torch.tensor([[1, 1], [1, -1]]).double(), h)
    x = rand(5, 16)
    close(walsh_hadamard(x), x @ h / 4)
    close(walsh_hadamard(walsh_hadamard(x)), x)
    order = torch.randperm(16)
    operator = HadamardOperator((1, 4, 4), 0.5, order=order)
    close(operator.matrix(), (h / 4)[:8][:, order.argsort()])


def test_given_singular_vectors_are_used():
    a = rand(4, 6)
    u, s, vt = torch.linalg.svd(a)
    order = torch.tensor([2, 0, 3, 1])
    v = torch.cat([-vt.T[:, order], vt.T[:, 4:]], 1)
    operator = DenseOperator((1, 2, 3), a, svd=(-u[:, order], s[order], v))
    assert torch.equal(operator.singular_values, s[order])
    x = rand(2, 1, 2, 3)
    close(operator.Vt(x), x.flatten(1) @ v)
    close(operator.U(operator.Vt(x)[:, :4] * s[order]), operator(x))
    derived = DenseOperator((1, 2, 3), a, svd=(None, s[order], v))
    close(derived.U(torch.eye(4).double()), -u[:, order].T)


def test_small_singular_values_may_be_left_out():
    operator = MaskOperator((1, 1, 3), torch.tensor([[1.0, 0.01, 0.0]]))
    y = torch.ones(1, 1, 1, 3)
    assert operator.pinv(y).flatten().tolist() == pytest.approx([1, 100, 0])
    assert operator.pinv(y, rtol=0.1).flatten().tolist() == [1, 0, 0]


def test_matrix_is_the_operator():
    operator = ResizeOperator((2, 4, 5), 0.5)
    x = rand(3, 2, 4, 5)
    close(operator(x).flatten(1), x.flatten(1) @ operator.matrix().T)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IdentityOperator((3, 0, 4)), "at least one pixel"),
        (lambda: MaskOperator((3, 4, 4), torch.ones(2, 4, 4)), r"mask for images \(3, 4, 4\)"),
        (lambda: MaskOperator((3, 4, 4), -torch.ones(4, 4)), "not be negative"),
        (lambda: GreyOperator((3, 4, 4), [0.5, 0.5]), r"matrix \(d, 3\)"),
        (lambda: SeparableOperator((3, 4, 4), torch.ones(2, 3)), r"matrices \(h', 4\)"),
        (lambda: ResizeOperator((3, 4, 4), 0), "positive"),
        (lambda: AveragePoolOperator((3, 4, 5), 2), 'kernel="box"'),
        (lambda: SeparableBlurOperator((3, 4, 4), torch.ones(3, 3)), "lines of taps"),
        (lambda: CircularBlurOperator((3, 4, 4), torch.ones(3)), "expected a kernel"),
        (lambda: BlurOperator((3, 4, 4), torch.ones(3, 3), padding="wrap"), "choose one of reflect"),
        (lambda: BlurDecimateOperator((3, 4, 4), torch.ones(3, 3), 0), "at least 1"),
        (lambda: HadamardOperator((3, 4, 5)), "power of two of pixels, got 4x5"),
        (lambda: HadamardOperator((3, 4, 4), 0.01), "keeps 1 to 16"),
        (lambda: HadamardOperator((3, 2, 2), order=torch.tensor([0, 0, 1, 2])), "permutation"),
        (lambda: walsh_hadamard(torch.ones(6)), "power of two"),
        (lambda: DenseOperator((1, 2, 2), torch.ones(3, 5)), "got a matrix 3 x 5"),
        (lambda: DenseOperator((1, 2, 2), torch.ones(3, 4), svd=(None, torch.ones(1), torch.eye(4))), "expected U 3 x 3"),
        (lambda: ComposedOperator(), "at least one operator"),
        (lambda: GreyOperator((3, 4, 4)) @ GreyOperator((3, 4, 4)), r"GreyOperator takes \(3, 4, 4\), but GreyOperator gives"),
        (lambda: MaskOperator((1, 2, 2), torch.ones(2, 1, 2, 2)).matrix(), "no single matrix"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", OPERATORS)
def test_tables_follow_the_image_to_its_device(name):
    """Fake tensors know their device and refuse to be mixed, without a device being there."""
    operator = OPERATORS[name]((3, 4, 8))
    with FakeTensorMode(allow_non_fake_inputs=True):
        x = torch.empty(2, *operator.in_shape, device="cuda")
        y = operator.forward(x)
        results = [y, operator.adjoint(y)]
        if isinstance(operator, SpectralOperator):
            results += [operator.U(operator.Ut(y)), operator.V(operator.Vt(x)), operator.pinv(y)]
        assert all(result.device.type == "cuda" for result in results)
