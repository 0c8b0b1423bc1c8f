"""The functional G of a network with its sweeps over time in Julia."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from hamjl.control.collocation import Mesh
from hamjl.control.transcription import Transcription
from hamjl.engines.boundary import run_boundary
from hamjl.engines.julia import bridge
from hamjl.lowered import BOUND, Floats, LawCode, Lowered, Monitor, NetworkField, Result


def minimize(lowered: Lowered, times: Floats, monitor: Monitor) -> Result:
    """Search for the minimum of G. A symbolic system, small by nature, is left to NumPy, as is what is not plain."""
    if isinstance(lowered.field, NetworkField) and lowered.field.plain:
        with bridge.failures():
            return run_boundary(lowered, times, monitor, NativeTranscription)
    return run_boundary(lowered, times, monitor)


class NativeTranscription(Transcription):
    """`Transcription` of a network whose cost, gradient and curvature are computed by HamJL; the loss alone is not."""

    _sweep: ClassVar[tuple[tuple[int, int, int], Any] | None] = None  # the memory of the last one, by its size

    def __init__(self, field: NetworkField, mesh: Mesh, initial: Floats) -> None:
        super().__init__(field, mesh, initial)
        self.field: NetworkField = field
        self._native: Any = None
        self._here: Floats | None = None
        self._slope: Floats | None = None
        self._value = np.inf

    def cost(self, unknown: Floats) -> float:
        if self._here is not None and np.array_equal(self._here, unknown):
            return self._value
        julia = bridge.module()
        if self._native is None:
            self._native = self._start(julia)
        self._here, self._value, self._slope = unknown.copy(), np.inf, None
        _array(self._native.unknown)[...] = unknown.reshape(self.control.shape)
        if julia.forward_b(self._native):
            loss = self.model.loss.value(_array(self._native.x), self.drive)
            cost = float((self.measure * loss).sum() + _array(self._native.costs).sum())
            self._value = cost if abs(cost) <= BOUND else np.inf
            self.guess = _array(self._native.x)
        return self._value

    def gradient(self, unknown: Floats) -> Floats:
        self.cost(unknown)
        if self._slope is None:
            self._load_source()
            bridge.module().gradient_b(self._native)
            self._slope = _array(self._native.result).ravel().copy()
        return self._slope

    def curvature(self, unknown: Floats, direction: Floats) -> Floats:
        self.gradient(unknown)
        julia, native, outputs = bridge.module(), self._native, self.field.outputs
        _array(native.direction)[...] = direction.reshape(self.control.shape)
        julia.tangent_b(native)
        x, dx = _array(native.x), _array(native.dx)
        bend = self.model.loss.curvature(x, self.drive, dx[..., outputs])
        _array(native.source)[..., outputs] = self.measure[..., None] * bend
        julia.curvature_b(native)
        return _array(native.result).ravel().copy()

    def factored(
        self, unknown: Floats, shift: float, *, gauss_newton: bool = False
    ) -> Callable[[Floats], Floats] | None:
        """As in `Transcription`; good until the next one is asked for, since they share memory."""
        self.gradient(unknown)
        julia, native, outputs = bridge.module(), self._native, self.field.outputs
        size = (len(self.x0), len(self.control.w0), len(self.mesh))
        if NativeTranscription._sweep is None or NativeTranscription._sweep[0] != size:
            NativeTranscription._sweep = (size, julia.Sweep(native))
        sweep = NativeTranscription._sweep[1]
        x = _array(native.x)
        weighted = self.measure[..., None, None] * self.model.loss.hessian(x, self.drive)
        curvature = bridge.floats(weighted.reshape(-1))
        if not julia.factor_b(sweep, native, bridge.integers(outputs + 1), curvature, shift, gauss_newton):
            return None

        def inverse(right: Floats) -> Floats:
            _array(native.direction)[...] = right.reshape(self.control.shape)
            julia.solve_b(sweep, native)
            return _array(native.result).ravel().copy()

        return inverse

    def nodes(self, unknown: Floats) -> Floats:
        self.cost(unknown)
        self._load_source()
        states = _array(bridge.module().node_states(self._native)).copy()
        states[:, states.shape[1] // 2 :] /= self.phi(self.mesh.nodes)[:, None]
        return states

    def _load_source(self) -> None:
        """The loss pulls at the outputs: measure ∂cℓ/∂x."""
        slope = self.model.loss.gradient(_array(self._native.x), self.drive)
        _array(self._native.source)[..., self.field.outputs] = self.measure[..., None] * slope

    def _start(self, julia: Any) -> Any:
        field = self.field
        arrays = {
            "h": self.mesh.h,
            "measure": self.measure,
            "theta": self.control.theta,
            "drives": self.drive[..., : field.inputs],
            "x0": self.x0,
            "w0": self.control.w0,
            "guess": np.empty(0) if self.guess is None else self.guess,
        }
        return julia.transcription(
            bridge.network(julia, field, LawCode()),
            regularizer=bridge.formula(julia, field.regularizer.only(["f", "df", "d2f"])),
            **{name: bridge.floats(np.asarray(values).reshape(-1)) for name, values in arrays.items()},
        )


def _array(values: Any) -> Floats:
    """A view of a Julia array, its dimensions in reverse."""
    view: Floats = values.to_numpy(copy=False).T
    return view
