"""The search for Theorem 1's minimum: exact Newton steps, many starts, transfers between meshes, saddles."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from conftest import random_problem
from scipy.integrate import solve_ivp

import hamjl as hj
from hamjl.control import curvature
from hamjl.control.collocation import Mesh
from hamjl.control.descent import Descent
from hamjl.control.minimum import FEW, LOSS, Search
from hamjl.control.starts import disjoint_cycles
from hamjl.control.sweep import Sweep
from hamjl.control.transcription import Transcription
from hamjl.lowering import lower_field
from hamjl.paper.regret import receding_horizon


def tracker(end: float, *, neurons=5, omega=0.05, self_loops=True, q=100.0) -> hj.Problem:
    """The paper's network and a slow target; with "everything decays to 0" as a bad minimum."""
    network = hj.Network.fully_connected(neurons, self_loops=self_loops)
    objective = hj.Objective.tracking(q=q, r_w=1.0, r=0.1)
    return hj.Problem(network, objective, target=hj.signals.cosine(0.5, omega), span=(0.0, end))


def coupled() -> hj.SymbolicSystem:
    """A symbolic system whose second derivatives are all there."""
    flow = {"angle": "speed", "speed": "-sin(angle) - 0.1*speed + v + 0.3*w*angle**2"}
    cost = "5*(1 + cos(angle)) + speed**2/2 + v**2/2 + w**2 + v*w/3 + v*angle"
    return hj.SymbolicSystem(flow, ["v", "w"], cost, span=(0, 3), initial={"angle": 0.3})


def transcribed(problem, steps: int = 12) -> Transcription:
    mesh = Mesh.over(problem.span, steps, np.zeros(0))
    return Transcription(lower_field(problem), mesh, problem.initial_vector())


def anywhere(problem: Transcription, seed: int = 0) -> np.ndarray:
    return 0.3 * np.random.default_rng(seed).normal(size=int(np.prod(problem.control.shape)))


@pytest.mark.parametrize(
    "problem",
    [random_problem(1), random_problem(2, loss="softmax_cross_entropy"), tracker(5.0, neurons=3), coupled()],
    ids=["digraph", "softmax", "dense", "system"],
)
def test_a_sweep_inverts_the_hessian(problem):
    """Against the matrix of the Hessian, column by column from the costate equation; what is indefinite is refused."""
    here = transcribed(problem)
    unknown = anywhere(here)
    hessian = np.stack([here.curvature(unknown, e) for e in np.eye(unknown.size)], axis=1)
    values = np.linalg.eigvalsh((hessian + hessian.T) / 2)
    right = np.random.default_rng(1).normal(size=unknown.size)
    shift = max(0.0, -values[0]) + 0.1
    expected = np.linalg.solve(hessian + shift * np.eye(unknown.size), right)
    np.testing.assert_allclose(Sweep(here.at(unknown), shift).solve(right), expected, rtol=1e-9, atol=1e-11)
    Sweep(here.at(unknown), -values[0] + 1e-6)
    with pytest.raises(np.linalg.LinAlgError):
        Sweep(here.at(unknown), -values[0] - 1e-6)


def test_newton_converges_quadratically():
    """Near the minimum each step squares the gradient's norm, up to a constant."""
    here = transcribed(tracker(5.0, neurons=3), 30)
    descent = Descent(here, np.zeros(int(np.prod(here.control.shape))))
    sizes = []
    while descent.advance(1e-13, 1):
        sizes.append(descent.size())
    last = np.log10([size for size in sizes if 1e-11 < size < 1e-2])
    assert len(last) >= 2
    assert (last[1:] < 1.6 * last[:-1]).all()


