"""Initial weights: draws that look at the network, matrices, and what another network has."""

import networkx
import numpy as np
import pandas
import pytest
import xarray as xr
from conftest import random_problem

import hamjl as hj

LAYERS = [30, 50, 20]


def problem(network: hj.Network, initial, seed: int = 0) -> hj.Problem:
    return hj.Problem(network, hj.Objective(), inputs=0.0, span=(0, 1), initial=initial, seed=seed)


def blocks(rule: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The matrices of both layers, (after, before), and the biases, of 30-50-20."""
    network = hj.Network.layered(LAYERS, bias=True)
    given = problem(network, rule, seed)
    for name in ("x", "p_x", "p_w"):
        assert not given.initial_state()[name].any()
    matrix = xr.DataArray(
        network.matrix(given.initial_state()["w"]),
        {"i": list(network.neurons), "j": list(network.vertices)},
        ("i", "j"),
    )
    hidden, output = network.neurons[:50], network.neurons[50:]
    first = matrix.sel(i=list(hidden), j=[name for name in network.inputs if name != "bias"])
    return first.values, matrix.sel(i=list(output), j=list(hidden)).values, matrix.sel(j="bias").values


# -- draws by name -----------------------------------------------------------------------------------------------------
def test_glorot_in_layers():
    """Glorot and Bengio (16): U[-l, l], l = √6/√(before + after), to its edge and no further, variance l²/3."""
    *matrices, bias = blocks("glorot")
    for matrix in matrices:
        limit = np.sqrt(6 / sum(matrix.shape))
        assert 0.99 * limit < np.abs(matrix).max() <= limit
        assert matrix.var() == pytest.approx(limit**2 / 3, rel=0.1)
    assert not bias.any()


def test_he_in_layers():
    """He et al. (10): normal, variance 2/before; a normal variable's fourth moment is 3, a uniform one's 1.8."""
    *matrices, bias = blocks("he")
    for matrix in matrices:
        assert matrix.var() == pytest.approx(2 / matrix.shape[1], rel=0.1)
        assert (matrix**4).mean() / matrix.var() ** 2 == pytest.approx(3.0, rel=0.2)
    assert not bias.any()


def test_orthogonal_in_layers():
    """30 orthonormal columns of the first layer, 20 orthonormal rows of the second."""
    first, second, bias = blocks("orthogonal")
    np.testing.assert_allclose(first.T @ first, np.eye(30), atol=1e-13)
    np.testing.assert_allclose(second @ second.T, np.eye(20), atol=1e-13)
    assert not bias.any()


def test_orthogonal_matrices_are_drawn_evenly():
    """Without the signs of R's diagonal that of the first entry would be always the same; it is ±1 for one arc."""
    one = hj.Network.from_arcs([("u", "x")], inputs=["u"])
    signs = [problem(one, "orthogonal", seed).initial_state()["w"][0] for seed in range(40)]
    assert set(np.round(signs, 12)) == {-1.0, 1.0}
    assert 8 < sum(sign > 0 for sign in signs) < 32


def test_orthogonal_in_a_recurrent_network():
    """The square matrix of the neurons, and that of the inputs, apart."""
    network = hj.Network.fully_connected(6, inputs=2, bias=True, self_loops=True)
    matrix = network.matrix(problem(network, "orthogonal").initial_state()["w"])
    np.testing.assert_allclose(abs(np.linalg.eigvals(matrix[:, 3:])), 1.0, rtol=1e-12)
    np.testing.assert_allclose(matrix[:, :2].T @ matrix[:, :2], np.eye(2), atol=1e-13)
    assert not matrix[:, 2].any()


SPREADS = {"glorot": lambda before, after: np.sqrt(2 / (before + after)), "he": lambda before, _: np.sqrt(2 / before)}


@pytest.mark.parametrize("rule", SPREADS)
def test_fans_of_a_digraph_are_counted_arc_by_arc(rule):
    """Standard deviations over many seeds, for every arc of a graph without layers."""
    arcs = [("u", "a"), ("u", "b"), ("a", "b"), ("b", "b"), ("b", "c"), ("a", "c"), ("c", "a"), ("bias", "b")]
    network = hj.Network.from_arcs(arcs, inputs=["u"])
    draws = np.array([problem(network, rule, seed).initial_state()["w"] for seed in range(800)])
    into = {"a": 2, "b": 3, "c": 2}  # by hand, the bias not counted
    out = {"u": 2, "a": 2, "b": 2, "c": 1}
    for arc, drawn in zip(network.arcs, draws.T, strict=True):
        j, i = arc.split("->")
        expected = 0.0 if j == "bias" else SPREADS[rule](into[i], out[j])
        assert drawn.std() == pytest.approx(expected, rel=0.1), arc


@pytest.mark.parametrize("rule", ["glorot", "he", "orthogonal"])
def test_draws_follow_the_seed_and_the_recipe(rule):
    first, again, other = blocks(rule, 1), blocks(rule, 1), blocks(rule, 2)
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.allclose(first[0], other[0])
    given = problem(hj.Network.layered([2, 3, 1]), {"w": rule, "x": 0.5}, 4)
    back = hj.Recipe.unpack(hj.Recipe(given).packed).problem
    np.testing.assert_array_equal(back.initial_state()["w"], given.initial_state()["w"])
    assert back == given


def test_draws_in_a_problem_file(tmp_path):
    (tmp_path / "problem.toml").write_text(
        "[problem]\nspan = [0, 1]\ninputs = 0.1\ninitial = {w = 'he'}\n"
        "network = {kind = 'layered', sizes = [2, 3, 2], inputs = ['a', 'b'], activation = ['tanh', 'identity']}\n"
    )
    given = hj.Recipe.load(tmp_path / "problem.toml").problem
    network = hj.Network.layered([2, 3, 2], inputs=["a", "b"], activation=["tanh", "identity"])
    assert given == hj.Problem(network, hj.Objective(), inputs=0.1, span=(0, 1), initial="he")


# -- matrices ----------------------------------------------------------------------------------------------------------
def weighted() -> tuple[hj.Network, np.ndarray]:
    """A random digraph and the matrix of its weights."""
    network = random_problem(3).network
    return network, network.matrix(np.random.default_rng(1).normal(size=len(network.arcs)))


def test_a_matrix_is_of_targets_and_sources():
    network, matrix = weighted()
    expected = [matrix[i, j] for j, i in zip(network.source, network.target, strict=True)]
    rows, columns = list(network.neurons), list(network.vertices)
    labelled = xr.DataArray(matrix, {"target": rows, "source": columns}, ("target", "source"))
    frame = pandas.DataFrame(matrix, index=rows, columns=columns)
    shuffled = labelled.transpose("source", "target")[::-1, ::-1]
    plain = labelled.drop_vars(["target", "source"])
    for given in (matrix, matrix.tolist(), plain, labelled, shuffled, frame, frame.loc[:, ::-1]):
        np.testing.assert_array_equal(problem(network, {"w": given}).initial_state()["w"], expected)
    np.testing.assert_array_equal(problem(network, {"p_w": shuffled}).initial_state()["p_w"], expected)


def test_the_weights_of_a_trajectory_go_on_as_a_matrix(run):
    given = run.hamjl.recipe.problem.replace(initial={"w": run.hamjl.weights().isel(time=-1)})
    np.testing.assert_array_equal(given.initial_state()["w"], run.w[-1])


# -- what another network has ------------------------------------------------------------------------------------------
def test_weights_of_another_network_go_by_arc():
    small, large = hj.Network.layered([2, 3, 1]), hj.Network.layered([2, 3, 1], bias=True)
    run = hj.solve(problem(small, {"x": 0.3, "w": {"normal": [0, 1]}, "p_w": 0.2}), times=3)
    for initial in (run.isel(time=-1), {name: run[name][-1] for name in ("x", "w", "p_w")}):
        found = problem(large, initial, seed=5).initial_state()
        drawn = problem(large, "uniform", seed=5).initial_state()
        own = dict(zip(run.arc.values, run.w[-1].values, strict=True))
        assert len(own) == 9
        assert len(large.arcs) == 13
        np.testing.assert_array_equal(found["x"], run.x[-1])
        for k, arc in enumerate(large.arcs):
            assert found["p_w"][k] == (float(run.p_w[-1].sel(arc=arc)) if arc in own else 0.0)
            if arc in own:
                assert found["w"][k] == own[arc] != drawn["w"][k]
            else:
                assert 0 <= found["w"][k] <= 1
    given = problem(large, run.isel(time=-1), seed=5)
    assert hj.Recipe.unpack(hj.Recipe(given).packed).problem == given
    assert len({tuple(given.replace(seed=seed).initial_state()["w"]) for seed in range(3)}) == 3


def test_some_weights_by_name():
    graph = networkx.DiGraph()
    graph.add_edge("u0", "x1", weight=0.25)
    network = hj.Network.layered([2, 2, 1])
    for given in ({"u0->x1": 0.25}, {("u0", "x1"): 0.25}, networkx.get_edge_attributes(graph, "weight")):
        found = problem(network, {"w": given}).initial_state()["w"]
        assert found[network.arcs.index("u0->x1")] == 0.25
        assert len(set(found)) == len(found)  # the others are drawn
    assert problem(network, {"x": {"x2": -0.5}}).initial_state()["x"][2] == -0.5


# -- wrong input -------------------------------------------------------------------------------------------------------
NET = hj.Network.layered([2, 2, 1])
COLUMNS = list(NET.vertices)
WRONG = {
    "draw": ("glorit", "did you mean 'glorot'"),
    "draw of w": ({"w": "xavier"}, "initial w .* known name, got 'xavier'"),
    "draw of x": ({"x": "glorot"}, "initial x must be an array"),
    "name": ({"w": {"u0->x9": 1.0}}, "A name of initial w .* got 'u0->x9'"),
    "name of a neuron": ({"x": {"y": 1.0}}, "A name of initial x"),
    "value by name": ({"w": {"u0->x0": "much"}}, "real numbers"),
    "several by name": ({"w": {"u0->x0": [1.0, 2.0]}}, "uniform"),
    "shape of a matrix": ({"w": np.zeros((2, 2))}, r"shape \(3, 5\), got \(2, 2\)"),
    "matrix of x": ({"x": np.zeros((3, 5))}, "only arcs have one"),
    "value where there is no arc": ({"w": np.ones((3, 5))}, "must be 0 where there is no arc, got 1 for 'x0->x0'"),
    "NaN in a matrix": ({"w": np.full((3, 5), np.nan)}, "finite"),
    "names of a matrix": (
        {"w": pandas.DataFrame(np.zeros((3, 5)), ["a", "b", "c"], COLUMNS)},
        "this network's vertices",
    ),
    "dimensions of a matrix": (
        {"w": xr.DataArray(np.zeros((2, 3, 5)), dims=("time", "target", "source"))},
        "on target and source, got .*time",
    ),
    "one dimension of a matrix": (
        {"w": xr.DataArray(np.zeros((3, 5)), dims=("target", "arc"))},
        "on target and source",
    ),
    "no arc shared": ({"w": xr.DataArray([1.0], {"arc": ["a->b"]}, "arc")}, "other labels"),
    "arcs twice": ({"w": xr.DataArray([1.0, 2.0], {"arc": ["u0->x0"] * 2}, "arc")}, "other labels"),
    "several times": ({"w": xr.DataArray(np.zeros((2, 6)), {"arc": list(NET.arcs)}, ("time", "arc"))}, "isel"),
}


@pytest.mark.parametrize(("initial", "rule"), WRONG.values(), ids=WRONG)
def test_wrong_initial_values_get_one_sentence(initial, rule):
    with pytest.raises(hj.ProblemError, match=rule) as raised:
        problem(NET, initial)
    assert "\n" not in str(raised.value)


# -- the same problem but for something --------------------------------------------------------------------------------
def test_replace_is_the_problem_built_anew():
    given = random_problem(0)
    other = hj.Objective(loss_weight=2.0)
    found = given.replace(objective=other, span=(0.0, 1.0), seed=7)
    assert found == hj.Problem(
        given.network, other, inputs=given.inputs, target=given.target, span=(0, 1), initial=given.initial, seed=7
    )
    assert given == random_problem(0)
    assert given.replace() == given
    assert given.replace(target=0.5).target != given.target


def test_replace_of_a_system():
    system = hj.SymbolicSystem(
        {"x": "a*x + v + u"}, ["v"], "x**2 + v**2", span=(0, 1), parameters={"a": 1.0}, signals={"u": 0.5}
    )
    assert system.replace() == system
    assert system.replace(parameters={"a": 2.0}).parameters == {"a": 2.0}
    with pytest.raises(
        hj.ProblemError, match="A part of a system must be a known name, got 'state': did you mean 'states'"
    ):
        system.replace(state={})


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"netwrk": 1}, "A part of a problem must be a known name, got 'netwrk': did you mean 'network'"),
        ({"span": (1, 0)}, "end after"),
        ({"network": hj.Network.layered([1, 1])}, "known name"),
    ],
)
def test_wrong_changes_get_one_sentence(changes, rule):
    with pytest.raises(hj.ProblemError, match=rule):
        random_problem(0).replace(**changes)
