"""The laws of learning: how Hamilton's equations are closed in time. Signs and limits, nothing numerical."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hamjl.checks import choice, flag, keys, mapping, number
from hamjl.errors import ProblemError, shown


class Law:
    """Base class of the laws; see the subclasses."""

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form read by `from_dict`."""
        given = {name: value for name, value in asdict(self).items() if value is not None}  # type: ignore[call-overload]
        return {"name": _NAMES[type(self)], **given}


@dataclass(frozen=True)
class Cauchy(Law):
    """Hamilton's equations (14) forward in time from p(0). Unstable: costates grow like e^{ct}."""


@dataclass(frozen=True)
class CostateReversal(Law):
    """(18): the signs of p_x' and p_w' flipped for good. Causal, and stable on DAGs."""


@dataclass(frozen=True)
class SignFlip(Law):
    """Hamiltonian sign flip (23): all right-hand sides times s(t) = ±1, by exactly one policy.

    Parameters
    ----------
    every_step : bool
        s alternates +1, -1, … at every step of a fixed-step method (Algorithm 1's extreme case).
    frequency : float
        s = sign(cos 2πft), f in 1/time. Where the cosine vanishes, the sign that follows holds.
    radius : float
        Hamiltonian track (24): s = +1 while |x|² + |w|² + |p_x|² + |p_w|² ≤ R (R itself, not R²), else -1; the costates
        are those divided by φ. On the ball's surface s is still +1, and at a flip the sign that follows holds.
    hysteresis : float
        Once flipped to -1, s returns to +1 when that sum is below (1 - hysteresis) R. Adaptive methods need it
        positive: without it an accurate solution would chatter on the ball's surface. 0 is (24) to the letter.
    """

    every_step: bool = False
    frequency: float | None = None
    radius: float | None = None
    hysteresis: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "every_step", flag(self.every_step, "every_step"))
        for name in ("frequency", "radius"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, number(getattr(self, name), name, positive=True))
        object.__setattr__(self, "hysteresis", number(self.hysteresis, "hysteresis", nonnegative=True))
        if self.hysteresis >= 1:
            raise ProblemError(f"hysteresis must be below 1, got {self.hysteresis:g}: it is a fraction of the radius.")
        chosen = [self.every_step, self.frequency is not None, self.radius is not None]
        if sum(chosen) != 1:
            raise ProblemError(
                f"SignFlip takes exactly one policy, got {sum(chosen)}: give every_step=True, frequency=… or radius=…."
            )


@dataclass(frozen=True)
class BoundaryValue(Law):
    """Theorem 1: (12) with x(0), w(0) given and p(T) = 0, which the minimiser of G satisfies.

    Not causal: the reference that causal laws are judged by. Solved by `Collocation`.
    """


@dataclass(frozen=True)
class BackpropLimit(Law):
    """(20), the limit c → ∞ of costate reversal: x = σ(a) at every instant, delta rule, w'' = -(φ'/φ) w' - ….

    Gradient descent with momentum in continuous time. ``p_x`` of the trajectory is the limit of the costate.
    """


@dataclass(frozen=True)
class HamiltonianLearning(Law):
    """Hamiltonian Learning (arXiv 2409.12038): (18) in discrete time, by `Euler` with step δ only.

    At each step ``p ← (1 - θ) p + δ ∂H/∂(x, w)`` and ``w ← w - δ β p_w``, with the decay ``θ = ρ δ``, ρ = φ'/φ, and the
    rate ``β = 1/(m c)`` of the objective; `Objective.hamiltonian_learning` takes θ and β.

    Parameters
    ----------
    local : bool
        w moves by the p_w from before the step, which is costate reversal by explicit Euler; else by the new p_w.
    instantaneous : bool
        Neurons are at rest at every step, x = σ(a), as in `BackpropLimit`. Then the form that is not local is SGD with
        momentum 1 - θ and learning rate δ²β, one sample a step, and the local one takes each gradient a step late.
    """

    local: bool = False
    instantaneous: bool = False

    def __post_init__(self) -> None:
        for name in ("local", "instantaneous"):
            object.__setattr__(self, name, flag(getattr(self, name), name))


_LAWS: dict[str, type[Law]] = {
    "boundary_value": BoundaryValue,
    "cauchy": Cauchy,
    "costate_reversal": CostateReversal,
    "sign_flip": SignFlip,
    "backprop_limit": BackpropLimit,
    "hamiltonian_learning": HamiltonianLearning,
}
_NAMES = {cls: name for name, cls in _LAWS.items()}

LawLike = Law | str | Mapping[str, Any]  # what `as_law` takes


def as_law(value: Any) -> Law:
    """Return a law from a law, its name (``"costate_reversal"`` or ``"CostateReversal"`` …) or its plain form."""
    if type(value) in _NAMES:
        return value
    table = {"name": value} if isinstance(value, str) else mapping(value, "law") if isinstance(value, Mapping) else None
    if table is None:
        raise ProblemError(
            f"law must be one of hamjl's laws or a name, got {shown(value)}: write e.g. CostateReversal()."
        )
    name = choice(table.pop("name", None), _LAWS, "law", any_case=True)
    cls = _LAWS[name]
    keys(table, f"law {name!r}", tuple(cls.__dataclass_fields__))  # type: ignore[attr-defined]
    return cls(**table)
