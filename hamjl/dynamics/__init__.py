"""Right-hand sides in NumPy of all that can be lowered, behind one interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hamjl.dynamics.limit import LimitDynamics, NoFixedPointError
from hamjl.dynamics.network import NetworkDynamics
from hamjl.dynamics.symbolic import SymbolicDynamics
from hamjl.lowered import LawCode, NetworkField, SymbolicField
from hamjl.piecewise import Piecewise

__all__ = ["Dynamics", "FullDynamics", "NoFixedPointError", "dynamics_of", "full_dynamics_of"]

Array = NDArray[np.floating]


class Dynamics(Protocol):
    """What an integrator needs. A *drive* is a row (…, k) of all that depends on time, the last entry ρ = φ'/φ."""

    field: Any
    dimension: int
    guess: (
        Array  # what is remembered from one evaluation to the next: the fixed point of the backprop limit, or nothing
    )

    def signals(self) -> list[Piecewise]:
        """All signal tables."""

    def drive(self, t: Array | float, inside: Array | float | None = None) -> Array:
        """The drive at times (…); with `inside`, on the pieces of the signals that are in force at those times."""

    def restrict(self, y: Array) -> Array:
        """A copy of the part of a full state that is integrated."""

    def full(self, y: Array, drive: Array) -> Array:
        """The full state, as stored."""

    def rhs(self, y: Array, drive: Array, s: Any, out: Array) -> Array:
        """Write the time derivative of `y` to `out` and return it; `s` is the sign s(t)."""

    def lead(self, dy: Array, s: Any, step: float) -> Array:
        """Let w' in `dy` follow from the costates at the end of a step: the semi-implicit Euler method."""

    def jacobian(self, y: Array, drive: Array, s: float) -> Any:
        """∂(rhs)/∂y of one state: a sparse matrix, or an array where it is full."""


class FullDynamics(Dynamics, Protocol):
    """What the analysis of trajectories needs besides; states may carry leading axes."""

    law: LawCode
    parts: tuple[str, ...]

    def split(self, y: Array) -> tuple[Array, ...]:
        """Views of a state by the names in `parts`."""

    def labelled(self, y: Array, *, change: bool = False) -> dict[str, Array]:
        """What a trajectory holds of states (…, state), by the names in `parts`; or of changes of states."""

    def packed(self, values: Mapping[str, Array]) -> Array:
        """The states (…, state) of what a trajectory holds; NaN for the parts that are left out."""

    def phi(self, t: Array) -> Array:
        """φ (…)."""

    def lagrangian(self, y: Array, drive: Array) -> Array:
        """Λ/φ, the integrand of G, (…)."""

    def hamiltonian(self, y: Array, drive: Array) -> Array:
        """H/φ, (…)."""

    def powers(self, t: Array, y: Array, s: Array, inside: Array | None = None) -> dict[str, Array]:
        """The terms of d(H/φ)/dt along the law, each (…)."""

    def equilibrium_residual(self, y: Array, drive: Array, rates: Array) -> Array:
        """`rates` with the parts that a limit law holds at equilibrium replaced by the residual of that."""


def dynamics_of(field: NetworkField | SymbolicField, law: LawCode) -> Dynamics:
    """What is integrated for a field under a law."""
    if isinstance(field, NetworkField) and law.limit:
        return LimitDynamics(field)
    return full_dynamics_of(field, law)


def full_dynamics_of(field: NetworkField | SymbolicField, law: LawCode) -> FullDynamics:
    """The equations of motion on full states."""
    if isinstance(field, SymbolicField):
        return SymbolicDynamics(field, law)
    return NetworkDynamics(field, law)
