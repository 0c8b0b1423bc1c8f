"""Neuron models, masses, frozen and tied weights, losses in groups and in time: against the generalised Hamiltonian."""

import autodiff
import numpy as np
import pytest
import xarray as xr
from conftest import assert_learns, finite_difference, tight

import hamjl as hj
from hamjl.dynamics import dynamics_of, full_dynamics_of
from hamjl.lowering import lower

# f(x, a) of x' = c f as hamjl spells it, and the same in Python, of numbers real or complex
SIGMA = {"tanh": np.tanh, "logistic": lambda a: 1 / (1 + np.exp(-a)), "a + sin(a)/2": lambda a: a + np.sin(a) / 2}
NEURONS = {
    "leaky": lambda x, a, sigma: sigma(a) - x,
    "integrator": lambda x, a, sigma: a,
    "sigma(a) - x - x**3/3": lambda x, a, sigma: sigma(a) - x - x**3 / 3,
    "sigma(a - x/2)*exp(-x**2) - x": lambda x, a, sigma: sigma(a - x / 2) * np.exp(-(x**2)) - x,
}
RESTING = ["leaky", "sigma(a) - x - x**3/3"]  # which come to rest, whatever a is
Q = xr.DataArray([0.5, 2.0, 1.0, np.nan, np.nan], {"time": [-1.0, 0.5, 1.0, 1.5, 9.0]}, "time")
PHI = xr.DataArray([1.0, 3.0, 2.0], {"time": [-1.0, 1.0, 9.0]}, "time")


def mixed_network(rng: np.random.Generator, *, models=tuple(NEURONS), acyclic=False) -> hj.Network:
    """A random digraph of different neurons, some of whose arcs are tied."""
    n, d = int(rng.integers(3, 6)), 2
    present = rng.random((n, d + n)) < 0.7
    present[0, :d] = True
    if acyclic:
        present[:, d:] = np.tril(present[:, d:], -1)
    bare = hj.Network.from_adjacency(present, outputs=3)
    arcs = rng.permutation(bare.arcs).tolist()
    tied = {"kernel": arcs[:2], "omega": {arcs[2]: 1.0, arcs[3]: -1.0, arcs[4]: 0.5}} if rng.random() < 0.7 else None
    return hj.Network.from_adjacency(
        present,
        outputs=3,
        activation=rng.choice(list(SIGMA), n).tolist(),
        velocity=rng.uniform(0.5, 2.0, n),
        neuron=rng.choice(list(models), n).tolist(),
        tied=tied,
    )


def mixed_problem(seed: int, *, span=(0.0, 2.0), **options) -> hj.Problem:
    """A random problem in all of the vocabulary."""
    rng = np.random.default_rng(seed)
    network = mixed_network(rng, **options)
    free = [arc for arc in network.arcs if not any(arc in tie for tie in network.ties().values())]
    mass = dict.fromkeys(network.weights, 1.0) | {name: rng.uniform(0.5, 3.0) for name in network.weights}
    mass[free[0]] = np.inf
    weights = {"x0": "1 + sin(t)**2", "x1": Q, "x2": 0.7} if seed % 3 else 2.0
    losses = {"squared_error": ["x0"], "softmax_cross_entropy": ["x1", "x2"]} if seed % 2 else "log_cosh"
    if seed % 4 == 3:
        losses, weights = {"(y - z)**4": ["x2", "x0"]}, {"x2": Q, "x1": "t + 2"}
    return hj.Problem(
        network,
        hj.Objective(
            loss=losses,
            loss_weight=weights,
            m=mass,
            k={name: rng.uniform(0.0, 0.5) for name in network.weights},
            regularizer="pseudo_huber",
            dissipation=(0.4, "1 + t**2", PHI)[seed % 3],
            scaled_by_velocity=seed % 5 > 0,
        ),
        inputs={"u0": hj.signals.cosine(1.0, 2.0), "u1": 0.3},
        target={"x0": hj.signals.cosine(0.3, 1.0, offset=0.5), "x1": 0.4, "x2": 0.6},
        span=span,
        initial={name: {"normal": [0.0, 0.7]} for name in ("x", "w", "p_x", "p_w")},
        seed=seed,
        frozen=[free[1]] if seed % 2 else ["kernel"] if network.is_tied else None,
    )