def test_the_smallest_curvature_is_that_of_the_matrix():
    here = transcribed(coupled())
    unknown = anywhere(here)
    hessian = np.stack([here.curvature(unknown, e) for e in np.eye(unknown.size)], axis=1)
    found, direction = curvature.smallest(here, unknown)
    least = float(np.linalg.eigvalsh((hessian + hessian.T) / 2)[0])
    assert least < 0
    assert found == pytest.approx(least, rel=1e-2)
    assert np.linalg.norm(direction) == pytest.approx(1.0)


def test_a_saddle_is_left():
    """x' = v, x(0) = 0, cost v²/2 + 4 (x² - 1)²: resting at 0 is stationary, and no minimum."""
    system = hj.SymbolicSystem({"x": "v"}, ["v"], "v**2/2 + 4*(x**2 - 1)**2", span=(0, 5))
    run = hj.solve(system, hj.BoundaryValue(), hj.Collocation(starts=1))
    statistics = run.hamjl.statistics
    assert abs(float(run.x[500, 0])) == pytest.approx(1.0, abs=1e-3)
    # from 0 to 1 at no energy: the integral of sqrt(8) (1 - x²), Bogomolny's bound
    assert statistics["cost"] == pytest.approx(np.sqrt(8) * 2 / 3, rel=1e-4)
    assert statistics["curvature"] > 0


def test_curvature_of_kinetic_term_and_regulariser_is_one():
    """The unit that curvatures are in: without a loss there is nothing else."""
    network = hj.Network.fully_connected(2)
    problem = hj.Problem(network, hj.Objective(loss="none", k=1.0), span=(0, 3), initial={"x": 0.1, "w": 1.0})
    run = hj.solve(problem, hj.BoundaryValue())
    assert run.hamjl.statistics["curvature"] == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("problem", [random_problem(3), coupled()], ids=["network", "system"])
def test_a_control_stays_the_same_on_a_finer_mesh(problem):
    here = transcribed(problem)
    unknown = anywhere(here)
    finer = Transcription(here.field, here.mesh.refined(np.arange(12) % 3 + 1), problem.initial_vector())
    moved = finer.control.along(here.control.path(unknown))
    t = np.linspace(*problem.span, 100)[1:-1]
    np.testing.assert_allclose(finer.control.path(moved)(t), here.control.path(unknown)(t), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        here.control.path(unknown)(here.mesh.stages.ravel()).reshape(here.control.shape),
        here.control.driver(unknown),
        rtol=1e-9,
        atol=1e-9,
    )


def test_giving_up_is_not_taken_for_the_optimum(engine):
    """A hand-made control with one neuron kept alive leads to 95.06; resting and random starts to 421."""
    run = hj.solve(tracker(100.0), hj.BoundaryValue(), times=3, engine=engine)
    statistics = run.hamjl.statistics
    assert run.attrs["status"] == "success"
    assert statistics["cost"] <= 95.07
    assert statistics["curvature"] > 0
    assert statistics["starts"] > 5
    assert "alive 95." in statistics["ends"]


@pytest.mark.julia
def test_both_engines_take_the_same_steps(julia):
    """The same algorithm: as many Newton steps from each start, to the same places."""
    problem = tracker(10.0, neurons=3, omega=1.0)
    one, other = (
        hj.solve(problem, hj.BoundaryValue(), times=3, engine=engine).hamjl.statistics for engine in ("python", julia)
    )
    for name in ("iterations", "nodes", "starts"):
        assert one[name] == other[name]
    for name in ("cost", "curvature"):
        assert one[name] == pytest.approx(other[name], rel=1e-6)


