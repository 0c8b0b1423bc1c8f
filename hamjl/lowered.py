"""The waist: one plain record of arrays, numbers and formulas, all that an engine ever sees of a problem.

Nothing here knows of xarray, SciPy or Julia. An engine takes a `Lowered` record, starts a `Run` and returns `Result`s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from hamjl.expressions import Program
from hamjl.piecewise import Piecewise

Floats = NDArray[np.floating]
Integers = NDArray[np.int64]

# Numbers that every engine keeps to; the tests compare those of Julia.
BOUND = 1e100  # a larger |value| counts as divergence: its square, in the energies, must still be a number
BLOCK = 1024  # steps of Euler between two looks at whether values are within the bound
BLOW_UP = 1e6  # growth beyond which a step size of zero means a singularity, not a hard problem
STEEP, SUDDEN = 1e3, 1e-6  # or so much growth, where at its rate the state doubles within this part of the time so far
ROUNDING = 1e-13  # of times, relative: stops that are nearer are one
LOOKS = 8  # per step for the track policy: a long step may leave the band and come back


@dataclass(frozen=True, eq=False)
class Weights:
    """Which weights there are, and which of them move: the arc e has w_e = factor_e value[weight_e].

    Tied arcs have one weight. Those that do not move (``moving`` lists the others) keep their ``value`` (weight,).
    """

    weight: Integers  # (arc,)
    factor: Floats  # (arc,)
    moving: Integers
    value: Floats  # (weight,)


@dataclass(frozen=True, eq=False)
class NetworkField:
    """A network and its costs. State layout: x (neuron), w (weight), p_x/φ (neuron), p_w/φ (weight), one by one.

    Weights are those that move: one for each arc, unless ``weights`` says otherwise. ``inertia`` is m c,
    ``loss_scale`` c q and ``regularizer_scale`` c k of equation (8), with c replaced by 1 where the objective is not
    scaled by velocity; the first and the last may differ by weight: inertia (moving weight,), scale (weight,).
    ``activations`` are σ(a) of x' = c (σ(a) - x) and its derivatives ``f``, ``df``, ``d2f``; or if any neuron obeys
    another equation, f(x, a) of x' = c f and ``fx``, ``fa``, ``fxx``, ``fxa``, ``faa``, for all of them.
    ``losses`` are formulas with the columns of the outputs that each is summed over; None is the softmax loss.
    Signals are (table, columns of u), (table, columns of z); ``loss_weights`` are (``f`` and ``df`` by t, or table,
    columns of the outputs), whose losses count so many times.
    """

    inputs: int
    neurons: int
    source: Integers
    target: Integers
    outputs: Integers
    velocity: Floats
    activations: tuple[Program, ...]
    activation_of: Integers
    inertia: float | Floats
    loss_scale: float
    regularizer_scale: float | Floats
    losses: tuple[tuple[Program | None, Integers], ...]
    regularizer: Program
    dissipation: Program | Piecewise  # φ and its rate ρ = φ'/φ, or a table of log φ
    input_signals: tuple[tuple[Piecewise, Integers], ...]
    target_signals: tuple[tuple[Piecewise, Integers], ...]
    loss_weights: tuple[tuple[Program | Piecewise, Integers], ...] = ()
    weights: Weights | None = None

    @property
    def moving(self) -> int:
        """How many weights move."""
        return len(self.source) if self.weights is None else len(self.weights.moving)

    @property
    def plain(self) -> bool:
        """Whether it is the paper's: leaky neurons, and arcs that all move by themselves, of one mass and one k."""
        alike = np.ndim(self.inertia) == 0 and np.ndim(self.regularizer_scale) == 0
        return self.leaky and self.weights is None and alike

    @property
    def leaky(self) -> bool:
        """Whether all neurons obey (7)."""
        return all("x" not in program.arguments for program in self.activations)


@dataclass(frozen=True, eq=False)
class SymbolicField:
    """A small system of formulas. State layout: x (state), p_x/φ (state).

    ``program`` takes (x, p, signals, t) and gives, for h = H/φ at the optimal control: ``h``, ``cost``, ``v_k``,
    ``h_p_k``, ``h_x_k``, ``h_u_k`` (by the signals), ``h_t``, and ``j_i_k``, the derivative of (h_p, -h_x) by (x, p).
    ``control`` takes (x, p, v, signals, t) and gives ``cost``, ``f_k``, ``cost_x_k``, ``cost_v_k``, ``f_x_i_j``,
    ``f_v_i_j`` and the second derivatives ``h_xx_i_j``, ``h_xv_i_j``, ``h_vv_i_j`` of cost + p·f: what is needed before
    the control is eliminated. Each table of ``signals`` has one channel.
    """

    states: int
    controls: int
    program: Program
    control: Program
    dissipation: Program | Piecewise
    signals: tuple[Piecewise, ...]


@dataclass(frozen=True)
class LawCode:
    """Signs of the law: x' and w' carry ``s``, p' carries ``costate_sign * s``, where s(t) = ±1 follows ``flip``.

    With ``boundary``, p vanishes at the end of the span instead of being given at its start.
    """

    costate_sign: int = 1
    flip: str = "none"  # none | step | periodic | track
    frequency: float = 0.0
    radius: float = 0.0
    hysteresis: float = 0.0
    limit: bool = False  # x and p_x at their equilibrium: the backprop limit (20)
    boundary: bool = False
    semi_implicit: bool = False  # Euler moves w by the p_w of the end of the step


