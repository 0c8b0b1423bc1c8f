"""The functional that learning minimises (equation (8) of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hamjl import dissipation, functions, signals
from hamjl.arcs import per_arc
from hamjl.checks import choice, flag, keys, mapping, number, scalar
from hamjl.dissipation import Dissipation, DissipationLike, as_dissipation
from hamjl.errors import ProblemError, shown
from hamjl.expressions import Formula, check, is_sympy
from hamjl.foreign import Folder
from hamjl.plain import Plain
from hamjl.signals import Signal

if TYPE_CHECKING:
    from hamjl.streams import Stream

PerArc = float | Mapping[Any, float] | xr.DataArray | np.ndarray[Any, Any]  # one number, or one each
Weight = Formula | Signal | xr.DataArray  # of a loss, in time
OneWeight = float | str | Signal  # the same, checked
Loss = Formula | Mapping[str, Sequence[str] | str]  # one for all outputs, or several with theirs


@dataclass(frozen=True, eq=False, init=False)
class Objective(Plain):
    """``G(v) = ∫ [ (m c/2)|v|² + c (k V(w) + q L(x, z)) ] φ dt`` with ``w' = v``, equation (8).

    Parameters
    ----------
    loss : str or mapping
        L(y, z): ``"squared_error"`` ((y - z)²/2), ``"softmax_cross_entropy"``, ``"binary_cross_entropy"``,
        ``"log_cosh"``, ``"none"``, or a formula in ``y`` and ``z``; summed over outputs. Several at once by the outputs
        that each looks at: ``{"squared_error": ["y0"], "softmax_cross_entropy": ["c0", "c1"]}``; an output in none of
        them is not supervised.
    loss_weight : float, str, Signal, xarray.DataArray or mapping
        q ≥ 0: a number, or of time: a formula in ``t``, a signal, or a DataArray on ``time``, NaN where nothing is
        asked; or a mapping from outputs to any of these (the others have 1), or a DataArray with a dimension for them.
        In the softmax loss the weight of a class.
    regularizer : str
        V(w): ``"quadratic"`` (w²/2), ``"pseudo_huber"``, ``"double_well"``, ``"none"``, or a formula in ``w``.
    k : float, mapping, xarray.DataArray or array
        Weight of V, k ≥ 0: a number, or by arc: a mapping from arcs (the others have 0), a DataArray on ``arc`` or on
        (``target``, ``source``), an array (arc,) or (neuron, input + neuron). Tied arcs count once.
    m : float, mapping, xarray.DataArray or array
        Mass m > 0, how much it costs to move a weight: a number, or by arc as `k` (the others have 1). A weight of
        infinite mass is frozen.
    dissipation : float, str or xarray.DataArray
        θ of φ = e^{θt}, or a positive φ(t): a formula, or samples on ``time``, between which log φ is linear.
    scaled_by_velocity : bool
        Whether c, the mean velocity of the network, multiplies the costs as in (8). The paper's experiments leave it
        out; see `tracking`.
    """

    loss: str | dict[str, tuple[str, ...]]
    loss_weight: OneWeight | dict[str, OneWeight]
    regularizer: str
    k: Any
    m: Any
    dissipation: Dissipation
    scaled_by_velocity: bool

    def __init__(
        self,
        loss: Loss = "squared_error",
        loss_weight: Weight | Mapping[str, Weight] = 1.0,
        regularizer: Formula = "quadratic",
        k: PerArc = 0.0,
        m: PerArc = 1.0,
        dissipation: DissipationLike = 0.0,
        scaled_by_velocity: bool = True,
    ) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        put("loss", _losses(loss))
        put("loss_weight", _weights(loss_weight))
        put("regularizer", functions.regularizer(regularizer))
        put("k", per_arc(k, "k"))
        put("m", per_arc(m, "m", positive=True))
        put("dissipation", as_dissipation(dissipation))
        put("scaled_by_velocity", flag(scaled_by_velocity, "scaled_by_velocity"))

    @property
    def losses(self) -> dict[str, tuple[str, ...] | None]:
        """The outputs that each loss looks at; None means all."""
        return dict(self.loss) if isinstance(self.loss, dict) else {self.loss: None}

    @classmethod
    def tracking(
        cls,
        q: Weight | Mapping[str, Weight],
        r_w: float = 0.0,
        r: PerArc = 1.0,
        *,
        loss: Loss = "squared_error",
        dissipation: DissipationLike = 0.0,
    ) -> Objective:
        """The experiments' form ``G = ∫ [ q L(x, z) + r|v|²/2 + r_w |w|² ] φ dt`` (no ½ on r_w, no factor c)."""
        return cls(
            loss=loss,
            loss_weight=_weights(q, "q"),
            k=2.0 * number(r_w, "r_w", nonnegative=True),
            m=per_arc(r, "r", positive=True),
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
        loss: Loss = "squared_error",
        loss_weight: Weight | Mapping[str, Weight] = 1.0,
        k: PerArc = 0.0,
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

    @classmethod
    def sgd(
        cls,
        learning_rate: float,
        momentum: float = 0.9,
        *,
        stream: Stream | None = None,
        dwell: float | None = None,
        taught: float | None = None,
        step: float | None = None,
        loss: Loss = "squared_error",
        loss_weight: Weight | Mapping[str, Weight] = 1.0,
        weight_decay: float = 0.0,
    ) -> Objective:
        """The objective under which a stream of samples is learnt as by SGD with momentum, without dampening.

        A sample's truth is told for S steps τ and adds S τ c ∇(q L) to p_w, which decays by μ = (1 - θτ)^{D/τ} until
        that of the next sample, a time D later, and moves w by p_w/(m c) in the meantime. So θ = (1 - μ^{τ/D})/τ and
        m = S τ (1-μ)/(θ · learning rate), and `weight_decay` λ is k = λ S τ/D. The velocity c cancels, and so does
        whether costs are scaled by it.

        By `HamiltonianLearning(instantaneous=True)`, taught for one step, this is SGD exactly, at the steps at which
        truth is told. By `CostateReversal` on layers with cτ = 1 it is so up to relative errors of the order of the
        learning rate and of θτ: errors that pass L layers, the outputs' included, shrink by (1 + θτ)^L.

        Parameters
        ----------
        learning_rate : float
            Of the gradient of the loss with its weight, q L.
        momentum : float
            0 ≤ μ < 1. A small one makes θ as large as c, and neurons that take time then pass no errors on.
        stream : Stream, optional
            What says the following.
        dwell, taught : float, optional
            D and Sτ in units of time.
        step : float, optional
            τ of Euler; without it the limit τ → 0, θ = -log(μ)/D.
        """
        if (stream is None) == (dwell is None and taught is None and step is None):
            raise ProblemError("sgd needs either a stream or dwell, taught and step, got both or neither: give one.")
        if stream is not None:
            dwell, taught, step = stream.dwell, stream.taught, stream.step
        dwell, taught = number(dwell, "dwell", positive=True), number(taught, "taught", positive=True)
        step = None if step is None else number(step, "step", positive=True)
        if taught > dwell or (step is not None and step > taught * (1 + 1e-9)):
            raise ProblemError(
                f"a sample must be taught for a step or more and at most while it stays, got dwell {dwell:g}, taught "
                f"{taught:g} and step {'none' if step is None else f'{step:g}'}: change them."
            )
        rate = number(learning_rate, "learning_rate", positive=True)
        momentum = number(momentum, "momentum", nonnegative=True)
        if momentum >= 1 or (momentum == 0 and step is None):
            least = "more than 0 without a step" if step is None else "0 or more"
            raise ProblemError(f"momentum must be {least}, and below 1, got {momentum:g}: change it.")
        theta = -np.log(momentum) / dwell if step is None else (1.0 - momentum ** (step / dwell)) / step
        return cls(
            loss=loss,
            loss_weight=loss_weight,
            k=number(weight_decay, "weight_decay", nonnegative=True) * taught / dwell,
            m=float(taught * (1.0 - momentum) / (theta * rate)),
            dissipation=float(theta),
        )

    def _tree(self) -> dict[str, Any]:
        names = ("loss", "loss_weight", "regularizer", "k", "m", "dissipation", "scaled_by_velocity")
        tree = {name: getattr(self, name) for name in names}
        if isinstance(self.loss, dict):
            tree["loss"] = {name: list(outputs) for name, outputs in self.loss.items()}
        tree["loss_weight"] = _plain(self.loss_weight)
        tree["dissipation"] = dissipation.to_plain(self.dissipation)
        return tree

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any], folder: Path | Folder | None = None) -> Objective:
        """Build from a plain table of this class's parameters, or of `tracking`'s with ``kind = "tracking"``.

        Data files named in it are in `folder` or below.
        """
        table = mapping(spec, "objective")
        for name in ("loss_weight", "q"):
            if name in table:
                table[name] = _from_plain(table[name], folder)
        if "dissipation" in table:
            table["dissipation"] = dissipation.from_plain(table["dissipation"], folder)
        if "kind" in table:
            choice(table.pop("kind"), ("tracking",), "objective kind")
            keys(table, "a tracking objective", ("q", "r_w", "r", "loss", "dissipation"))
            if "q" not in table:
                raise ProblemError(f"a tracking objective needs 'q', got {sorted(table)}: add it.")
            return cls.tracking(**table)
        keys(table, "objective", tuple(cls.__dataclass_fields__))
        return cls(**table)