@pytest.mark.julia
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_both_engines_factor_the_same_hessian(julia, seed):
    """Digraphs, with and without the curvature of x' = f; indefinite for both where it is for one."""
    from hamjl.engines.julia.boundary import NativeTranscription

    problem = random_problem(seed, loss="softmax_cross_entropy" if seed == 2 else "squared_error")
    here = transcribed(problem)
    native = NativeTranscription(here.field, here.mesh, problem.initial_vector())
    unknown = 3 * anywhere(here)
    right = np.random.default_rng(1).normal(size=unknown.size)
    for shift, gauss_newton in ((1e-3, True), (1.0, True), (30.0, False), (0.0, False)):
        one, other = (each.factored(unknown, shift, gauss_newton=gauss_newton) for each in (here, native))
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            np.testing.assert_allclose(other(right), one(right), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("self_loops", [True, False])
def test_neurons_are_kept_alive_on_any_cycle(self_loops):
    """Giving up costs more than q/2 times the mean square of the target, less a transient."""
    problem = tracker(40.0, neurons=4, self_loops=self_loops)
    run = hj.solve(problem, hj.BoundaryValue(), times=3)
    alive = hj.solve(problem, hj.BoundaryValue(), hj.Collocation(starts=1), times=3)
    assert run.hamjl.statistics["cost"] <= alive.hamjl.statistics["cost"] * (1 + 1e-6)
    z = 0.5 * np.cos(0.05 * np.linspace(0, 40, 1001))
    assert run.hamjl.statistics["cost"] < 0.5 * 50.0 * 40 * np.mean(z**2)


def test_cycles_share_no_neuron_and_close():
    def cycles(network: hj.Network) -> list[list[tuple[int, int]]]:
        field = lower_field(hj.Problem(network, hj.Objective(), target=0.5, span=(0, 1)))
        return [[(int(field.source[e]), int(field.target[e])) for e in cycle] for cycle in disjoint_cycles(field)]

    assert cycles(hj.Network.fully_connected(3, self_loops=True)) == [[(1, 1)], [(2, 2)]]
    assert cycles(hj.Network.fully_connected(5)) == [[(1, 2), (2, 1)], [(3, 4), (4, 3)]]
    ring = hj.Network.from_arcs([("a", "b"), ("b", "c"), ("c", "a")], outputs=["a"])
    assert cycles(ring) == [[(0, 1), (1, 2), (2, 0)]]
    assert cycles(hj.Network.from_arcs([("a", "b"), ("b", "c")], outputs=["c"])) == []


@pytest.mark.parametrize("seed", range(3))
def test_what_is_found_never_costs_more_than_its_start(seed):
    """By the gradient's own integration of both controls; starts are rough, and most of them far from any minimum."""
    problem = tracker(10.0, neurons=3, omega=1.0)
    rng, arcs = np.random.default_rng(seed), problem.network.arcs
    times = np.sort(rng.uniform(0, 10, 30))
    start = xr.DataArray(rng.normal(size=(30, len(arcs))), {"time": times}, ("time", "arc"))
    before = hj.adjoint(problem, start, nodes=4000).attrs["cost"]
    run = hj.solve(problem, hj.BoundaryValue(), hj.Collocation(start=start))
    assert hj.adjoint(problem, run, nodes=4000).attrs["cost"] < before
    with pytest.warns(hj.RunWarning, match="best found"):
        stopped = hj.solve(problem, hj.BoundaryValue(), hj.Collocation(start=start, max_iterations=1, max_nodes=60))
    assert hj.adjoint(problem, stopped, nodes=4000).attrs["cost"] < before


def test_more_starts_and_effort_never_cost_more():
    problem = tracker(20.0, neurons=3)
    costs = [
        hj.solve(problem, hj.BoundaryValue(), hj.Collocation(starts=starts, effort=effort), times=3).hamjl.statistics
        for starts, effort in ((1, 1.0), (12, 2.0))
    ]
    assert costs[1]["cost"] <= costs[0]["cost"] * (1 + 1e-6)
    assert costs[0]["starts"] < costs[1]["starts"]


def test_the_first_mesh_follows_horizon_velocities_and_signals():
    def nodes(end: float, omega: float, velocity: float = 1.0) -> int:
        network = hj.Network.fully_connected(2, velocity=velocity)
        target = hj.signals.cosine(0.1, omega)
        problem = hj.Problem(network, hj.Objective(loss_weight=1e-6), target=target, span=(0, end), initial={"w": 0.0})
        method = hj.Collocation(tolerance=1e3, starts=1)
        return hj.solve(problem, hj.BoundaryValue(), method, times=3).hamjl.statistics["nodes"]

    plain = nodes(50.0, 0.01)
    assert nodes(100.0, 0.01) >= 1.9 * plain
    assert nodes(50.0, 0.01, 2.0) >= 1.9 * plain
    assert nodes(50.0, 5.0) >= 3 * plain


def test_wrong_numbers_of_starts_are_refused():
    with pytest.raises(hj.ProblemError, match="starts must be"):
        hj.Collocation(starts=0)
    with pytest.raises(hj.ProblemError, match="effort must be"):
        hj.Collocation(effort=0.0)


def test_planning_anew_changes_nothing_where_the_whole_is_seen():
    """Bellman's principle; and who sees less pays more."""
    problem = tracker(4.0, neurons=2, omega=1.0, q=20.0)
    best = hj.solve(problem, hj.BoundaryValue(), hj.Collocation(tolerance=1e-6), times=3).hamjl.statistics["cost"]
    seen, blind = (float(receding_horizon(problem, 1.0, ahead, times=4001).attrs["cost"]) for ahead in (4.0, 1.0))
    assert seen == pytest.approx(best, rel=1e-3)
    assert blind > 1.01 * best


def test_a_transfer_that_loses_much_is_made_in_smaller_parts():
    """A control that a coarse mesh makes look good is worth less on a finer one, and all the less the more is cut."""
    problem = tracker(20.0)
    search = Search(
        lower_field(problem),
        problem.initial_vector(),
        problem.span,
        tolerance=1e-4,
        nodes=20,
        max_nodes=5000,
        max_iterations=1000,
        starts=1,
    )
    here = transcribed(problem, 20)
    for seed in range(2):
        descent = Descent(here, 10 * anywhere(here, seed))
        descent.advance(0.0, 15)
        assert search._on(descent, here.mesh.refined(4)).cost > (1 + 4 * LOSS) * descent.cost
        carried = search._refine(descent)
        assert carried is not None
        few = len(carried.problem.mesh) < len(here.mesh) + FEW
        assert carried.cost <= (1 + LOSS) * descent.cost or few


def test_a_start_is_on_the_mesh_as_it_is():
    """A control that jumps costs on the mesh what the gradient's own integration says, and that is an upper bound."""
    problem = tracker(20.0, neurons=3)
    rng, times = np.random.default_rng(1), np.array([0.0, 0.999, 1.0, 7.3, 7.301, 20.0])
    start = xr.DataArray(0.3 * rng.normal(size=(6, 9)), {"time": times}, ("time", "arc"))
    own = hj.adjoint(problem, start, nodes=8000).attrs["cost"]
    with pytest.warns(hj.RunWarning, match="best found"):
        run = hj.solve(problem, hj.BoundaryValue(), hj.Collocation(start=start, max_iterations=1), times=3)
    given = float(run.hamjl.statistics["ends"].split()[1])
    assert given <= own * (1 + 1e-4)
    assert run.hamjl.statistics["cost"] <= own * (1 + 1e-6)


def test_the_best_of_several_starts_counts():
    """A good start is found among bad ones, in any order, and in the plain form too."""
    problem = tracker(20.0, neurons=3)
    good = hj.solve(problem, hj.BoundaryValue(), times=401)
    still = xr.DataArray(np.zeros((1, 9)), {"time": [0.0]}, ("time", "arc"))
    for starts in ([still, good], (good, still)):
        method = hj.Collocation(start=starts)
        run = hj.solve(problem, hj.BoundaryValue(), method, times=3)
        assert run.hamjl.statistics["starts"] == 2
        assert run.hamjl.statistics["cost"] <= good.hamjl.statistics["cost"] * (1 + 1e-6)
        assert run.hamjl.recipe.method == method
    with pytest.raises(hj.ProblemError, match="start must be"):
        hj.Collocation(start=[])
    with pytest.raises(hj.ProblemError, match="start must be"):
        hj.Collocation(start=[still, 3])


def test_a_growing_horizon_is_among_the_starts():
    """An unstable system: what was found for a part of the time holds it, where nothing at all runs away."""
    system = hj.SymbolicSystem({"x": "x + v"}, ["v"], "x**2/2 + v**2/2", span=(0, 12), initial={"x": 1.0})
    ends = dict(end.rsplit(" ", 1) for end in hj.solve(system, hj.BoundaryValue()).hamjl.statistics["ends"].split(", "))
    assert float(ends["growing horizon"]) == pytest.approx((1 + np.sqrt(2)) / 2, rel=1e-3)  # Riccati's root, for ever


def test_a_start_that_nearly_gives_up_is_no_trap():
    """Direct transcription (IPOPT, Fatrop) reaches 95.1015 from rest on this mesh; shifted steps alone end above it."""
    problem = tracker(100.0)
    with pytest.warns(hj.RunWarning, match="best found"):
        run = hj.solve(problem, hj.BoundaryValue(), hj.Collocation(starts=1, nodes=200, max_nodes=200), times=3)
    assert run.hamjl.statistics["cost"] == pytest.approx(95.101529, abs=1e-5)


def test_gauss_and_newtons_hessian_is_that_of_the_linearised_equation():
    """With J = dx/du by differences of x: the Hessian without the loss plus q Jᵀ L'' J; never indefinite."""
    problem = tracker(5.0, neurons=2)
    here = transcribed(problem)
    unknown = 3 * anywhere(here)
    field, step = lower_field(problem), 1e-5
    free = Transcription(replace(field, loss_scale=0.0), here.mesh, problem.initial_vector())
    own = np.stack([free.curvature(unknown, e) for e in np.eye(unknown.size)], axis=1)
    y = [
        [here.at(unknown + sign * e).x[..., field.outputs[0]].ravel() for sign in (step, -step)]
        for e in np.eye(unknown.size)
    ]
    by_unknown = np.stack([(ahead - behind) / (2 * step) for ahead, behind in y], axis=1)
    expected = own + field.loss_scale * by_unknown.T @ (here.measure.ravel()[:, None] * by_unknown)
    right = np.random.default_rng(1).normal(size=unknown.size)
    found = Sweep(here.at(unknown), 0.0, gauss_newton=True).solve(right)
    np.testing.assert_allclose(expected @ found, right, rtol=0, atol=1e-5)
    assert np.linalg.eigvalsh(own).min() > 0
    with pytest.raises(np.linalg.LinAlgError):
        Sweep(here.at(unknown), 0.0)


def test_x_is_found_where_it_is_sensitive_to_rounding():
    """Lorenz's system, whose states at the end no method knows, beside Dormand and Prince's while they can be known."""
    flow = {"x": "10*(y - x) + v", "y": "x*(28 - z) - y", "z": "x*y - 8*z/3"}
    begin = {"x": 1.0, "y": 1.0, "z": 20.0}
    system = hj.SymbolicSystem(flow, ["v"], "v**2/2 + x**2", span=(0, 30), initial=begin)
    here = transcribed(system, 12_000)
    found = here.at(np.zeros(here.control.shape).ravel())
    assert np.isfinite(found.cost)
    times = here.mesh.nodes[here.mesh.nodes <= 8]

    def rhs(t, s):
        x, y, z = s
        return [10 * (y - x), x * (28 - z) - y, x * y - 8 * z / 3]

    expected = solve_ivp(rhs, (0, 8), list(begin.values()), t_eval=times, method="DOP853", rtol=1e-12, atol=1e-12).y
    np.testing.assert_allclose(found.x_nodes[: len(times)], expected.T, atol=1e-3)
