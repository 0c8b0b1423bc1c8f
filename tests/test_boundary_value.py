"""Theorem 1: the boundary-value law, the adjoint identities behind it, and the comparison of laws."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from conftest import random_network, random_problem
from scipy.integrate import simpson

import hamjl as hj

LOSSES = ("squared_error", "log_cosh", "binary_cross_entropy", "softmax_cross_entropy", "(y - z)**4/4 + y**2")


def tracker(q=100.0, span=(0.0, 5.0), **options) -> hj.Problem:
    """The paper's network of five neurons with a moving target."""
    network = hj.Network.fully_connected(5, self_loops=True)
    target = options.pop("target", hj.signals.cosine(0.5, 1.0, -np.pi / 2))
    return hj.Problem(network, hj.Objective.tracking(q=q, r_w=1.0, r=0.1), target=target, span=span, **options)


def moving(problem: hj.Problem, seed: int) -> xr.DataArray:
    """A random control, linear in time."""
    rng, times = np.random.default_rng(seed), np.array(problem.span)
    values = rng.normal(size=(2, len(problem.network.arcs)))
    return xr.DataArray(values, {"time": times}, ("time", "arc"))


def from_state(problem: hj.Problem, state: dict) -> hj.Problem:
    """The same problem from other initial values."""
    options = {name: getattr(problem, name) for name in ("inputs", "target", "span")}
    return hj.Problem(problem.network, problem.objective, initial=state, **options)


# -- adjoint identities (section 8 of the theory) ----------------------------------------------------------------------
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_costates_are_the_gradient_of_the_cost(loss, activation):
    """dG/dx(0) = p_x(0), dG/dw(0) = p_w(0), δG/δv = m c φ v + p_w, by central differences of G."""
    for seed in range(3):
        problem = random_problem(seed, loss=loss, activation=activation)
        control, change = moving(problem, seed), moving(problem, seed + 100)
        found = hj.adjoint(problem, control, nodes=1000)
        e = 1e-5

        along = change.interp(time=found.time)
        predicted = simpson((found.gradient.values * along.values).sum(axis=1), x=found.time.values)
        plus, minus = (hj.adjoint(problem, control + s * e * change, nodes=1000).attrs["cost"] for s in (1, -1))
        assert predicted == pytest.approx((plus - minus) / (2 * e), rel=1e-6, abs=1e-6)
        other = hj.adjoint(problem, change, nodes=1000)  # of another control: the checks would tell
        wrong = simpson((other.gradient.values * along.values).sum(axis=1), x=found.time.values)
        assert abs(wrong - predicted) > 1e-3 < abs(predicted)

        start = problem.initial_state()
        for name, gradient in (("x", found.gradient_x), ("w", found.gradient_w)):
            step = e * np.random.default_rng(seed).normal(size=len(start[name]))
            moved = [from_state(problem, start | {name: start[name] + s * step}) for s in (1, -1)]
            plus, minus = (hj.adjoint(other, control, nodes=1000).attrs["cost"] for other in moved)
            assert gradient.values @ step == pytest.approx((plus - minus) / 2, rel=1e-6, abs=1e-6 * e)
            assert abs((other[f"gradient_{name}"].values - gradient.values) @ step) > 1e-4 * e < abs(plus - minus)


def test_the_cost_of_a_control_is_that_of_the_trajectory_which_follows_it():
    """`adjoint` along a trajectory of another solver finds its G, by an independent quadrature, and its states."""
    problem = tracker()
    run = hj.solve(problem, hj.CostateReversal(), hj.Adaptive("DOP853", rtol=1e-10, atol=1e-12), times=4001)
    along = -run.p_w / 0.1  # w' of costate reversal, m c = 0.1
    found = hj.adjoint(problem, along.rename(None), nodes=4000)
    assert found.attrs["cost"] == pytest.approx(float(run.hamjl.cost()[-1]), rel=1e-5)
    np.testing.assert_allclose(found.x.values[-1], run.x.values[-1], atol=1e-5)


def test_segments_change_nothing(monkeypatch):
    """The horizon cut into segments that are integrated twice gives the gradient of the whole."""
    module = sys.modules["hamjl.adjoint"]  # its name in the package is the function
    problem = random_problem(1)
    whole = hj.adjoint(problem, moving(problem, 1))
    monkeypatch.setattr(module, "SEGMENT", 17 * len(problem.network.arcs))
    parts = hj.adjoint(problem, moving(problem, 1))
    for name in whole:
        np.testing.assert_allclose(parts[name].values, whole[name].values, rtol=1e-10, atol=1e-11)


