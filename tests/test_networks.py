"""Networks from layers, parts of networks, and other libraries' networks: networkx's and torch's."""

import sys
from types import SimpleNamespace

import autodiff
import networkx
import numpy as np
import pytest
import xarray as xr
from conftest import random_problem

import hamjl as hj


# -- layers ------------------------------------------------------------------------------------------------------------
def test_layers_have_one_activation_and_velocity_each():
    given = hj.Network.layered([2, 3, 1], activation=["sin", "identity"], velocity=[2.0, 5.0])
    assert given == hj.Network.layered([2, 3, 1], activation=["sin"] * 3 + ["identity"], velocity=[2, 2, 2, 5])
    assert given.activation == ("sin", "sin", "sin", "identity")
    assert hj.Network.layered([2, 1, 1], activation=["sin", "tanh"]).activation == ("sin", "tanh")
    assert hj.Network.from_dict(given.to_dict()) == given


def test_inputs_of_layers_have_names():
    network = hj.Network.layered([2, 3, 1], inputs=["now", "before"], bias=True)
    assert network.inputs == ("now", "before", "bias")
    assert network.arcs[:3] == ("now->x0", "before->x0", "bias->x0")
    assert hj.Network.from_dict(network.to_dict()) == network
    assert "inputs" not in hj.Network.layered([2, 3, 1]).to_dict()  # what was written before is the same


# -- parts of a network ------------------------------------------------------------------------------------------------
NET = hj.Network.from_arcs(
    [("u", "a"), ("v", "b"), ("a", "b"), ("b", "b"), ("b", "c"), ("a", "c")],
    inputs=["u", "v"],
    outputs=["c"],
    activation={"a": "sin", "c": "identity"},
    velocity={"c": 3.0},
)


def test_a_subgraph_keeps_what_its_vertices_are():
    found = NET.subgraph([("a", "c"), "u->a"])
    expected = hj.Network.from_arcs(
        [("u", "a"), ("a", "c")], inputs=["u"], activation=["sin", "identity"], velocity=[1.0, 3.0], outputs=["c"]
    )
    assert found == expected
    assert hj.Network.from_dict(found.to_dict()) == expected
    assert NET.subgraph(NET.arcs) == NET == NET.subgraph(reversed(NET.arcs))
    assert NET.subgraph(xr.DataArray(list(expected.arcs), dims="arc")) == expected


def test_pruning_takes_arcs_away_by_their_labels():
    expected = NET.subgraph(["u->a", "a->b", "b->c"])
    gone = np.array([arc not in expected.arcs for arc in NET.arcs])
    labelled = xr.DataArray(gone, {"arc": list(NET.arcs)}, "arc")
    named = {arc: True for arc, away in zip(NET.arcs, gone, strict=True) if away}
    pairs = {tuple(arc.split("->")): away for arc, away in zip(NET.arcs, gone, strict=True)}
    for where in (gone, gone.tolist(), labelled, labelled[::-1], labelled.drop_vars("arc"), named, pairs):
        assert NET.prune(where) == expected
    assert NET.prune({}) == NET


def test_a_pruned_network_goes_on_with_the_weights_it_has():
    problem = random_problem(1)
    run = hj.solve(problem, times=3)
    end = run.isel(time=-1)
    pruned = problem.network.prune(abs(end.w) < 0.3)
    assert 0 < len(pruned.arcs) < len(problem.network.arcs)
    later = problem.replace(network=pruned, initial=end)
    np.testing.assert_array_equal(later.initial_state()["w"], end.w.sel(arc=list(pruned.arcs)))
    np.testing.assert_array_equal(later.initial_state()["p_x"], end.p_x.sel(neuron=list(pruned.neurons)))
    assert hj.solve(later, times=3).attrs["status"] == "success"


