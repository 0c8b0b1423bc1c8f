"""Learn to read digits on-line: the 8x8 digits of scikit-learn, shown one at a time, by costate reversal (18).

Each digit stays for one unit of time, eight steps of Euler. The network first answers, and that answer is scored;
then it is told for a quarter of the time which digit it was, and in the rest the error flows back. From neuron to
neuron a signal needs 1/c, one step: that is fast enough for all to settle before the next digit. There is no replay,
no batch and no training loop: the stream is a problem over time, where a NaN target means that nothing is supervised.
It is integrated a hundred digits at a time, each stretch from where the last one ended, only so that the weights on
the way need not all be kept.

Beside it, stochastic gradient descent with momentum on the same stream from the same weights. A digit adds S τ c q ∇L
to p_w over its S supervised steps; p_w decays by μ = (1 - θ τ)^8 until the next digit, and moves w by p_w/(m c) in the
meantime: that is momentum μ and learning rate S τ q (1 - μ)/(θ m).

    pip install ".[examples]"
    python examples/digits.py --output figures
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import xarray as xr
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import hamjl as hj

matplotlib.use("agg")
HIDDEN, STEPS, CHUNK = 40, 8, 100
ANSWER, SUPERVISED = STEPS // 2, STEPS // 4  # step of the answer, and for how many steps the digit is then told
STEP, VELOCITY = 1 / STEPS, float(STEPS)
MOMENTUM, RATE = 0.9, 0.004
THETA = (1 - MOMENTUM ** (1 / STEPS)) / STEP
MASS = SUPERVISED * STEP * (1 - MOMENTUM) / (THETA * RATE)
RULES = ("costate reversal", "SGD with momentum")
COLOURS = ("#0072B2", "#D55E00")


def data(train: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pixels and digits to learn from (at most `train`), and those held out, a quarter; scaled by the former's mean."""
    pixels, digits = load_digits(return_X_y=True)
    seen, unseen, told, truth = train_test_split(pixels, digits, test_size=0.25, random_state=0, stratify=digits)
    seen, told = seen[:train], told[:train]
    mean, scale = seen.mean(), seen.std()
    return (seen - mean) / scale, told, (unseen - mean) / scale, truth


def network() -> hj.Network:
    """64-40-10 with bias: tanh, and linear outputs."""
    linear = {f"x{k}": "identity" for k in range(HIDDEN, HIDDEN + 10)}
    return hj.Network.layered([64, HIDDEN, 10], bias=True, activation=linear, velocity=VELOCITY)


def initial_weights(net: hj.Network) -> np.ndarray:
    """Normal, with a variance of one over the number of arcs into the neuron."""
    fan_in = np.bincount(net.target)[net.target]
    return np.random.default_rng(0).normal(size=len(fan_in)) / np.sqrt(fan_in)


def stretch(net: hj.Network, start: int, pixels: np.ndarray, digits: np.ndarray, initial: object) -> hj.Problem:
    """The problem of reading these digits one after the other from time `start` on."""
    when = start + np.arange(len(digits) + 1)
    shown = np.concatenate((pixels, pixels[-1:]))
    times = (when[:-1, None] + np.array([0, ANSWER, ANSWER + SUPERVISED]) * STEP).ravel()
    target = np.full((len(times), 10), np.nan)
    target[1::3] = np.eye(10)[digits]
    target = xr.DataArray(
        np.concatenate((target, target[:1])), {"time": np.append(times, when[-1])}, ("time", "channel")
    )
    return hj.Problem(
        net,
        hj.Objective(loss="softmax_cross_entropy", m=MASS, dissipation=THETA),
        inputs=hj.signals.series(xr.DataArray(shown, {"time": when.astype(float)}, ("time", "channel")), "previous"),
        target=hj.signals.series(target, "previous"),
        span=(start, start + len(digits)),
        initial=initial,
    )


def by_costate_reversal(net, stream, weights, heldout, engine):
    """Whether each answer was right, and the held-out accuracy after each stretch."""
    right, accuracy, state = [], [], {"w": weights}
    for start in range(0, len(stream[1]), CHUNK):
        pixels, digits = (part[start : start + CHUNK] for part in stream)
        problem = stretch(net, start, pixels, digits, state)
        answers = start + np.arange(len(digits)) + ANSWER * STEP
        run = hj.solve(
            problem, hj.CostateReversal(), hj.Euler(STEP), times=np.append(answers, problem.span[1]), engine=engine
        )
        right.extend(run.y.values[:-1].argmax(axis=1) == digits)
        state = run.isel(time=-1)
        accuracy.append(read(net, state.w.values, *heldout))
    return right, accuracy, run.attrs["engine"]


