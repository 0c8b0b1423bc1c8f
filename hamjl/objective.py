"""The functional that learning minimises (equation (8) of the paper)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hamjl import functions
from hamjl.checks import choice, flag, keys, mapping, number
from hamjl.errors import ProblemError


@dataclass(frozen=True)
class Objective:
    """``G(v) = ∫ [ (m c/2)|v|² + c (k V(w) + q L(x, z)) ] φ dt`` with ``w' = v``, equation (8).

    Parameters
    ----------
    loss : str
        L(y, z): ``"squared_error"`` ((y - z)²/2), ``"softmax_cross_entropy"``, ``"binary_cross_entropy"``,
        ``"log_cosh"``, ``"none"``, or a formula in ``y`` and ``z``; summed over outputs.
    loss_weight : float
        q ≥ 0.
    regularizer : str
        V(w): ``"quadratic"`` (w²/2), ``"pseudo_huber"``, ``"double_well"``, ``"none"``, or a formula in ``w``.
    k : float
        Weight of V, k ≥ 0.
    m : float
        Mass m > 0: how much it costs to move a weight.
    dissipation : float or str
        θ of φ = e^{θt}, or a positive formula φ(t).
    scaled_by_velocity : bool
        Whether c, the mean velocity of the network, multiplies the costs as in (8). The paper's experiments leave it
        out; see `tracking`.
    """

    loss: str = "squared_error"
    loss_weight: float = 1.0
    regularizer: str = "quadratic"
    k: float = 0.0
    m: float = 1.0
    dissipation: float | str = 0.0
    scaled_by_velocity: bool = True

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        put("loss", functions.loss(self.loss))
        put("loss_weight", number(self.loss_weight, "loss_weight", nonnegative=True))
        put("regularizer", functions.regularizer(self.regularizer))
        put("k", number(self.k, "k", nonnegative=True))
        put("m", number(self.m, "m", positive=True))
        put("dissipation", functions.dissipation(self.dissipation))
        put("scaled_by_velocity", flag(self.scaled_by_velocity, "scaled_by_velocity"))

    @classmethod
    def tracking(
        cls,
        q: float,
        r_w: float = 0.0,
        r: float = 1.0,
        *,
        loss: str = "squared_error",
        dissipation: float | str = 0.0,
    ) -> Objective:
        """The experiments' form ``G = ∫ [ q L(x, z) + r|v|²/2 + r_w |w|² ] φ dt`` (no ½ on r_w, no factor c)."""
        return cls(
            loss=loss,
            loss_weight=number(q, "q", nonnegative=True),
            k=2.0 * number(r_w, "r_w", nonnegative=True),
            m=number(r, "r", positive=True),
            dissipation=dissipation,
            scaled_by_velocity=False,
        )

    @classmethod
    def hamiltonian_learning(
        cls,
        decay: float,
        rate: float,
        step: float,
        *,
        loss: str = "squared_error",
        loss_weight: float = 1.0,
        k: float = 0.0,
    ) -> Objective:
        """The objective under which Euler with this `step` δ has the decay θ = ρ δ per step and the rate β = 1/m.

        The costs have no factor c; see `HamiltonianLearning`. `k` is then weight decay.
        """
        return cls(
            loss=loss,
            loss_weight=loss_weight,
            k=k,
            m=1.0 / number(rate, "rate", positive=True),
            dissipation=number(decay, "decay", nonnegative=True) / number(step, "step", positive=True),
            scaled_by_velocity=False,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form read by `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any]) -> Objective:
        """Build from a plain table of this class's parameters, or of `tracking`'s with ``kind = "tracking"``."""
        table = mapping(spec, "objective")
        if "kind" in table:
            choice(table.pop("kind"), ("tracking",), "objective kind")
            keys(table, "a tracking objective", ("q", "r_w", "r", "loss", "dissipation"))
            if "q" not in table:
                raise ProblemError(f"a tracking objective needs 'q', got {sorted(table)}: add it.")
            return cls.tracking(**table)
        keys(table, "objective", tuple(cls.__dataclass_fields__))
        return cls(**table)