# -- closed forms (section 5) ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("theta", [0.0, 0.8])
def test_example_1(theta, engine):
    """w(t) = w0 [r2 e^{r2 T} e^{r1 t} - r1 e^{r1 T} e^{r2 t}]/(r2 e^{r2 T} - r1 e^{r1 T}), G = -w0·w'(0)/2."""
    network = hj.Network.fully_connected(2)
    objective = hj.Objective(loss="none", k=1.0, m=1.0, dissipation=theta)
    w0 = np.array([1.0, -0.5])
    problem = hj.Problem(network, objective, span=(0, 3), initial={"x": 0.1, "w": w0})
    run = hj.solve(problem, hj.BoundaryValue(), hj.Collocation(tolerance=1e-7), engine=engine)
    r1, r2 = np.sort(np.roots([1.0, theta, -1.0]))
    t, end = run.time.values, 3.0
    below = r2 * np.exp(r2 * end) - r1 * np.exp(r1 * end)
    shape = (r2 * np.exp(r2 * end) * np.exp(r1 * t) - r1 * np.exp(r1 * end) * np.exp(r2 * t)) / below
    slope = (r2 * np.exp(r2 * end) * r1 - r1 * np.exp(r1 * end) * r2) / below
    np.testing.assert_allclose(run.w.values, shape[:, None] * w0, atol=1e-6)
    assert run.hamjl.statistics["cost"] == pytest.approx(-0.5 * slope * w0 @ w0, rel=1e-6)


def test_linear_quadratic(engine):
    """p = θ x with θ = q sinh μs/(μ cosh μs - a sinh μs), s the time to go; G = θ(T) x0²/2."""
    a, q = 0.5, 100.0
    system = hj.SymbolicSystem(
        {"x": "a*x + v"}, ["v"], "q*x**2/2 + v**2/2", span=(0, 1), initial={"x": 2.0}, parameters={"a": a, "q": q}
    )
    run = hj.solve(system, hj.BoundaryValue(), hj.Collocation(tolerance=1e-7), engine=engine)
    mu, to_go = np.sqrt(a**2 + q), 1.0 - run.time.values
    theta = q * np.sinh(mu * to_go) / (mu * np.cosh(mu * to_go) - a * np.sinh(mu * to_go))
    np.testing.assert_allclose(run.p_x.values[:, 0], theta * run.x.values[:, 0], atol=1e-6)
    assert run.hamjl.statistics["cost"] == pytest.approx(theta[0] * 2.0**2 / 2, rel=1e-6)


def test_energy_is_constant_on_the_optimum_of_an_autonomous_problem(engine):
    """φ = 1, constant target: H = c ℓ(T) φ(T) at all times."""
    problem = tracker(q=10.0, target=hj.signals.constant(0.4))
    run = hj.solve(problem, hj.BoundaryValue(), hj.Collocation(tolerance=1e-6), engine=engine)
    last = run.isel(time=-1)
    cost = 10.0 * float((last.y - last.z).item()) ** 2 / 2 + float((last.w**2).sum())
    np.testing.assert_allclose(run.hamiltonian.values, cost, rtol=1e-5)


# -- any problem -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("loss", LOSSES[:4])
def test_the_certificate_holds_for_any_problem(loss, engine):
    """Random digraphs with velocities, dissipation, inputs, kinks and missing targets: (12) holds between samples."""
    rng = np.random.default_rng(5)
    network = random_network(rng, velocity=rng.uniform(0.5, 2.0, 4))
    t = np.linspace(0, 2, 9)
    z = 0.3 + 0.2 * np.sin(3 * t)[:, None] * [1, -1]
    z[3:5] = np.nan
    target = xr.DataArray(z, {"time": t}, ("time", "output"))
    problem = hj.Problem(
        network,
        hj.Objective(loss=loss, loss_weight=20.0, k=0.3, regularizer="pseudo_huber", dissipation=0.7),
        inputs={"u0": hj.signals.cosine(1.0, 2.0), "u1": 0.3},
        target=hj.signals.series(target, "linear"),
        span=(0.0, 2.0),
        seed=2,
    )
    run = hj.solve(problem, hj.BoundaryValue(), hj.Collocation(tolerance=1e-5), times=2001, engine=engine)
    assert run.attrs["status"] == "success"
    assert run.hamjl.statistics["certificate"] <= 1e-5
    assert float(abs(run.p_x.isel(time=-1)).max()) < 1e-12
    assert float(abs(run.p_w.isel(time=-1)).max()) < 1e-12
    residual = run.hamjl.residual()
    for name in ("x", "w", "p_x", "p_w"):
        slope = abs(run[name].differentiate("time"))
        assert float((abs(residual[name]) / (1 + slope)).max()) < 1e-4


