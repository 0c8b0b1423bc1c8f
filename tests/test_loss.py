"""The loss at the outputs, and its derivatives, where all, some or none of the targets are given."""

import numpy as np
import pytest
from conftest import finite_difference

import hamjl as hj
from hamjl.dynamics.loss import Loss
from hamjl.lowering import lower_field

Y, Z = np.array([0.7, -0.4, 1.3]), np.array([0.2, 0.5, 0.3])
GIVEN = ([True, True, True], [True, False, True], [False, False, False])
VALUES = {
    "squared_error": lambda y, z: (y - z) ** 2 / 2,
    "none": lambda y, z: 0.0 * y,
    "y*z": lambda y, z: y * z,
    "softmax_cross_entropy": lambda y, z: -z * (y - np.log(np.exp(y).sum())),
}


def case(kind: str, given: list[bool]) -> tuple[Loss, np.ndarray, np.ndarray]:
    """c q = 2·3, x and drive of three outputs in the order 2, 0, 1, or 0, 1, 2, of four neurons with an input."""
    network = hj.Network.fully_connected(4, inputs=1, velocity=2.0, outputs=["x2", "x0", "x1"])
    targets = {name: hj.signals.cosine(1.0, 1.0) for name, told in zip(network.outputs, given, strict=True) if told}
    objective = hj.Objective(loss=kind, loss_weight=3.0)
    loss = Loss(lower_field(hj.Problem(network, objective, inputs=0.0, target=targets or None, span=(0, 1))))
    x = np.zeros(4)
    x[network.output_index] = Y
    return loss, x, np.concatenate(([9.0], np.where(given, Z, np.nan), [0.0]))


def cases() -> list[tuple[str, list[bool]]]:
    some = GIVEN[1]
    return [(kind, given) for kind in VALUES for given in GIVEN if not (kind[:7] == "softmax" and given is some)]


@pytest.mark.parametrize(("kind", "given"), cases())
def test_loss_and_its_derivatives(kind, given):
    loss, x, drive = case(kind, given)
    expected = 6.0 * np.where(given, VALUES[kind](Y, Z), 0.0).sum()
    np.testing.assert_allclose(loss.value(x, drive), expected, rtol=1e-13, atol=1e-14)
    assert kind == "none" or not any(given) or expected != 0.0

    signal, order = loss.signal(x, drive), [2, 0, 1]
    slopes = finite_difference(lambda v: np.atleast_1d(loss.value(v, drive)), x)[0]
    np.testing.assert_allclose(signal, slopes, atol=1e-8)
    if kind != "none" and any(given):
        assert np.abs(slopes).max() > 0.1
        rival, *at = case("(y - z)**4", given)
        assert np.abs(rival.signal(*at) - slopes).max() > 0.1
    np.testing.assert_array_equal(loss.gradient(x, drive), signal[order])
    hessian = loss.hessian(x, drive)
    np.testing.assert_allclose(hessian, finite_difference(lambda v: loss.gradient(v, drive), x)[:, order], atol=1e-8)
    direction = np.array([0.3, -1.0, 0.5])
    np.testing.assert_allclose(loss.curvature(x, drive, direction), hessian @ direction, atol=1e-13)

    def moved(z: np.ndarray) -> np.ndarray:
        return np.atleast_1d(loss.value(x, np.concatenate(([9.0], z, [0.0]))))

    along = np.nan_to_num(finite_difference(moved, drive[1:4])[0]) @ direction
    np.testing.assert_allclose(loss.power(x, drive, direction), along, atol=1e-8)


@pytest.mark.parametrize(("kind", "given"), cases())
def test_rows_are_alike_whatever_the_axes_before_them(kind, given):
    loss, x, drive = case(kind, given)
    rows, drives = np.broadcast_to(x, (2, 5, 4)), np.broadcast_to(drive, (2, 5, 5))
    for name in ("value", "gradient", "signal", "hessian"):
        one = getattr(loss, name)(x, drive)
        np.testing.assert_array_equal(getattr(loss, name)(rows, drives), np.broadcast_to(one, (2, 5, *one.shape)))