def weight_in_time(name: str, problem: hj.Problem, t: float) -> float:
    """q of an output, written again."""
    given = {"x0": 1 + np.sin(t) ** 2, "x1": np.interp(t, [-1.0, 0.5, 1.0], [0.5, 2.0, 1.0]), "x2": 0.7}
    given["x1"] = np.nan if t > 1.0 else given["x1"]
    number = problem.objective.loss_weight
    if isinstance(number, float):
        return number
    if "x0" in number:
        return given[name]
    return {"x2": given["x1"], "x1": t + 2}.get(name, 1.0)


def hamiltonian(problem: hj.Problem, t: float, x, w, p, pw) -> complex:
    """H/φ of the generalised functional, with w and p_w by weight; the frozen have no kinetic term."""
    net, obj = problem.network, problem.objective
    scale = net.velocity.mean() if obj.scaled_by_velocity else 1.0
    v = np.concatenate(([np.cos(2 * t), 0.3], x))
    a = np.zeros(len(net.neurons), dtype=complex)
    for e, (j, i) in enumerate(zip(net.source, net.target, strict=True)):
        a[i] += net.factor[e] * w[net.weight[e]] * v[j]
    total = 0.0
    for i, (model, sigma) in enumerate(zip(net.neuron, net.activation, strict=True)):
        total += p[i] * net.velocity[i] * NEURONS[model](x[i], a[i], SIGMA[sigma])
    for k, name in enumerate(net.weights):
        total += scale * obj.k[name] * (np.sqrt(1 + w[k] ** 2) - 1)
        if problem.moves[k]:
            total -= pw[k] ** 2 / (2 * obj.m[name] * scale)
    z = {"x0": 0.3 * np.cos(t) + 0.5, "x1": 0.4, "x2": 0.6}
    q = {name: weight_in_time(name, problem, t) for name in z}
    y = dict(zip(net.outputs, x, strict=False))
    if isinstance(obj.loss, str):
        terms = {name: np.log(np.cosh(y[name] - z[name])) for name in z}
    elif "(y - z)**4" in obj.loss:
        terms = {name: (y[name] - z[name]) ** 4 for name in ("x2", "x0")}
    else:
        norm = np.log(np.exp(y["x1"]) + np.exp(y["x2"]))
        terms = {"x0": (y["x0"] - z["x0"]) ** 2 / 2} | {k: z[k] * (norm - y[k]) for k in ("x1", "x2")}
    return total + scale * sum(q[name] * term for name, term in terms.items() if not np.isnan(q[name]))


def slopes(function, at: list[np.ndarray]) -> list[np.ndarray]:
    """The derivatives of a function of several vectors by each, exact to rounding: by a complex step."""
    found = []
    for part, values in enumerate(at):
        row = np.zeros(len(values))
        for k in range(len(values)):
            moved = [vector.astype(complex) for vector in at]
            moved[part][k] += 1e-30j
            row[k] = function(*moved).imag / 1e-30
        found.append(row)
    return found