# -- networkx ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "network",
    [
        NET,
        random_problem(2, activation=["tanh", "sin", "a + sin(a)", "identity"]).network,
        hj.Network.layered([2, 3, 2], bias=True, velocity=[1.0, 4.0]),
        hj.Network.fully_connected(3, self_loops=True, outputs=["x2", "x0"][::-1]),
        hj.Network.from_arcs([("a", "b"), ("b", "c")], outputs=["b"]),  # no input, an output in the middle
    ],
    ids=["digraph", "random", "layers", "cycle", "chain"],
)
def test_networkx_and_back(network):
    graph = network.to_networkx()
    assert set(graph.edges) == {tuple(arc.split("->")) for arc in network.arcs}
    assert hj.Network.from_networkx(graph) == network
    assert hj.Network.from_networkx(graph, activation="erf").activation == ("erf",) * len(network.neurons)
    assert networkx.is_directed_acyclic_graph(graph) == network.is_acyclic


def test_weights_go_with_the_arcs():
    run = hj.solve(random_problem(2), times=2)
    network = run.hamjl.recipe.problem.network
    graph = network.to_networkx(run.isel(time=-1))
    matrix = networkx.to_numpy_array(graph, nodelist=network.vertices)  # [source, target]
    np.testing.assert_array_equal(network.arc_values(matrix.T[len(network.inputs) :]), run.w[-1])
    again = random_problem(2).replace(initial={"w": networkx.get_edge_attributes(graph, "weight")})
    np.testing.assert_array_equal(again.initial_state()["w"], run.w[-1])


def test_other_attributes_of_nodes_mean_nothing():
    graph = networkx.DiGraph([("u", "x"), ("x", "y")])
    graph.nodes["u"]["kind"] = ["a", "list"]
    graph.nodes["x"]["kind"] = "output"
    assert hj.Network.from_networkx(graph) == hj.Network.from_arcs(
        [("u", "x"), ("x", "y")], inputs=["u"], outputs=["y"]
    )


