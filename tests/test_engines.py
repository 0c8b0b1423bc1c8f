"""The engines check each other: one record, in every law, gives one trajectory. A third engine is one line more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from conftest import SET_UP, posix
from test_vocabulary import RESTING, mixed_problem

from hamjl import (
    Adaptive,
    BackpropLimit,
    Cauchy,
    CostateReversal,
    EngineError,
    Euler,
    HamiltonianLearning,
    Network,
    Objective,
    Problem,
    ProblemError,
    RunWarning,
    Session,
    SignFlip,
    SymbolicSystem,
    engines,
    lowered,
    signals,
    solve,
    sweep,
)
from hamjl.cli import main
from hamjl.dynamics import dynamics_of
from hamjl.engines import julia, select
from hamjl.engines.running import integrate
from hamjl.functions import ACTIVATIONS, LOSSES, REGULARIZERS
from hamjl.lowered import Goal, Lowered, Result, State
from hamjl.lowering import lower, whole

REFERENCE = "python"
INVARIANTS = ("BOUND", "BLOCK", "BLOW_UP", "STEEP", "SUDDEN", "ROUNDING", "LOOKS")
ENGINES = [pytest.param("julia", marks=pytest.mark.julia)]

LAWS = {
    "cauchy": Cauchy(),
    "reversal": CostateReversal(),
    "periodic": SignFlip(frequency=0.7),
    "every step": SignFlip(every_step=True),
    "track": SignFlip(radius=3.0, hysteresis=0.5),
    "limit": BackpropLimit(),
    "hamiltonian learning": HamiltonianLearning(),
    "local hamiltonian learning": HamiltonianLearning(local=True),
    "instantaneous hamiltonian learning": HamiltonianLearning(instantaneous=True),
}
STEPPED = [name for name, law in LAWS.items() if law == SignFlip(every_step=True) or type(law) is HamiltonianLearning]


def random_problem(seed: int) -> Problem:
    """A random digraph (a cycle, a DAG or full), costs, activations and signals of every kind."""
    rng = np.random.default_rng(seed)
    kind = ("random", "dag", "full")[seed % 3]
    d, n = (0 if kind == "full" else int(rng.integers(1, 3))), int(rng.integers(2, 6))
    present = rng.random((n, d + n)) < (2.0 if kind == "full" else 0.6)
    present[0, :d] = True
    if kind == "dag":
        present[:, d:] = np.tril(present[:, d:], -1)
    activations = [str(a) for a in rng.choice([k for k in ACTIVATIONS if k != "identity"], size=n)]
    network = Network.from_adjacency(
        present, outputs=2, activation=activations if seed % 2 else "tanh", velocity=rng.uniform(0.5, 2.0, size=n)
    )
    loss = "softmax_cross_entropy" if seed % 5 == 4 else str(rng.choice([k for k in LOSSES if k != "none"]))
    objective = Objective(
        loss=loss,
        loss_weight=1.5,
        regularizer=str(rng.choice(list(REGULARIZERS))),
        k=0.2,
        m=0.8,
        dissipation=(0.0, 0.3, "1 + t**2/10")[seed % 3],
    )
    times = np.linspace(0.0, 4.0, 9)
    values = rng.uniform(0.1, 0.9, size=(9, 2))
    if seed % 2:
        values[3, 1] = np.nan  # no supervision for a while
    interpolation = signals.INTERPOLATIONS[seed % 3]
    target = signals.series(xr.DataArray(values, {"time": times}, ("time", "channel")), interpolation)
    wave = [signals.cosine(0.5, 1.3), signals.patches([(0.0, signals.constant(0.2)), (1.7, signals.cosine(0.4, 2.0))])]
    return Problem(
        network,
        objective,
        inputs=dict(zip(network.inputs, wave, strict=False)),
        target=target,
        span=(0.0, 4.0),
        initial={"x": {"uniform": [-0.5, 0.5]}, "w": {"uniform": [-0.3, 0.3]}, "p_x": 0.05, "p_w": -0.02},
        seed=seed,
    )


def random_system() -> SymbolicSystem:
    """A controlled pendulum whose symbols are words of Julia."""
    return SymbolicSystem(
        states={"end": "function", "function": "-g*sin(end) - function/5 + v + u"},
        controls=["v"],
        cost="(end - u)**2 + v**2/2",
        span=(0.0, 4.0),
        signals={"u": signals.cosine(0.3, 2.0)},
        parameters={"g": 1.5},
        initial={"end": 0.4, "function": -0.1},
        costates={"end": 0.1},
        dissipation=0.2,
    )


def trajectory(problem, law, method, engine: str, times) -> tuple[np.ndarray, np.ndarray, str]:
    """All states (time, state) and signs, and the status."""
    chosen = select(engine, method.name if isinstance(method, Adaptive) else "Euler")
    result = chosen.run(lower(problem, law, method), whole(problem, law, method, times), lambda t: None)
    return result.states, result.signs, result.status


def assert_agree(problem, law, ours, theirs, engine: str, times, tolerance: float) -> None:
    expected, signs, status = trajectory(problem, law, theirs, REFERENCE, times)
    states, found, ended = trajectory(problem, law, ours, engine, times)
    assert ended == status
    assert states.shape == expected.shape
    np.testing.assert_array_equal(found, signs)
    scale = np.abs(expected).max(axis=0, initial=1e-3)
    assert (np.abs(states - expected) / scale).max(initial=0.0) < tolerance


@pytest.mark.parametrize("engine", [*ENGINES, "plain"], indirect=True)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("seed", range(12))
def test_euler_agrees_with_the_reference_over_a_thousand_steps(engine, law, seed):
    method = Euler(0.004)
    assert_agree(random_problem(seed), LAWS[law], method, method, engine, 11, 1e-12)


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
@pytest.mark.parametrize("law", [name for name in LAWS if name not in STEPPED])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("solver", ["Vern9", "auto"])
def test_adaptive_solvers_agree_with_the_reference(engine, law, seed, solver):
    ours, theirs = Adaptive(solver, rtol=1e-9, atol=1e-12), Adaptive("DOP853", rtol=1e-9, atol=1e-12)
    assert_agree(random_problem(seed), LAWS[law], ours, theirs, engine, np.linspace(0.0, 4.0, 17), 1e-6)


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
@pytest.mark.parametrize("law", ["reversal", "periodic", "limit"])
@pytest.mark.parametrize("solver", ["Tsit5", "Vern7", "Rodas5P", "FBDF", "KenCarp4"])
def test_every_solver_agrees_with_the_reference(engine, law, solver):
    ours, theirs = Adaptive(solver, rtol=1e-9, atol=1e-12), Adaptive("DOP853", rtol=1e-9, atol=1e-12)
    assert_agree(random_problem(1), LAWS[law], ours, theirs, engine, np.linspace(0.0, 4.0, 17), 1e-6)


@pytest.mark.parametrize("engine", [*ENGINES, "plain"], indirect=True)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("seed", range(6))
def test_the_wider_vocabulary_agrees_with_the_reference(engine, law, seed):
    """Other neurons, masses, frozen and tied weights, losses in groups and in time: see `mixed_problem`."""
    limit = getattr(LAWS[law], "instantaneous", law == "limit")
    problem = mixed_problem(seed, span=(0.0, 1.0), **({"models": RESTING, "acyclic": seed % 2 == 0} if limit else {}))
    euler = Euler(0.002)
    assert_agree(problem, LAWS[law], euler, euler, engine, 11, 1e-11)
    if law in STEPPED or engine == "plain":
        return
    theirs = Adaptive("DOP853", rtol=1e-10, atol=1e-12)
    for solver in ("Vern9", "Rodas5P"):
        ours = Adaptive(solver, rtol=1e-9, atol=1e-12)
        assert_agree(problem, LAWS[law], ours, theirs, engine, np.linspace(0.0, 1.0, 9), 1e-6)


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
@pytest.mark.parametrize("law", ["cauchy", "reversal", "periodic", "track"])
@pytest.mark.parametrize("solver", ["Vern9", "Rodas5P", "FBDF"])
def test_symbolic_systems_agree_with_the_reference(engine, law, solver):
    system, euler = random_system(), Euler(0.004)
    assert_agree(system, LAWS[law], euler, euler, engine, 11, 1e-12)
    ours, theirs = Adaptive(solver, rtol=1e-9, atol=1e-12), Adaptive("DOP853", rtol=1e-9, atol=1e-12)
    assert_agree(system, LAWS[law], ours, theirs, engine, np.linspace(0.0, 4.0, 17), 1e-6)


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
def test_a_run_out_of_steps_keeps_what_it_has(engine):
    with pytest.warns(RunWarning, match="step limit"):
        run = solve(random_problem(1), CostateReversal(), Adaptive("Tsit5", max_steps=20), engine=engine)
    assert run.status == "max_steps"
    assert 0 < run.sizes["time"] < 1001


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
@pytest.mark.parametrize("method", [Euler(0.5), Adaptive("Tsit5"), Adaptive("FBDF")], ids=str)
def test_divergence_ends_the_run_with_finite_rows(engine, method):
    network = Network.fully_connected(3, activation="a**3")
    problem = Problem(network, Objective(), target=0.5, span=(0.0, 50.0), initial={"x": 2.0, "w": 3.0})
    with pytest.warns(RunWarning, match="left the range"):
        run = solve(problem, Cauchy(), method, engine=engine)
    assert run.status == "diverged"
    assert np.isfinite(run.w).all()


@posix
@pytest.mark.parametrize("engine", ENGINES, indirect=True)
def test_ctrl_c_returns_what_there_is_within_a_second(engine):
    problem = random_problem(2)
    long = Problem(problem.network, problem.objective, target={"x0": 0.5}, span=(0.0, 1e6))
    solve(problem, CostateReversal(), Euler(0.01), engine=engine)  # start and compile first
    sent: list[float] = []

    def interrupt() -> None:
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.5, interrupt)
    timer.start()
    with pytest.warns(RunWarning, match="interrupted"):
        run = solve(long, CostateReversal(), Euler(1e-3), engine=engine)
    assert time.monotonic() - sent[0] < 1.0
    assert run.status == "interrupted"
    assert 0 < run.reached < 1e6
    assert solve(problem, CostateReversal(), Euler(0.01), engine=engine).status == "success"


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
def test_the_states_are_written_where_they_stay(engine):
    """A view of NumPy's own memory: no copy, and nothing that only the thread of Julia may let go of."""
    problem = random_problem(0)
    result = trajectory(problem, CostateReversal(), Euler(0.01), engine, None)
    assert result[0].flags.c_contiguous
    assert type(result[0].base) is np.ndarray
    assert result[0].base.flags.owndata