@pytest.mark.parametrize("seed", range(100))
def test_right_hand_sides_are_the_flow_of_the_generalised_hamiltonian(seed):
    problem = mixed_problem(seed)
    law = [hj.Cauchy(), hj.CostateReversal(), hj.SignFlip(frequency=1.0)][seed % 3]
    lowered, t, s = lower(problem, law, hj.Adaptive()), (0.3, 0.7, 1.3)[seed % 3], (1.0, 1.0, -1.0)[seed % 3]
    dynamics = full_dynamics_of(lowered.field, lowered.law)
    y, moves, drive = lowered.initial, problem.moves, dynamics.drive(t)
    state = problem.initial_state()
    weights = problem.weight_values()
    np.testing.assert_array_equal(state["w"], problem.network.factor * weights[problem.network.weight])
    assert len(y) == 2 * (len(problem.network.neurons) + moves.sum())  # what is frozen is no state
    at = [state["x"], weights, state["p_x"], state["p_w"]]
    by_x, by_w, by_p, by_pw = slopes(lambda *parts: hamiltonian(problem, t, *parts), at)
    theta = (0.4, 2 * t / (1 + t**2), np.log(3) / 2 if t < 1 else np.log(2 / 3) / 8)[seed % 3]
    back = s * dynamics.law.costate_sign
    expected = (s * by_p, s * by_pw[moves], -back * by_x - theta * at[2], (-back * by_w - theta * at[3])[moves])
    found = dynamics.split(dynamics.rhs(y, drive, s, np.empty_like(y)))
    for name, values, wanted in zip(dynamics.parts, found, expected, strict=True):
        np.testing.assert_allclose(values, wanted, rtol=1e-10, atol=1e-10, err_msg=name)
    real = hamiltonian(problem, t, *at)
    np.testing.assert_allclose(dynamics.hamiltonian(y, drive), real.real, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("law", [hj.Cauchy(), hj.CostateReversal(), hj.BackpropLimit()])
@pytest.mark.parametrize("seed", range(8))
def test_jacobian_is_that_of_finite_differences(law, seed):
    limit = isinstance(law, hj.BackpropLimit)
    problem = mixed_problem(seed, **({"models": RESTING, "acyclic": True} if limit else {}))
    lowered = lower(problem, law, hj.Adaptive())
    dynamics = dynamics_of(lowered.field, lowered.law)
    y, drive = dynamics.restrict(lowered.initial), dynamics.drive(0.3)
    jacobian = dynamics.jacobian(y, drive, 1.0)
    jacobian = jacobian if isinstance(jacobian, np.ndarray) else jacobian.toarray()
    expected = finite_difference(lambda v: dynamics.rhs(v, drive, 1.0, np.empty_like(v)), y)
    np.testing.assert_allclose(jacobian, expected, rtol=1e-6, atol=1e-6 * abs(expected).max())


@pytest.mark.parametrize("seed", range(6))
def test_energy_balance_holds(engine, seed):
    problem = mixed_problem(seed, span=(0.0, 0.9))
    run = hj.solve(problem, hj.Cauchy(), tight(engine), times=401, engine=engine)
    balance = run.hamjl.energy_balance()
    size = np.abs(balance.change).max()
    assert size > 1e-5
    assert np.abs(balance.imbalance).max() < 1e-6 * size
    assert ("loss_weight" in balance) == bool(seed % 3 or seed % 4 == 3)


@pytest.mark.parametrize("seed", range(6))
def test_trajectories_satisfy_their_laws(engine, seed):
    problem = mixed_problem(seed, span=(0.0, 0.9))
    run = hj.solve(problem, hj.CostateReversal(), tight(engine), times=401, engine=engine)
    again = hj.solve(problem, hj.CostateReversal(), hj.Euler(0.001), times=901, engine=engine)
    for name, residual in run.hamjl.residual().items():
        assert np.abs(residual).max() < 1e-6 * (1 + np.abs(run[name]).max()), name
    for name, residual in again.hamjl.residual().items():
        assert np.abs(residual).max() < 1e-9 * (1 + np.abs(again[name]).max()), name
    second = run.hamjl.second_order_residual()
    assert np.abs(second.w).max() < 1e-5 * (1 + np.abs(run.w).max())
    assert np.abs(second["lambda"]).max() < 1e-5 * (1 + np.abs(run.p_x).max())


@pytest.mark.parametrize("seed", range(6))
def test_adjoint_is_that_of_finite_differences(seed):
    problem = mixed_problem(seed, span=(0.0, 0.9))
    found = hj.adjoint(problem, nodes=400)
    start = problem.initial_state()["x"], problem.weight_values()

    def cost(values):
        x, w = np.split(values, [len(start[0])])
        other = problem._with(initial={"x": x, "w": w})
        return np.atleast_1d(hj.adjoint(other, nodes=400).attrs["cost"])

    expected = finite_difference(cost, np.concatenate(start))[0]
    gradient = np.concatenate((found.gradient_x, found.gradient_w))
    assert abs(expected).max() > 1e-3
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6 * abs(expected).max())
    assert found.gradient_w.dims == (("weight",) if problem.network.is_tied else ("arc",))


