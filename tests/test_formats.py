"""Files say their format: those of the first hamjl, which did not, are still read, and newer ones are refused."""

import json

import numpy as np
import pytest

import hamjl as hj

# written by the first hamjl, before there were formats
NETWORK = (
    '{"kind": "fully_connected", "neurons": 1, "inputs": 0, "bias": false, "self_loops": true, "outputs": ["x0"], '
    '"activation": "tanh", "velocity": 1.0}'
)
OBJECTIVE = (
    '{"loss": "squared_error", "loss_weight": 10.0, "regularizer": "quadratic", "k": 0.0, "m": 1.0, '
    '"dissipation": 0.0, "scaled_by_velocity": false}'
)
RECIPE = (
    f'{{"problem": {{"span": [0.0, 1.0], "seed": 0, "network": {NETWORK}, "objective": {OBJECTIVE}, "inputs": {{}}, '
    '"target": {"kind": "constant", "value": 0.5}, "initial": {"x": 0.25, "w": 0.5}}, '
    '"law": {"name": "costate_reversal"}, "method": {"name": "Euler", "step": 0.5}, "engine": "python"}'
)
CHECKPOINT = {
    **{"recipe": RECIPE, "engine": "python", "start": 0.0, "time": 1.0, "sampled": 1.0, "status": "success"},
    "state": {"y": np.array([0.1, 0.5, 0.0, 0.0]), "steps": 2, "sign": 1.0, "guess": np.zeros(0)},
}
SWEEP = {  # over q = 1, 2
    "format": 1, "sweep": "ca1113f292212a8739edbe5cb5f853aa10966a54a974b68d527f1067637b3f47",
    "over": {"q": 2}, "sha256": "9367b6b85c4a6ebf57bc74df6acc02b55bdeddd8e9d44fcbf7aab36ee66bd3a7",
}  # fmt: skip
PROBLEM = """
law = {name = "costate_reversal"}
method = {name = "Euler", step = 0.5}
engine = "python"

[problem]
span = [0, 1]
network = {kind = "fully_connected", neurons = 1, self_loops = true}
objective = {kind = "tracking", q = 10}
target = {kind = "constant", value = 0.5}
initial = {x = 0.25, w = 0.5}
"""


def recipe() -> hj.Recipe:
    problem = hj.Problem(
        hj.Network.fully_connected(1, self_loops=True),
        hj.Objective.tracking(q=10),
        target=hj.signals.constant(0.5),
        span=(0, 1),
        initial={"x": 0.25, "w": 0.5},
    )
    return hj.Recipe(problem, method=hj.Euler(0.5), engine="python")


def test_a_recipe_says_its_format_and_the_first_ones_are_read():
    assert json.loads(recipe().packed)["format"] == 1
    assert hj.Recipe.unpack(RECIPE) == hj.Recipe.unpack(recipe().packed) == recipe()


def test_a_problem_file_says_its_format_and_the_first_ones_are_read(tmp_path):
    recipe().save(tmp_path / "new.toml")
    assert "format = 1\n" in (tmp_path / "new.toml").read_text()
    (tmp_path / "old.toml").write_text(PROBLEM)
    assert hj.Recipe.load(tmp_path / "old.toml") == hj.Recipe.load(tmp_path / "new.toml") == recipe()


def test_a_checkpoint_says_its_format_and_the_first_ones_are_read():
    """Euler by hand: x' = tanh(w x) - x, w' = -p_w/m, where p = 0."""
    session = hj.Session.restore(CHECKPOINT)
    assert session.checkpoint()["format"] == 1
    last = session.advance(1.5, progress=False).isel(time=-1)
    assert last.x.item() == pytest.approx(0.1 + 0.5 * (np.tanh(0.05) - 0.1), rel=1e-14)
    assert last.w.item() == 0.5


def test_a_sweep_begun_by_the_first_hamjl_goes_on(tmp_path):
    (tmp_path / "sweep.json").write_text(json.dumps(SWEEP))
    found = hj.sweep(recipe(), {"q": [1.0, 2.0]}, workers=1, store=tmp_path)
    assert found.sizes["q"] == 2


@pytest.mark.parametrize("number", [2, 10**30, 0, "1", True, 1.5], ids=str)
def test_what_a_newer_hamjl_wrote_is_refused_in_one_sentence(number, tmp_path):
    text = json.dumps({"format": number, "more": 1, **json.loads(RECIPE)})
    with pytest.raises(hj.ProblemError, match=r"^a recipe must be of format 1, got .*: read it with a newer hamjl\.$"):
        hj.Recipe.unpack(text)
    path = tmp_path / "problem.toml"
    path.write_text(f"format = {json.dumps(number)}\narrays = 'gone.nc'\n" + PROBLEM)
    with pytest.raises(hj.ProblemError, match=r"^a recipe must be of format 1, got .*a newer hamjl\.$"):
        hj.Recipe.load(path)
    with pytest.raises(hj.ProblemError, match=r"^a checkpoint must be what Session.checkpoint .*\)\.$") as caught:
        hj.Session.restore(CHECKPOINT | {"format": number, "more": 1})
    assert (f"is of format {number}, which a newer hamjl reads" in str(caught.value)) == (number == 2)