# -- torch -------------------------------------------------------------------------------------------------------------
MODELS = {
    "perceptron": ([("Linear", 3, 5), ("Tanh",), ("Linear", 5, 4), ("Sigmoid",), ("Linear", 4, 2)], []),
    "no bias": ([("Linear", 3, 4, False), ("SiLU",), ("Linear", 4, 1, False)], []),
    "some biases": ([("Linear", 3, 4, False), ("Mish",), ("Linear", 4, 5), ("GELU",), ("Linear", 5, 2, False)], []),
    "two in a row": ([("Linear", 3, 4), ("Linear", 4, 2), ("Softplus", 2.0)], []),
    "aside": ([("Linear", 3, 4), ("Dropout", 0.5), ("GELU", "tanh"), ("Identity",), ("Linear", 4, 2)], ["0", "4"]),
    "others": (
        [("Linear", 3, 4), ("Tanhshrink",), ("Linear", 4, 3), ("LogSigmoid",), ("Linear", 3, 1), ("Softplus",)],
        [],
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_of_torch_is_the_network_at_rest(kind, elsewhere):
    """And its state_dict is the way back. Torch takes softplus for its asymptote from 20 on, off by 2e-9."""
    layers, prefix = MODELS[kind]
    rows = np.random.default_rng(0).normal(size=(9, 3))
    answer = elsewhere(autodiff.sequential, layers, rows, prefix)
    np.testing.assert_allclose(answer["found"], answer["expected"], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(answer["back"], answer["expected"])
    assert np.abs(answer["rival"] - answer["expected"]).max() > 1e-2
    assert answer["keys"][0] == answer["keys"][1]


class Tensor:
    """What is asked of one of torch."""

    def __init__(self, values) -> None:
        self.values = values

    def detach(self) -> "Tensor":
        return self

    cpu = double = detach

    def numpy(self) -> np.ndarray:
        return np.asarray(self.values)


class Linear:
    def __init__(self, weight, bias=None) -> None:
        self.weight, self.bias = Tensor(weight), None if bias is None else Tensor(bias)


class Sequential(list):
    pass


def layer(kind: str, **attributes) -> object:
    return type(kind, (SimpleNamespace,), {})(**attributes)


def test_layers_are_known_by_the_names_of_their_classes():
    """By hand: identity on tanh(2 u0 - u1 + 0.5), without torch."""
    model = Sequential([Sequential([Linear([[2.0, -1.0]], [0.5]), layer("Tanh")]), Linear([[3.0], [-4.0]])])
    network, weights = hj.Network.from_torch(model, inputs=["a", "b"])
    assert network == hj.Network.from_arcs(
        [("a", "x0"), ("b", "x0"), ("bias", "x0"), ("x0", "x1"), ("x0", "x2")],
        inputs=["a", "b"],
        outputs=["x1", "x2"],
        activation=["tanh", "identity", "identity"],
    )
    assert weights.to_series().to_dict() == {"a->x0": 2, "b->x0": -1, "bias->x0": 0.5, "x0->x1": 3, "x0->x2": -4}
    y = np.tanh(2 * 0.3 - 0.7 + 0.5)
    np.testing.assert_allclose(network.at_rest(weights, [0.3, 0.7]), [3 * y, -4 * y], rtol=1e-14)
    problem = hj.Problem(network, hj.Objective(), inputs=0.0, span=(0, 1), initial={"w": weights})
    np.testing.assert_array_equal(problem.initial_state()["w"], weights)


def test_pruned_weights_are_zero_in_a_state_dict(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(tensor=np.array))
    network = hj.Network.layered([2, 2, 1], bias=True, activation=["tanh", "identity"])
    weights = xr.DataArray(np.arange(1.0, 10.0), {"arc": list(network.arcs)}, "arc")
    state = network.prune({"u1->x0": True, "bias->x2": True}).to_state_dict(
        weights.drop_sel(arc=["u1->x0", "bias->x2"])
    )
    assert {name: values.tolist() for name, values in state.items()} == {
        "0.weight": [[1, 0], [4, 5]],
        "0.bias": [3, 6],
        "2.weight": [[8, 9]],
    }


# -- wrong input -------------------------------------------------------------------------------------------------------
ONE = Linear([[1.0]], [0.0])
WRONG = {
    "names of inputs": (lambda: hj.Network.layered([2, 1], inputs=["a"]), "must name the 2 of sizes, got 1"),
    "inputs that are no names": (lambda: hj.Network.layered([2, 1], inputs="ab"), "list of names"),
    "input as a neuron": (lambda: hj.Network.layered([1, 1], inputs=["x0"]), "an input or a neuron"),
    "bias twice": (lambda: hj.Network.layered([1, 1], inputs=["bias"], bias=True), "'bias' twice"),
    "activations of layers": (lambda: hj.Network.layered([1, 2, 3], activation=["tanh"] * 3), "one value per neuron"),
    "arc of a subgraph": (lambda: NET.subgraph(["u->c"]), "An arc of a subgraph must be a known name, got 'u->c'"),
    "arcs as a text": (lambda: NET.subgraph("u->a"), "list of labels or pairs"),
    "arcs as a number": (lambda: NET.subgraph(3), "list of labels or pairs"),
    "arcs as one array": (lambda: NET.subgraph(np.array(1.0)), "list of labels or pairs"),
    "arc as a number": (lambda: NET.subgraph([3]), "An arc of a subgraph"),
    "no arc": (lambda: NET.subgraph([]), "lead to every output, got 'c' without"),
    "output cut off": (lambda: NET.prune({"b->c": True, "a->c": True}), "lead to every output, got 'c' without"),
    "where of numbers": (lambda: NET.prune(np.zeros(6)), "true or false for each of 6 arcs"),
    "where of another shape": (lambda: NET.prune([True]), "true or false for each of 6 arcs"),
    "where of numbers by name": (lambda: NET.prune({"u->a": 0.5}), "true or false"),
    "where of other names": (lambda: NET.prune({"u->c": True}), "An arc to prune must be a known name"),
    "where of other labels": (
        lambda: NET.prune(xr.DataArray([True] * 6, {"arc": list("abcdef")}, "arc")),
        "this network's arcs by name",
    ),
    "where in time": (lambda: NET.prune(xr.DataArray(np.ones((2, 6), bool), dims=("time", "arc"))), "select one time"),
    "where a text": (lambda: NET.prune("small"), "true or false"),
    "activation of a node": (
        lambda: hj.Network.from_networkx(_with_attribute("activation", "relu")),
        "softplus",
    ),
    "velocity of a node": (lambda: hj.Network.from_networkx(_with_attribute("velocity", "fast")), "positive number"),
    "weights of a graph": (lambda: NET.to_networkx([1.0]), "one for each of 6 arcs"),
    "no model": (lambda: hj.Network.from_torch("model"), "Linear or a smooth activation, got str"),
    "an empty model": (lambda: hj.Network.from_torch(Sequential()), "must hold a Linear layer"),
    "relu": (
        lambda: hj.Network.from_torch(Sequential([ONE, layer("ReLU")])),
        "got ReLU: what comes near it is 'softplus'",
    ),
    "convolution": (lambda: hj.Network.from_torch(Sequential([layer("Conv1d")])), "got Conv1d: choose from Tanh"),
    "softmax": (lambda: hj.Network.from_torch(Sequential([ONE, layer("Softmax")])), "loss 'softmax_cross_entropy'"),
    "activation first": (lambda: hj.Network.from_torch(Sequential([layer("Tanh"), ONE])), "follow a Linear layer"),
    "a list of layers": (lambda: hj.Network.from_torch([ONE]), "got list"),
    "activation twice": (
        lambda: hj.Network.from_torch(Sequential([ONE, layer("Tanh"), layer("Tanh")])),
        "follow a Linear layer, got Tanh elsewhere",
    ),
    "widths": (lambda: hj.Network.from_torch(Sequential([ONE, Linear([[1.0, 2.0]])])), "got 2 of 1"),
    "parameters": (lambda: hj.Network.from_torch(Sequential([Linear([[np.nan]])])), "finite numbers"),
    "no parameters": (lambda: hj.Network.from_torch(Sequential([Linear([])])), "finite numbers"),
    "names of a model": (
        lambda: hj.Network.from_torch(Sequential([ONE]), inputs=["a", "b"]),
        "must name the 1 of sizes",
    ),
}


def _with_attribute(name: str, value: object) -> networkx.DiGraph:
    graph = networkx.DiGraph([("u", "x")])
    graph.nodes["x"][name] = value
    return graph


@pytest.mark.parametrize(("build", "rule"), WRONG.values(), ids=WRONG)
def test_wrong_input_gets_one_sentence(build, rule):
    with pytest.raises(hj.ProblemError, match=rule) as raised:
        build()
    assert "\n" not in str(raised.value)


def test_a_state_dict_is_of_layers(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(tensor=np.array))
    skipping = hj.Network.from_arcs([("u", "a"), ("a", "b"), ("u", "b")], inputs=["u"])
    for network in (NET, skipping):
        with pytest.raises(hj.ProblemError, match="each fed by the one before"):
            network.to_state_dict(np.ones(len(network.arcs)))
    layers = hj.Network.layered([1, 1])
    for names in ("0", ["0", "2"], [0]):
        with pytest.raises(hj.ProblemError, match="one text for each of 1 layers"):
            layers.to_state_dict([1.0], names)


@pytest.mark.parametrize(("name", "use"), [("torch", hj.Network.to_state_dict), ("networkx", hj.Network.to_networkx)])
def test_what_needs_another_library_says_so(name, use, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(hj.EngineError, match=rf"needs {name}.*pip install .hamjl\[{name}\]"):
        use(hj.Network.layered([1, 1]), [1.0])