@pytest.mark.parametrize("seed", range(4))
def test_theorem_1_is_certified(engine, seed):
    problem = mixed_problem(seed, span=(0.0, 0.9))
    run = hj.solve(problem, hj.BoundaryValue(), engine=engine, times=201)
    assert run.attrs["status"] == "success"
    assert run.hamjl.statistics["certificate"] <= 1e-4
    own = float(run.hamjl.cost()[-1])
    assert own == pytest.approx(run.hamjl.statistics["cost"], rel=1e-3)
    for law in (hj.CostateReversal(), hj.SignFlip(frequency=2.0)):
        assert own <= float(hj.solve(problem, law, engine=engine, times=201).hamjl.cost()[-1]) * (1 + 1e-6)
    assert float(np.abs(run.p_w.isel(time=-1)).max()) < 1e-4 * float(np.abs(run.p_w).max())


def test_a_harmonic_oscillator_of_two_integrators_keeps_its_amplitude(engine):
    """x' = -ω y, y' = ω x from (1, 0) is (cos ωt, sin ωt), each pair by its own ω, for twenty radians and more."""
    omega, network = {"omega0": 1.0, "omega1": -2.5}, hj.Network.oscillators(2)
    problem = hj.Problem(
        network,
        hj.Objective(loss="none"),
        span=(0, 20),
        initial={"x": [1.0, 0.0, 1.0, 0.0], "w": [omega[name] for name in network.weights]},
        frozen=True,
    )
    run = hj.solve(problem, method=tight(engine), times=201, engine=engine)
    for k, rate in enumerate(omega.values()):
        x, y = (run.x.sel(neuron=f"{name}{k}").values for name in "xy")
        np.testing.assert_allclose(x**2 + y**2, 1.0, rtol=0, atol=1e-9)
        np.testing.assert_allclose(x, np.cos(rate * run.time), rtol=0, atol=1e-9)
        np.testing.assert_allclose(y, np.sin(rate * run.time), rtol=0, atol=1e-9)


CONVOLUTIONS = pytest.mark.parametrize(
    ("shape", "size", "stride"), [((9,), (3,), 2), ((8,), (4,), 1), ((6, 7), (3, 2), 1), ((7, 5), (3, 3), 2)]
)


def convolution(shape, size, stride):
    """Two channels with bias, random kernels and biases, an input, and a function that puts both in weights' order."""
    network = hj.Network.convolutional(shape, size, channels=2, stride=stride, bias=True, velocity=4.0)
    rng = np.random.default_rng(len(shape) + stride)
    place = {f"k{'_'.join(map(str, at))}": at for at in np.ndindex(2, *size)} | {"b0": 0, "b1": 1}

    def by_weight(kernel, bias):
        return np.array([(kernel if name[0] == "k" else bias)[place[name]] for name in network.weights])

    return network, rng.normal(size=(2, *size)), rng.normal(size=2), rng.normal(size=shape), by_weight


@CONVOLUTIONS
def test_a_convolution_at_rest_has_the_outputs_of_torch(shape, size, stride, elsewhere):
    network, kernel, bias, u, by_weight = convolution(shape, size, stride)
    expected, *_ = elsewhere(autodiff.convolution, u, np.zeros(len(network.outputs)), kernel, bias, stride)
    found = network.at_rest(by_weight(kernel, bias)[network.weight], u.ravel())
    np.testing.assert_allclose(found, expected.ravel(), rtol=1e-12, atol=1e-14)


@CONVOLUTIONS
def test_a_convolution_has_the_gradient_of_torch(shape, size, stride, engine, elsewhere):
    """By arc, summed over each tie; and p_w: from rest with cτ = 1 a step of costate reversal makes p_x the error, and
    the next one p_w the gradient by weight."""
    network, kernel, bias, u, by_weight = convolution(shape, size, stride)
    z = np.random.default_rng(9).normal(size=len(network.outputs))
    y, *gradient = elsewhere(autodiff.convolution, u, z, kernel, bias, stride)
    expected = by_weight(*gradient)
    problem = hj.Problem(
        network,
        hj.Objective(),
        inputs={f"u{'_'.join(map(str, at))}": u[at] for at in np.ndindex(shape)},
        target=dict(zip(network.outputs, z, strict=True)),
        span=(0, 0.5),
        initial={"x": y.ravel(), "w": by_weight(kernel, bias)},
    )
    run = hj.solve(problem, hj.CostateReversal(), hj.Euler(0.25), times=3, engine=engine)
    by_arc = run.hamjl.backprop_gradient()[0] / 4.0  # of c q L
    assert_learns(np.bincount(network.weight, by_arc), expected, run.p_w[1], rtol=1e-10, atol=1e-10)
    assert_learns(run.p_w[2], expected, run.p_w[1], rtol=1e-10, atol=1e-10)