@dataclass(frozen=True)
class EulerCode:
    """A fixed step."""

    step: float
    name: ClassVar[str] = "Euler"


@dataclass(frozen=True)
class AdaptiveCode:
    """A solver's name, its tolerances, and how many steps it may take."""

    name: str
    rtol: float
    atol: float
    max_steps: int


@dataclass(frozen=True)
class CollocationCode:
    """A certificate's tolerance, and how much may be done for it; 0 leaves the number of nodes or starts open."""

    tolerance: float
    max_iterations: int
    nodes: int
    max_nodes: int
    starts: int
    effort: float
    name: ClassVar[str] = "Collocation"


MethodCode = EulerCode | AdaptiveCode | CollocationCode


@dataclass(frozen=True, eq=False)
class Lowered:
    """A run: field, law, method, initial state and span.

    Nothing beyond the end of the span is looked at, so that is how far the data reach.
    ``starts`` are controls (times, (time, control)) that a boundary-value law starts from.
    """

    field: NetworkField | SymbolicField
    law: LawCode
    method: MethodCode
    initial: Floats
    span: tuple[float, float]
    starts: tuple[tuple[Floats, Floats], ...] = ()


@dataclass(frozen=True, eq=False)
class Goal:
    """Where a run is to go: a time, and the samples up to it. With Euler, ``save`` counts the steps at their times."""

    until: float
    times: Floats = field(default_factory=lambda: np.zeros(0))
    save: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Result:
    """What an engine returns: times of the rows finished, (row, state), the sign s at each, and how the run ended."""

    times: Floats
    states: Floats
    signs: Floats
    status: str  # a key of STATUS
    message: str
    reached: float  # time
    statistics: dict[str, int | float | str]


STATUS = {
    "success": "the run is complete",  # to the end of its span, or by whole steps up to it
    "diverged": (
        "values left the range of numbers: try a smaller step, tighter tolerances or a stable law; a smaller loss "
        "weight q or velocity, more dissipation θ or a larger mass m help too"
    ),
    "max_steps": "the step limit was reached: raise max_steps, loosen rtol or use a stiff solver",
    "step_too_small": "the solver could not meet the tolerances: loosen them or use a stiff solver such as BDF",
    "no_fixed_point": "x = σ(a) has no reachable solution: the backprop limit needs a DAG or a contracting cycle",
    "uncertified": "this is the best found, short of the tolerance: raise max_nodes or max_iterations, or start nearer",
    "interrupted": "the run was interrupted",
}


def whole_steps(span: tuple[float, float], step: float) -> int:
    """How many whole steps of Euler a span holds, up to rounding."""
    return int(min(np.floor(min((span[1] - span[0]) / step, 1e300) * (1 + 1e-12) + 1e-9), 1e18))


Monitor = Callable[[float], None]  # called with the time reached
State = dict[str, Any]  # numbers, text, arrays and tables of these: all that a run needs to go on where it was


class Run(Protocol):
    """An integration under way. It moves when told to, from one goal to the next, and nothing restarts in between.

    It has no goal before the first `aim`.
    """

    @property
    def status(self) -> str:
        """``"running"``, and when it stands still a key of STATUS: ``"success"`` at the goal."""

    @property
    def reached(self) -> float:
        """Present time; an adaptive run may be ahead of its goal by part of a step."""

    def aim(self, goal: Goal) -> None:
        """Set the next goal; Euler goes to the last whole step up to it, or to its last sample."""

    def advance(self, seconds: float) -> bool:
        """Integrate for about so many seconds; return whether there is more to do."""

    def result(self) -> Result:
        """The samples since the last `aim`."""

    def present(self, t: float) -> Floats:
        """The full state (x, w, p_x/φ, p_w/φ) at a time within the step taken last, or at its end."""

    def feed(self, lowered: Lowered) -> None:
        """Go on with another field and end of the span: signals that are the same up to the end of the span before."""

    def export(self) -> State:
        """A copy of the complete state; ``start(lowered, state)`` goes on from it, with the next `aim`."""


class Engine(Protocol):
    """What every engine is: a module, or any other object, that `hamjl.engines.ENGINES` names."""

    name: str
    run_together: Callable[[Sequence[tuple[Lowered, Goal]]], list[Result]] | None  # several at once, over all threads

    def missing(self) -> str | None:
        """Why it cannot be taken, in a few words, or None; found without starting it."""

    def ready(self) -> bool:
        """Whether it can be taken: nothing is missing."""

    def remedy(self) -> str:
        """What the user is to do about what is missing."""

    def status(self) -> str:
        """One line for ``hamjl doctor``."""

    def start(self, lowered: Lowered, state: State | None = None) -> Run:
        """A run from the initial state, or from where another one was when its state was exported."""

    def environment(self, threads: int | None) -> dict[str, str]:
        """Variables of a new process for `run_together` on so many threads, or on all."""

    def run(self, lowered: Lowered, goal: Goal, monitor: Monitor) -> Result:
        """Start and move to the goal; KeyboardInterrupt ends the run with status ``"interrupted"``."""