@pytest.mark.parametrize("interpolation", signals.INTERPOLATIONS)
@pytest.mark.parametrize("engine", ["python", *ENGINES], indirect=True)
def test_a_sampled_target_is_followed_piece_by_piece(engine, interpolation):
    """An adaptive run sees the same signal as Euler with short steps."""
    times = np.linspace(0.0, 2.0, 6)
    data = xr.DataArray(np.array([0.1, 0.9, -0.4, 0.6, 0.0, 0.3]), {"time": times}, ("time",))
    target = {"x0": signals.series(data, interpolation)}
    problem = Problem(Network.fully_connected(1), Objective(loss_weight=5.0), target=target, span=(0.0, 2.0))
    fine = trajectory(problem, CostateReversal(), Euler(1e-4), engine, 11)[0]
    states = trajectory(problem, CostateReversal(), Adaptive("auto", 1e-8, 1e-10), engine, 11)[0]
    np.testing.assert_allclose(states, fine, atol=2e-3)


# -- choosing, and what is said where Julia is missing -----------------------------------------------------------------
def test_auto_is_python_where_no_julia_is_set_up():
    assert select("auto").name == "python"
    assert select("auto", "BDF").name == "python"


def test_asking_for_julia_where_none_is_set_up_names_the_remedy():
    with pytest.raises(EngineError, match=r"setup-julia|hamjl\[julia\]"):
        select("julia")
    with pytest.raises(EngineError, match="'RK45'"):
        select("auto", "Tsit5")
    assert "not ready" in engines.engine("julia").status()