# -- what a trajectory of it goes through ------------------------------------------------------------------------------
def test_a_recipe_says_it_all(tmp_path):
    for seed in range(6):
        problem = mixed_problem(seed)
        run = hj.solve(problem, hj.CostateReversal(), hj.Euler(0.01), times=21)
        run.to_netcdf(tmp_path / f"{seed}.nc")
        with xr.open_dataset(tmp_path / f"{seed}.nc") as back:
            recipe = back.hamjl.recipe
        assert recipe.problem == problem
        assert (recipe.problem == problem._with(frozen=())) == (not problem.frozen)
        xr.testing.assert_identical(hj.run(recipe, progress=False).drop_vars("recipe"), run.drop_vars("recipe"))


def test_sessions_go_on_as_one_run_does(engine, tmp_path):
    for seed in (0, 1):
        problem = mixed_problem(seed, span=(0.0, 0.9))
        whole = hj.solve(problem, hj.CostateReversal(), hj.Euler(0.01), times=91, engine=engine)
        session = hj.Session(problem, hj.CostateReversal(), hj.Euler(0.01), engine=engine)
        first = session.advance(0.45, {"every": 0.01}, progress=False)
        session.checkpoint(tmp_path / f"{seed}.session")
        later = hj.Session.restore(tmp_path / f"{seed}.session")
        parts = [first, later.advance(0.9, {"every": 0.01}, progress=False)]
        for name in ("x", "w", "p_x", "p_w"):
            together = np.concatenate([part[name] for part in parts])
            np.testing.assert_array_equal(together[-1], whole[name][-1])
        np.testing.assert_array_equal(session.present().w, first.w[-1])


def test_stores_hold_it(engine, tmp_path):
    problem = mixed_problem(1, span=(0.0, 0.9))
    whole = hj.solve(problem, hj.CostateReversal(), hj.Euler(0.01), times=91, engine=engine)
    kept = hj.run(problem, hj.CostateReversal(), hj.Euler(0.01), times=91, engine=engine, store=tmp_path / "a", chunk=7)
    for name in whole.data_vars:
        np.testing.assert_array_equal(kept[name], whole[name], err_msg=str(name))


def test_sweeps_vary_it():
    problem = mixed_problem(0, span=(0.0, 0.5))
    ds = hj.sweep(problem, {"velocity": [1.0, 2.0]}, law=hj.CostateReversal(), method=hj.Euler(0.01), times=6)
    assert (ds.status == "success").all()
    assert ds.w.sizes["velocity"] == 2


def test_problem_files_say_it(tmp_path):
    text = """
    [problem]
    span = [0.0, 1.0]
    frozen = ["u0->x0"]
    [problem.network]
    kind = "arcs"
    inputs = ["u0"]
    neurons = ["x0", "x1", "x2"]
    outputs = ["x0", "x1", "x2"]
    arcs = [["u0", "x0"], ["x0", "x1"], ["x1", "x0"], ["x0", "x2"]]
    neuron = ["leaky", "integrator", "sigma(a) - x**3 - x"]
    tied = {omega = {"x0->x1" = 1, "x1->x0" = -1}}
    [problem.objective]
    m = {omega = 2.0}
    k = {"x0->x2" = 0.5}
    loss = {squared_error = ["x0"], softmax_cross_entropy = ["x1", "x2"]}
    loss_weight = {x0 = "1 + t", x1 = {kind = "cosine", amplitude = 0.5, omega = 2.0, offset = 1.0}}
    [problem.inputs]
    u0 = {kind = "constant", value = 0.5}
    [problem.target]
    x0 = {kind = "constant", value = 0.1}
    x1 = {kind = "constant", value = 0.3}
    x2 = {kind = "constant", value = 0.7}
    """
    (tmp_path / "a.toml").write_text(text)
    problem = hj.Recipe.load(tmp_path / "a.toml").problem
    assert problem.network.ties() == {"omega": {"x0->x1": 1.0, "x1->x0": -1.0}}
    assert problem.frozen == ("u0->x0",)
    assert problem.moves.tolist() == [name != "u0->x0" for name in problem.network.weights]
    run = hj.solve(problem, hj.CostateReversal(), hj.Euler(0.01), times=11)
    assert run.attrs["status"] == "success"
    np.testing.assert_array_equal(run.w.sel(arc="x0->x1"), -run.w.sel(arc="x1->x0"))