def _losses(given: Any) -> Any:
    """One loss, or the outputs of each of several."""
    if not isinstance(given, Mapping):
        return functions.loss(given)
    found = dict[str, tuple[str, ...]]()
    for loss, outputs in given.items():
        names = [outputs] if isinstance(outputs, str) else outputs
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names) or not names:
            raise ProblemError(
                f"each loss must list the outputs that it looks at, got {shown(outputs)} for {shown(loss)}: write "
                "{'squared_error': ['y0'], …}."
            )
        found[functions.loss(loss)] = tuple(names)
    taken = [name for names in found.values() for name in names]
    if not found or len(set(taken)) < len(taken):
        twice = next((name for name in taken if taken.count(name) > 1), "no output at all")
        raise ProblemError(f"each output must be of one loss, got {shown(twice)}: list it once.")
    return found


def _weights(given: Any, what: str = "loss_weight") -> Any:
    """One weight of the loss, or one for each of some outputs."""
    if isinstance(given, Mapping):
        return {str(name): _weight(one, f"{what} {name!r}") for name, one in given.items()}
    return _weight(given, what)


def _weight(given: Any, what: str) -> OneWeight:
    given = scalar(given)
    if isinstance(given, xr.DataArray):
        given = signals.series(given)
    if isinstance(given, Signal):
        return given
    if isinstance(given, str) or is_sympy(given):
        if isinstance(given, str) and given.strip().isalpha() and given.strip() not in ("t", "pi"):
            raise ProblemError(f"{what} must be a number, a signal or a formula in t, got {shown(given)}: change it.")
        text = check(given, ("t",), what)
        functions.weight_program(text)
        return text
    return number(given, what, nonnegative=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return value.spec if isinstance(value, Signal) else value


def _from_plain(value: Any, folder: Path | Folder | None) -> Any:
    if not isinstance(value, Mapping):
        return value
    if isinstance(value.get("kind"), str):
        return signals.from_dict(value, folder)
    return {name: _from_plain(one, folder) for name, one in value.items()}