def by_sgd(net, stream, weights, heldout):
    """The same by stochastic gradient descent with momentum."""
    matrix = net.matrix(weights)
    hidden, output = (
        matrix[:HIDDEN, :65].copy(),
        matrix[HIDDEN:, 64 : 65 + HIDDEN].copy(),
    )  # (·, pixels + bias), (·, bias + hidden)
    speed = [np.zeros_like(hidden), np.zeros_like(output)]
    right, accuracy = [], []
    for k, (pixels, digit) in enumerate(zip(*stream, strict=True), 1):
        u = np.append(pixels, 1.0)
        h = np.append(1.0, np.tanh(hidden @ u))
        y = output @ h
        right.append(y.argmax() == digit)
        error = np.exp(y - y.max())
        error = error / error.sum() - np.eye(10)[digit]
        delta = (1 - h[1:] ** 2) * (error @ output[:, 1:])
        for w, v, gradient in zip((hidden, output), speed, (np.outer(delta, u), np.outer(error, h)), strict=True):
            v *= MOMENTUM
            v += gradient
            w -= RATE * v
        if k % CHUNK == 0 or k == len(stream[1]):
            matrix[:HIDDEN, :65], matrix[HIDDEN:, 64 : 65 + HIDDEN] = hidden, output
            accuracy.append(read(net, net.arc_values(matrix), *heldout))
    return right, accuracy


def read(net: hj.Network, weights: np.ndarray, pixels: np.ndarray, digits: np.ndarray) -> float:
    """Accuracy of the network at rest."""
    return float((net.at_rest(weights, pixels).values.argmax(axis=1) == digits).mean())


def learn(train: int, passes: int, engine: str) -> xr.Dataset:
    """Both rules on the same stream: answers on ``time`` and held-out accuracy on ``after``, both counted in digits."""
    seen, told, *heldout = data(train)
    rng = np.random.default_rng(1)
    order = np.concatenate([rng.permutation(len(told)) for _ in range(passes)])
    stream, net = (seen[order], told[order]), network()
    weights = initial_weights(net)
    ours, ours_heldout, ran_on = by_costate_reversal(net, stream, weights, heldout, engine)
    theirs, theirs_heldout = by_sgd(net, stream, weights, heldout)
    after = np.append(np.arange(CHUNK, len(order), CHUNK), len(order))
    right = xr.DataArray([ours, theirs], {"rule": list(RULES), "time": np.arange(len(order))}, ("rule", "time"))
    accuracy = xr.DataArray([ours_heldout, theirs_heldout], {"rule": list(RULES), "after": after}, ("rule", "after"))
    result = xr.Dataset({"right": right, "heldout": accuracy})
    result["prequential"] = result.right.astype(float).rolling(time=200, min_periods=50).mean()
    result.right.attrs["long_name"] = "whether the answer before supervision was right"
    result.prequential.attrs["long_name"] = "share of right answers before supervision, last 200 digits"
    result.heldout.attrs["long_name"] = "accuracy on the held-out digits"
    recipe = {"train": train, "passes": passes, "theta": THETA, "m": MASS, "momentum": MOMENTUM, "learning_rate": RATE}
    return result.assign_attrs(title="digits learnt on-line", engine=ran_on, **recipe)


def draw(result: xr.Dataset):
    """Accuracies over time."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained", sharey=True)
    for rule, colour, style in zip(RULES, COLOURS, ("-", (0, (4, 2))), strict=True):
        for ax, name in zip(axes, ("prequential", "heldout"), strict=True):
            values = result[name].sel(rule=rule)
            ax.plot(values[values.dims[0]], values, color=colour, ls=style, lw=1.4, label=rule)
    axes[0].set(title="Answers before supervision, last 200 digits", ylabel="accuracy", ylim=(0.5, 1.01))
    axes[1].set(title="Held-out digits")
    for ax in axes:
        ax.set_xlabel("digits shown")
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.3)
    axes[1].legend(frameon=False, loc="lower right")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", default="figures", type=Path)
    parser.add_argument("--train", default=1347, type=int, help="how many digits to learn from")
    parser.add_argument("--passes", default=5, type=int, help="how often the stream shows each")
    parser.add_argument("--engine", default="auto")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    result = learn(given.train, given.passes, given.engine)
    result.to_netcdf(given.output / "digits.nc")
    draw(result).savefig(given.output / "digits.png", dpi=160)
    print(f"engine {result.attrs['engine']}; {result.sizes['time']} digits shown")
    for rule in RULES:
        one = result.sel(rule=rule)
        first = one.right[: min(given.train, one.sizes["time"])].mean()
        print(f"  {rule:18} held out {float(one.heldout[-1]):.4f}, first pass before supervision {float(first):.4f}")


if __name__ == "__main__":
    main()