def test_weights_are_given_by_arc_or_by_weight():
    network = hj.Network.from_arcs(
        [("u", "x"), ("u", "y"), ("x", "y")], inputs=["u"], outputs=2, tied={"k": {"u->x": 1.0, "u->y": -2.0}}
    )
    by_weight = xr.DataArray([0.3, 0.5], {"weight": ["x->y", "k"]}, "weight")  # in any order
    by_arc = xr.DataArray([0.5, -1.0, 0.3], {"arc": ["u->x", "u->y", "x->y"]}, "arc")
    outputs = [np.tanh(0.5), np.tanh(-1.0 + 0.3 * np.tanh(0.5))]
    for w in (by_weight, by_arc, {"k": 0.5, "x->y": 0.3}, {"u->y": -1.0, "x->y": 0.3}):
        problem = hj.Problem(network, hj.Objective(), inputs=1.0, span=(0, 1), initial={"w": w})
        found = dict(zip(network.weights, problem.weight_values(), strict=True))
        assert found == {"k": 0.5, "x->y": 0.3}
        assert dict(zip(network.arcs, problem.initial_state()["w"], strict=True)) == {
            "u->x": 0.5, "u->y": -1.0, "x->y": 0.3,
        }  # fmt: skip
    for w in (by_weight, by_arc):
        np.testing.assert_allclose(network.at_rest(w, [1.0]), outputs, rtol=1e-14)


# -- frozen ------------------------------------------------------------------------------------------------------------
def layered(**options) -> hj.Problem:
    """Two layers of weights behind a moving input."""
    network = hj.Network.layered([1, 3, 1], bias=True)
    inputs = {"u0": hj.signals.cosine(1.0, 2.0)}
    return hj.Problem(network, hj.Objective(m=0.3), inputs=inputs, target=0.3, span=(0.0, 3.0), seed=1, **options)


@pytest.mark.parametrize("law", [hj.CostateReversal(), hj.SignFlip(frequency=0.7), hj.BackpropLimit()], ids=str)
@pytest.mark.parametrize("method", [hj.Euler(0.01), "auto"], ids=str)
def test_freezing_all_is_test_mode(engine, law, method):
    free, problem = layered(), layered(frozen=True)
    run = hj.solve(problem, law, method, times=31, engine=engine)
    np.testing.assert_array_equal(run.w, np.broadcast_to(free.initial_state()["w"], run.w.shape))
    assert not run.p_w.any()
    again = hj.solve(free, law, method, times=31, engine=engine, frozen=True)
    np.testing.assert_array_equal(again.x, run.x)
    heavy = hj.Problem(
        free.network, hj.Objective(m=1e30), inputs=free.inputs, target=free.target, span=free.span, seed=1
    )
    np.testing.assert_allclose(run.x, hj.solve(heavy, law, method, times=31, engine=engine).x, rtol=0, atol=1e-5)
    moved = hj.solve(free, law, method, times=31, engine=engine)
    assert (moved.w[1:] != run.w[1:]).any()