def test_no_control_nearby_costs_less(engine):
    problem = tracker(q=100.0)
    run = hj.solve(problem, hj.BoundaryValue(), engine=engine)
    best = hj.adjoint(problem, run, nodes=2000).attrs["cost"]
    assert best == pytest.approx(run.hamjl.statistics["cost"], rel=1e-4)
    for seed in range(5):
        nudged = run.w.differentiate("time") + 0.5 * moving(problem, seed).interp(time=run.time)
        assert hj.adjoint(problem, nudged.drop_vars(["arc_source", "arc_target"]), nodes=2000).attrs["cost"] > best


def test_pendulum_swings_up():
    """A non-convex problem of a symbolic system: from hanging to upright, where the running cost vanishes."""
    system = hj.SymbolicSystem(
        {"angle": "speed", "speed": "-sin(angle) - 0.1*speed + v"},
        ["v"],
        "5*(1 + cos(angle)) + speed**2/2 + v**2/2",
        span=(0, 10),
    )
    push = xr.DataArray(np.sin(np.arange(10.0))[:, None], {"time": np.arange(10.0)}, ("time", "control"))
    run = hj.solve(system, hj.BoundaryValue(), hj.Collocation(start=push))
    assert run.attrs["status"] == "success"
    assert abs(abs(float(run.x.sel(state="angle")[-1])) - np.pi) < 1e-3


# -- how a search ends -------------------------------------------------------------------------------------------------
def test_what_misses_the_tolerance_says_so():
    with pytest.warns(hj.RunWarning, match="best found"):
        run = hj.solve(tracker(q=1000.0), hj.BoundaryValue(), hj.Collocation(tolerance=1e-6, nodes=20, max_nodes=40))
    assert run.attrs["status"] == "uncertified"
    assert run.hamjl.statistics["certificate"] > 1e-6
    assert run.sizes["time"] == 1001


def test_a_warm_start_saves_iterations():
    problem = tracker(q=100.0)
    cold = hj.solve(problem, hj.BoundaryValue())
    warm = hj.solve(problem, hj.BoundaryValue(), hj.Collocation(start=cold))
    assert warm.hamjl.statistics["iterations"] < cold.hamjl.statistics["iterations"] / 3
    assert warm.hamjl.statistics["cost"] == pytest.approx(cold.hamjl.statistics["cost"], rel=1e-6)
    again = hj.run(warm.hamjl.recipe)
    xr.testing.assert_identical(again.w, warm.w)


def test_ctrl_c_returns_the_best_so_far(monkeypatch):
    from hamjl.control.minimum import Search

    looks = iter(range(10**6))

    def look() -> None:
        if next(looks) == 60:
            raise KeyboardInterrupt

    problem = tracker(q=100.0)
    made = Search.__init__
    monkeypatch.setattr(Search, "__init__", lambda self, *a, **k: made(self, *a, **{**k, "look": look}))
    with pytest.warns(hj.RunWarning, match="interrupted"):
        run = hj.solve(problem, hj.BoundaryValue())
    assert run.attrs["status"] == "interrupted"
    assert run.hamjl.statistics["cost"] < hj.adjoint(problem).attrs["cost"]


def test_wrong_use_is_refused():
    problem = tracker()
    with pytest.raises(hj.ProblemError, match="need each other"):
        hj.solve(problem, hj.BoundaryValue(), "BDF")
    with pytest.raises(hj.ProblemError, match="need each other"):
        hj.solve(problem, hj.Cauchy(), hj.Collocation())
    with pytest.raises(hj.ProblemError, match="tolerance must be a positive number"):
        hj.Collocation(tolerance=-1)
    other = hj.solve(random_problem(0), hj.CostateReversal(), times=5)
    with pytest.raises(hj.ProblemError, match="25 arcs"):
        hj.solve(problem, hj.BoundaryValue(), hj.Collocation(start=other))
    with pytest.raises(hj.ProblemError, match="control"):
        hj.adjoint(problem, "nothing")


# -- comparison --------------------------------------------------------------------------------------------------------
def test_compare_puts_laws_beside_the_optimum():
    problem = tracker(q=100.0)
    flip = (hj.SignFlip(every_step=True), hj.Euler(0.01))
    found = hj.compare(problem, {"flip": flip, "reversal": "costate_reversal", "nothing": hj.adjoint(problem)})
    assert found.law.values.tolist() == ["boundary_value", "flip", "reversal", "nothing"]
    assert float(found.regret.sel(law="boundary_value").max()) == 0.0
    assert bool((found.regret.isel(time=-1)[1:] > 0).all())
    optimum = hj.solve(problem, hj.BoundaryValue()).hamjl.statistics["cost"]
    assert float(found.cost.sel(law="boundary_value")[-1]) == pytest.approx(optimum, rel=1e-4)
    kept = problem.initial_state()["w"]
    np.testing.assert_array_equal(found.w.sel(law="nothing").values[-1], kept)