@pytest.mark.parametrize(
    ("engine", "solver", "counterpart"),
    [("julia", "BDF", "FBDF"), ("julia", "Radau", "Rodas5P"), ("python", "FBDF", "BDF")],
)
def test_a_solver_of_the_other_engine_is_refused_with_its_counterpart(engine, solver, counterpart):
    with pytest.raises(ProblemError, match=f"'{counterpart}'"):
        select(engine, solver)


def test_setup_refuses_what_is_no_installation(tmp_path, monkeypatch):
    monkeypatch.setenv("HAMJL_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(EngineError, match="together"):
        julia.setup(julia="julia")
    with pytest.raises(EngineError, match="executable"):
        julia.setup(julia=str(tmp_path / "nothing"), project=str(tmp_path))
    with pytest.raises(EngineError, match=r"Project\.toml"):
        julia.setup(julia=sys.executable, project=str(tmp_path))
    (tmp_path / "Project.toml").write_text("")
    with pytest.raises(EngineError, match="must load"):
        julia.setup(julia=sys.executable, project=str(tmp_path))  # runs, but is no Julia
    assert not (tmp_path / "none.toml").exists()


def test_a_pythoncall_that_is_not_juliacalls_own_is_said(tmp_path, monkeypatch):
    """As after an upgrade of juliacall: Julia would not start."""
    table = {"exe": sys.executable, "project": str(tmp_path), "pythoncall": "0.0.1"}
    (tmp_path / "config.toml").write_text("[julia]\n" + "".join(f"{key} = '{value}'\n" for key, value in table.items()))
    monkeypatch.setenv("HAMJL_CONFIG", str(tmp_path / "config.toml"))
    with pytest.raises(EngineError, match=r"must be the same.*'pip install juliacall==0\.0\.1'"):
        select("julia")
    assert select("auto").name == "python"


def test_importing_hamjl_starts_no_julia():
    code = "import sys, hamjl, hamjl.engines, hamjl.engines.julia; sys.exit('juliacall' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_engines_are_known_by_their_names():
    for name in engines.ENGINES:
        assert engines.engine(name).name == name


# -- a third engine: one module, a line of ENGINES and a line of SOLVERS -----------------------------------------------
class PlainRun:
    """Euler step by step."""

    def __init__(self, lowered: Lowered, state: State | None = None) -> None:
        self.lowered, self.dynamics = lowered, dynamics_of(lowered.field, lowered.law)
        self.y, self.k, self.s, self.status = self.dynamics.restrict(lowered.initial), 0, 1.0, "running"
        if state is not None:
            self.y, self.k, self.s = state["y"].copy(), state["k"], state["s"]
        self.aim(Goal(lowered.span[0]))

    @property
    def reached(self) -> float:
        return self.lowered.span[0] + self.k * self.lowered.method.step

    def aim(self, goal: Goal) -> None:
        self.goal, self.rows, self.status = goal, [], "running"
        self.last = max(self.k, *goal.save[-1:], round((goal.until - self.lowered.span[0]) / self.lowered.method.step))

    def advance(self, seconds: float) -> bool:
        drive, s = self.dynamics.drive(self.reached), self.sign()
        if len(self.rows) < len(self.goal.save) and self.k == self.goal.save[len(self.rows)]:
            self.rows.append((self.dynamics.full(self.y, drive).copy(), s))
        if self.k < self.last:
            dy = self.dynamics.rhs(self.y, drive, s, np.empty_like(self.y))
            if self.lowered.law.semi_implicit:
                self.dynamics.lead(dy, s, self.lowered.method.step)
            self.y, self.k, self.s = self.y + self.lowered.method.step * dy, self.k + 1, s
        elif len(self.rows) == len(self.goal.save):
            self.status = "success"
        return self.status == "running"

    def sign(self) -> float:
        law, size = self.lowered.law, self.y @ self.y
        if law.flip == "track":
            return -1.0 if size > law.radius else 1.0 if size <= (1 - law.hysteresis) * law.radius else self.s
        if law.flip == "step":
            return (-1.0) ** self.k
        return -1.0 if law.flip == "periodic" and (2 * law.frequency * self.reached + 0.5) % 2 >= 1 else 1.0

    def result(self) -> Result:
        count, width = len(self.rows), len(self.lowered.initial)
        states = np.array([state for state, _ in self.rows]).reshape(count, width)
        signs = np.array([s for _, s in self.rows])
        return Result(self.goal.times[:count], states, signs, self.status, "", self.reached, {"steps": self.k})

    def export(self) -> State:
        return {"y": self.y.copy(), "k": self.k, "s": self.s}


@pytest.fixture
def plain(monkeypatch) -> str:
    """The third engine, for the time of a test."""
    module = SimpleNamespace(
        name="plain",
        missing=lambda: None,
        ready=lambda: True,
        remedy=lambda: "",
        status=lambda: "engine plain: ready",
        start=PlainRun,
        run=partial(integrate, PlainRun),
        run_together=lambda records: [integrate(PlainRun, *record, lambda t: None) for record in records],
        environment=lambda threads: {"PLAIN": str(threads)},
    )
    monkeypatch.setitem(sys.modules, "plain", module)
    monkeypatch.setitem(engines.ENGINES, "plain", "plain")
    monkeypatch.setitem(engines.SOLVERS, "Heun", engines.Solver("plain", "explicit", 2))
    return "plain"


def test_a_third_engine_is_found_by_its_solver(plain):
    assert Adaptive("heun").name == "Heun"
    assert select("auto", "Heun").name == plain
    with pytest.raises(ProblemError, match="'RK45'"):
        select("python", "Heun")
    with pytest.raises(ProblemError, match="'Heun'"):
        select(plain, "DOP853")
    with pytest.raises(ProblemError, match="'auto'"):
        select(plain, "BDF")
    assert "engine plain: ready" in CliRunner().invoke(main, ["doctor"]).output


def test_a_third_engine_serves_sessions_and_sweeps(plain, monkeypatch):
    problem = random_problem(1)
    expected = solve(problem, method=Euler(0.01), times={"every": 0.1}, engine=REFERENCE)
    session = Session(problem, method=Euler(0.01), engine=plain)
    parts = [session.advance(until, {"every": 0.1}) for until in (1.0, 4.0)]
    np.testing.assert_allclose(np.concatenate([part.w for part in parts]), expected.w, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(session.present().w, expected.w[-1], rtol=1e-9, atol=1e-12)

    began: list[dict[str, str]] = []

    @contextmanager
    def threads(number, variables):
        began.append(variables)
        with ThreadPoolExecutor(number) as pool:
            yield pool

    monkeypatch.setattr(sys.modules["hamjl.sweep"], "_pool", threads)
    both = sweep(problem, {"q": [1.5, 3.0]}, method=Euler(0.01), times={"every": 0.1}, engine=plain, workers=2)
    assert began == [{"PLAIN": "2"}]
    assert both.attrs["engine"] == plain
    np.testing.assert_allclose(both.w[0], expected.w, rtol=1e-9, atol=1e-12)
    assert not np.allclose(both.w[1], expected.w)


# -- what engines agree on ---------------------------------------------------------------------------------------------
def power(k: int) -> SymbolicSystem:
    """x' = x**k from 1, x = (1 - (k - 1) t)**(-1/(k - 1)); steps vanish some 1e-15 before the pole."""
    return SymbolicSystem({"x": f"x**{k} + v"}, ["v"], "v**2/2", span=(0, 2), initial={"x": 1.0})


def fall() -> SymbolicSystem:
    """y' = -1/y, y = sqrt(2 (10 - t)), ends where y' has no bound; beside it e**t, which has grown by then."""
    return SymbolicSystem({"x": "x + v", "y": "-1/y"}, ["v"], "v**2/2", span=(0, 12), initial={"x": 1.0, "y": 20**0.5})


@pytest.mark.parametrize(
    ("engine", "solver"),
    [
        *(("python", name) for name in ("RK45", "DOP853", "LSODA", "BDF", "Radau")),
        *(pytest.param("julia", name, marks=pytest.mark.julia) for name in ("Tsit5", "Vern9", "FBDF", "Rodas5P")),
    ],
    indirect=["engine"],
)
@pytest.mark.parametrize(
    ("system", "status"),
    [
        pytest.param(power(2), "diverged", id="1e15"),  # by growth alone
        pytest.param(power(4), "diverged", id="1e5"),  # and because it is sudden
        pytest.param(power(9), "step_too_small", id="1e2"),  # sudden, but no growth to speak of
        pytest.param(fall(), "step_too_small", id="grown before"),  # growth, but not sudden
    ],
)
def test_engines_tell_a_singularity_from_a_hard_problem_alike(engine, solver, system, status):
    with pytest.warns(RunWarning):
        assert solve(system, Cauchy(), Adaptive(solver), times=2, engine=engine).status == status


@pytest.mark.julia
def test_numbers_of_the_contract_are_the_same_in_julia(julia):
    from hamjl.engines.julia import bridge

    module = bridge.module()
    assert {name: getattr(module, name) for name in INVARIANTS} == {name: getattr(lowered, name) for name in INVARIANTS}
    rng = np.random.default_rng(0)
    lengths = [*rng.uniform(0, 100, 100), *(np.arange(100) * 0.1), *(np.arange(100) / 3), 1e300, 0.0]
    for step in (0.1, 1 / 3, 0.004, 1e-300):
        for length in lengths:
            assert module.whole_steps(length, step) == lowered.whole_steps((0.0, length), step)


@pytest.mark.julia
def test_starting_julia_leaves_the_environment_as_it_was(julia):
    solve(random_problem(0), CostateReversal(), Euler(0.1), engine=julia)
    for name in ("PYTHON_JULIACALL_EXE", "PYTHON_JULIACALL_PROJECT"):
        assert os.environ.get(name) == SET_UP.get(name)


@pytest.mark.julia
def test_python_goes_on_beside_julia_as_long_as_one_thread_uses_it(julia, monkeypatch):
    """A thread that counts gets on while Julia integrates; once another one has used Julia too, they take turns."""
    from hamjl.engines.julia import bridge

    problem = Problem(Network.fully_connected(5), Objective(), target=0.1, span=(0, 1000))
    solve(problem, method=Euler(1.0), times=2, engine=julia)
    monkeypatch.setattr(bridge, "_visitors", {threading.get_ident()})
    given = problem, CostateReversal(), Euler(1e-7)
    run = bridge.JuliaRun(lower(*given))
    run.aim(whole(*given, 2))

    def counted_beside() -> int:
        seen, over = [0], threading.Event()

        def count() -> None:
            while not over.is_set():
                seen[0] += 1

        counter = threading.Thread(target=count)
        counter.start()
        before = seen[0]
        run.advance(0.5)
        between = seen[0] - before
        over.set()
        counter.join()
        return between

    free = counted_beside()
    results: list[xr.Dataset] = []

    def visit() -> None:
        results.append(solve(problem, method=Euler(1.0), times=2, engine=julia))

    visitor = threading.Thread(target=visit)
    visitor.start()
    visitor.join()
    assert len(results) == 1
    assert len(bridge._visitors) == 2
    assert counted_beside() < free / 10