def test_freezing_all_but_a_layer_trains_that_layer(engine):
    run = hj.solve(layered(frozen=[1]), hj.CostateReversal(), hj.Euler(0.01), times=31, engine=engine)
    moved = (run.w != run.w[0]).any("time")
    assert moved.values.tolist() == [str(arc).endswith("x3") for arc in run.arc.values]
    # by hand: x and p_x as ever, and of the weights those of the last layer alone
    whole = layered()
    lowered = lower(whole, hj.CostateReversal(), hj.Euler(0.01))
    dynamics, y = full_dynamics_of(lowered.field, lowered.law), lowered.initial.copy()
    still = np.flatnonzero([not arc.endswith("x3") for arc in whole.network.arcs])
    for k in range(300):
        dy = dynamics.rhs(y, dynamics.drive(0.01 * k), 1.0, np.empty_like(y))
        for part in dynamics.split(dy)[1::2]:
            part[still] = 0.0
        y = y + 0.01 * dy
    np.testing.assert_allclose(run.w[-1], dynamics.split(y)[1], rtol=1e-12)
    np.testing.assert_allclose(run.x[-1], dynamics.split(y)[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("frozen", "arcs"),
    [
        ("u0", {"u0->x0", "u0->x1", "u0->x2"}),
        ("x3", {"x0->x3", "x1->x3", "x2->x3", "bias->x3"}),
        (2, {"x0->x3", "x1->x3", "x2->x3", "bias->x3"}),
        (["u0->x1", ("bias", "x3")], {"u0->x1", "bias->x3"}),
        (True, None),
        (False, set()),
    ],
)
def test_arcs_are_frozen_by_their_names(frozen, arcs):
    problem = layered(frozen=frozen)
    names = set(problem.network.arcs)
    still = {arc for arc, moves in zip(problem.network.arcs, problem.moves, strict=True) if not moves}
    assert still == (names if arcs is None else arcs)


# -- what is refused ---------------------------------------------------------------------------------------------------
TIED = hj.Network.from_arcs([("u", "x"), ("u", "y"), ("x", "y")], inputs=["u"], outputs=2, tied={"k": ["u->x", "u->y"]})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: layered(frozen="x9"), "must be a known name, got 'x9'"),
        (lambda: layered(frozen=[3]), "a layer from 1 to 2, got 3"),
        (lambda: layered(frozen=3.5), "must be a known name"),
        (lambda: hj.Problem(TIED, hj.Objective(), inputs=0.0, span=(0, 1), frozen="u->x"), "tied weight 'k' or none"),
        (lambda: hj.Problem(TIED, hj.Objective(m={"u->x": 1.0, "u->y": 2.0}), inputs=0, span=(0, 1)), "got different"),
        (lambda: hj.Problem(TIED, hj.Objective(k={"nix": 1.0}), inputs=0, span=(0, 1)), "got 'nix'"),
        (lambda: hj.Problem(TIED, hj.Objective(m=np.ones(5)), inputs=0, span=(0, 1)), r"got shape \(5,\)"),
        (lambda: hj.Problem(TIED, hj.Objective(), inputs=0, span=(0, 1), initial={"w": [1.0, 2.0, 3.0]}), "different"),
        (lambda: hj.Objective(m={"u->x": 0.0}), "a positive number, got 0"),
        (lambda: hj.Objective(k=[1.0, -1.0]), "a non-negative number, got -1"),
        (lambda: hj.Objective(k={"u->x": np.inf}), "a non-negative number, got inf"),
        (lambda: hj.Objective(loss={"squared_error": "x", "log_cosh": ["x"]}), "one loss, got 'x'"),
        (lambda: hj.Objective(loss={"squared_error": []}), "list the outputs"),
        (lambda: hj.Objective(loss={}), "no output at all"),
        (lambda: hj.Objective(loss_weight=-1.0), "non-negative"),
        (lambda: hj.Objective(loss_weight="sin(u)"), "got 'u'"),
        (lambda: hj.Objective(dissipation=xr.DataArray([1.0, -1.0], {"time": [0, 1]}, "time")), "positive"),
        (
            lambda: hj.Problem(TIED, hj.Objective(loss_weight="sin(10*t)"), inputs=0, span=(0, 1)),
            "loss_weight of 'x' must not be negative",
        ),
        (lambda: hj.Problem(TIED, hj.Objective(loss_weight=Q), inputs=0, span=(0, 99)), "must cover the span"),
        (lambda: hj.Problem(TIED, hj.Objective(dissipation=PHI), inputs=0, span=(0, 99)), "must cover the span"),
        (lambda: hj.Problem(TIED, hj.Objective(loss={"log_cosh": ["z"]}), inputs=0, span=(0, 1)), "got 'z'"),
        (lambda: hj.Problem(TIED, hj.Objective(loss={"softmax_cross_entropy": ["x"]}), inputs=0, span=(0, 1)), "two"),
        (lambda: hj.Network.layered([1, 1], neuron="spiking"), "got 'spiking'"),
        (lambda: hj.Network.layered([1, 1], neuron="sigma(a) - abs(x)"), "smooth"),
        (lambda: hj.Network.layered([1, 1], neuron=["leaky", "leaky"]), "one value per neuron"),
        (lambda: hj.Network.layered([1, 1], tied=["u0->x0"]), "mapping from names"),
        (lambda: hj.Network.layered([1, 1], tied={"k": "u0->x0"}), "list its arcs"),
        (lambda: hj.Network.layered([1, 1], tied={"k": ["u0->x9"]}), "got 'u0->x9'"),
        (lambda: hj.Network.layered([1, 1], tied={"k": {"u0->x0": 0.0}}), "must not be 0"),
        (lambda: hj.Network.layered([1, 1], tied={"k": ["u0->x0"], "l": ["u0->x0"]}), "one weight"),
        (lambda: hj.Network.convolutional(3, 4), "fit into it"),
        (lambda: hj.Network.oscillators(0), "1 or more, got 0"),
    ],
)
def test_wrong_input_is_refused_in_one_sentence(make, words):
    with pytest.raises(hj.ProblemError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["m", "k"])