def test_a_comparison_is_drawn():
    """Outputs above, costs below, a line for each law; also of one selected output and of a system's states."""
    found = hj.compare(tracker(q=100.0), ["costate_reversal"], times=21)
    for part in (found, found.isel(output=0), found.isel(output=[0])):
        above, below = part.hamjl.plot_comparison().axes
        for ax, name in ((above, found.y[..., 0]), (below, found.cost)):
            np.testing.assert_array_equal([line.get_ydata() for line in ax.lines][:2], name)
        assert [text.get_text() for text in above.get_legend().get_texts()] == [*found.law.values, "target"]
        assert all(ax.get_ylabel() for ax in (above, below))
    assert len(found.sel(law="costate_reversal").hamjl.plot_comparison().axes[1].lines) == 1
    system = hj.SymbolicSystem({"x": "v"}, ["v"], "x**2 + v**2", span=(0, 1), initial={"x": 1.0})
    both = hj.compare(system, ["costate_reversal"], times=21)
    assert "x" in both.hamjl.plot_comparison().axes[0].get_ylabel()
    with pytest.raises(hj.ProblemError, match="what compare gave"):
        hj.solve(system, times=3).hamjl.plot_comparison()
    plt.close("all")


def test_compare_keeps_what_ended_early():
    problem = tracker(q=100.0)
    found = hj.compare(problem, [(hj.Cauchy(), hj.Adaptive("DOP853", max_steps=10))], times=101)
    assert found.status.values.tolist() == ["success", "max_steps"]
    assert bool(np.isnan(found.cost.sel(law="cauchy")[-1]))
    with pytest.raises(hj.ProblemError, match="list or a mapping"):
        hj.compare(problem, "cauchy")
    with pytest.raises(hj.ProblemError, match="different labels"):
        hj.compare(problem, [hj.Cauchy(), "cauchy"])


def test_compare_takes_times_and_what_is_solved_already():
    problem = tracker(q=100.0)
    times = [0.0, 2.5, 5.0]
    optimum, reversal = hj.solve(problem, "boundary_value"), hj.solve(problem, "costate_reversal")
    found = hj.compare(problem, [optimum, reversal], times=times)
    assert found.time.values.tolist() == times
    again = hj.compare(problem, ["costate_reversal"], times=times)
    np.testing.assert_allclose(found.cost, again.cost, rtol=1e-3, atol=1e-3)
    assert float(again.cost[0, -1]) == pytest.approx(optimum.hamjl.statistics["cost"], rel=1e-3)
    with pytest.raises(hj.ProblemError, match="of another one"):
        hj.compare(tracker(q=1000.0), [optimum])
    with pytest.raises(hj.ProblemError, match="of another one"):
        hj.compare(random_problem(0, span=(0.0, 5.0)), [hj.adjoint(problem)])
    with pytest.raises(hj.ProblemError, match="the optimum's"):
        hj.compare(problem, {"boundary_value": hj.CostateReversal()})
    with pytest.raises(hj.ProblemError, match="must be a trajectory"):
        hj.compare(problem, {"flip": optimum[["w"]].drop_vars("recipe")})


@pytest.mark.parametrize("steps", [(0.02, 0.01), (0.02, 0.03), (0.001, 0.001)])
def test_the_order_of_laws_compared_means_nothing(steps):
    problem = tracker(q=100.0)
    laws = {
        "flip": (hj.SignFlip(every_step=True), hj.Euler(steps[0])),
        "reversal": ("costate_reversal", hj.Euler(steps[1])),
        "nothing": hj.adjoint(problem),
        "optimum": hj.solve(problem, "boundary_value"),
    }
    found, again = (hj.compare(problem, dict(order)) for order in (laws.items(), reversed(laws.items())))
    xr.testing.assert_equal(again.sel(law=found.law), found)
    for name in ("flip", "reversal"):  # each at samples of its own, and interpolated where it has none
        cost = hj.solve(problem, *laws[name]).hamjl.cost().interp(time=found.time)
        np.testing.assert_allclose(found.cost.sel(law=name), cost, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("ask", [hj.adjoint, lambda problem: hj.solve(problem, hj.BoundaryValue())])
def test_a_network_without_arcs_has_no_control(ask):
    network = hj.Network.from_arcs([], neurons=["a"], outputs=["a"])
    with pytest.raises(hj.ProblemError, match="without arcs"):
        ask(hj.Problem(network, hj.Objective(), target=1.0, span=(0, 1)))