def test_masses_and_regularisers_are_given_in_many_forms(name):
    network = hj.Network.layered([1, 2, 1])
    values = {"u0->x0": 2.0, "u0->x1": 3.0, "x0->x2": 4.0, "x1->x2": 5.0}
    matrix = network.matrix([values[arc] for arc in network.arcs])  # 0 where there is no arc
    labelled = xr.DataArray(
        matrix, {"target": list(network.neurons), "source": list(network.vertices)}, ("target", "source")
    )
    forms = [
        values,
        {tuple(arc.split("->")): one for arc, one in values.items()},
        [values[arc] for arc in network.arcs],
        xr.DataArray(list(values.values()), {"arc": list(values)}, "arc")[::-1],
        matrix,
        labelled,
        labelled[::-1, ::-1].T,
        labelled.where(labelled > 0),
    ]
    for form in forms:
        problem = hj.Problem(network, hj.Objective(**{name: form}), inputs=0.0, span=(0, 1))
        found = problem.inertia if name == "m" else problem.regularizer_scale
        assert dict(zip(network.arcs, found, strict=True)) == values
        assert hj.Problem.from_dict(problem.to_dict()) == problem
    for form in ([1.0, np.nan, 1.0, 1.0], labelled.where(labelled != 3.0), labelled.where(labelled != 3.0, -1.0)):
        with pytest.raises(hj.ProblemError, match=f"{name} must be a "):
            hj.Problem(network, hj.Objective(**{name: form}), inputs=0.0, span=(0, 1))


def test_regularisers_by_arc_alone_are_certified(engine):
    network = hj.Network.fully_connected(2, self_loops=True)
    objective = hj.Objective(loss_weight=5.0, k={"x0->x0": 0.3, "x1->x0": 2.0})
    problem = hj.Problem(network, objective, target=0.4, span=(0, 2), seed=1)
    run = hj.solve(problem, hj.BoundaryValue(), engine=engine)
    assert run.attrs["status"] == "success"
    alike = problem.replace(objective=hj.Objective(loss_weight=5.0, k=0.0))
    assert run.hamjl.statistics["cost"] > 1.001 * hj.solve(alike, hj.BoundaryValue()).hamjl.statistics["cost"]


def test_laws_that_need_neurons_at_rest_refuse_integrators():
    network = hj.Network.oscillators()
    problem = hj.Problem(network, hj.Objective(), target=0.1, span=(0, 1))
    with pytest.raises(hj.ProblemError, match="BackpropLimit needs neurons that come to rest"):
        hj.solve(problem, hj.BackpropLimit())
    with pytest.raises(hj.ProblemError, match="HamiltonianLearning needs neurons that come to rest"):
        hj.solve(problem, hj.HamiltonianLearning(instantaneous=True), hj.Euler(0.1))
    with pytest.raises(hj.ProblemError, match="the network at rest needs neurons"):
        network.at_rest([1.0, 1.0])
    with pytest.raises(hj.ProblemError, match="this analysis needs neurons"):
        hj.solve(problem, hj.CostateReversal()).hamjl.backprop_gradient()
