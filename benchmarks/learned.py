"""Compare persistent ES of a learned optimiser with a loop written by hand: `python -m benchmarks.learned`.

A perceptron of 1666 weights for every parameter (`ml.learned.mlp_optimizer`) trains the network of the fractal
boundary, 16-16-1 on 272 points. Each core is one device, for the library (`ml.over_devices`) and for the loop by hand.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from rich.console import Console

import metalearn as ml
from benchmarks.speed import HORIZON, LENGTH, PAIRS, WIDTH, by_library, network_problem, shortest_times, show
from metalearn.application import use_cores

SIGMA, OUTER_RATE = 0.01, 1e-4
DECAYS = np.array([[0.5], [0.9], [0.99]], np.float32)
TIMES = 3.0 * 1000 ** (np.arange(7, dtype=np.float32) / 6)
FIRST = WIDTH * WIDTH  # parameters of the first layer; the rest are the second's


def unit(rows):
    squares = rows**2
    scales = [jnp.mean(part, 1, keepdims=True) for part in (squares[:, :FIRST], squares[:, FIRST:])]
    first, last = (jnp.where(s > 1e-20, jax.lax.rsqrt(jnp.maximum(s, 1e-20)), 0) for s in scales)
    return jnp.concatenate([rows[:, :FIRST] * first, rows[:, FIRST:] * last], axis=1)


def rule(layers, grads, params, means, square, count):
    """Take one step of `ml.learned.mlp_optimizer` on both layers side by side."""
    means = DECAYS * means + (1 - DECAYS) * grads
    square = 0.999 * square + 0.001 * grads**2
    steps = jnp.concatenate([grads[None], means / (1 - DECAYS ** (count + 1))])
    scale = 1 / (jnp.sqrt(square / (1 - 0.999 ** (count + 1))) + 1e-8)
    features = jnp.clip(jnp.concatenate([unit(jnp.concatenate([steps, params[None]])), steps * scale]), -5, 5)
    first, second, third = (layers[f"layer_{index}"] for index in range(3))
    bias = first["bias"] + first["time"] @ jnp.tanh(count / TIMES - 1)
    hidden = jax.nn.relu(first["weight"] @ features + bias[:, None])
    hidden = jax.nn.relu(second["weight"] @ hidden + second["bias"][:, None])
    out = third["weight"] @ hidden + third["bias"][:, None]
    return params - 0.01 * out[0] * jnp.exp(jnp.clip(0.1 * out[1], -6, 6)), means, square


def by_hand(data, theta, num_outer, chunk_size, devices=1):
    """Do the same computation with rule, network, pairs and outer step in one function, without the library."""
    inputs, targets = data
    mesh = Mesh(np.array(jax.devices()[:devices]), ("pairs",))
    nothing, split = PartitionSpec(), PartitionSpec("pairs")

    def loss(params):
        first, last = params[:FIRST].reshape(WIDTH, WIDTH), params[FIRST:]
        hidden = jnp.tanh((jnp.sqrt(2 / WIDTH) * first) @ inputs)
        return jnp.mean((last @ hidden / WIDTH - targets[0]) ** 2)

    def follow(theta, state):
        layers = theta["network"]

        def body(state, _):
            params, means, square, count = state
            value, grads = jax.value_and_grad(loss)(params)
            return (*rule(layers, grads, params, means, square, count), count + 1), value

        state, values = jax.lax.scan(body, state, length=LENGTH)
        return (jnp.sum(values[1:]) + loss(state[0])) / LENGTH, state

    def start(key):
        params = jax.random.normal(key, (FIRST + WIDTH,))
        return params, jnp.zeros((3, len(params))), jnp.zeros(len(params)), jnp.zeros((), jnp.int32)

    def outer_step(carry, index_and_key):
        index, key = index_and_key
        theta, state, credit = carry
        key_start, key_noise = jax.random.split(key)

        def begin():
            fresh = jax.vmap(start)(jax.random.split(key_start, PAIRS))
            fresh = jax.tree.map(lambda leaf: jnp.repeat(leaf[:, None], 2, axis=1), fresh)
            return fresh, jax.tree.map(jnp.zeros_like, credit)

        state, credit = jax.lax.cond(index % (HORIZON // LENGTH) == 0, begin, lambda: (state, credit))

        def one_pair(theta, pair):
            key, state, credit = pair
            leaves, structure = jax.tree.flatten(theta)
            drawn = [
                SIGMA * jax.random.normal(key, leaf.shape)
                for key, leaf in zip(jax.random.split(key, len(leaves)), leaves)
            ]
            noise = jax.tree.unflatten(structure, drawn)
            moved = lambda sign: jax.tree.map(lambda leaf, drawn: leaf + sign * drawn, theta, noise)
            losses, state = jax.vmap(lambda sign, state: follow(moved(sign), state))(jnp.array([1.0, -1.0]), state)
            credit = jax.tree.map(jnp.add, credit, noise)
            return (
                jax.tree.map(lambda leaf: leaf * (losses[0] - losses[1]) / (2 * SIGMA**2), credit),
                losses,
                state,
                credit,
            )

        pairs = (jax.random.split(key_noise, PAIRS), state, credit)
        one_share = lambda theta, pairs: jax.lax.map(lambda pair: one_pair(theta, pair), pairs, batch_size=chunk_size)
        shares = jax.shard_map(one_share, mesh=mesh, in_specs=(nothing, split), out_specs=split, check_vma=False)
        gradients, losses, state, credit = shares(theta, pairs)
        theta = jax.tree.map(lambda leaf, gradient: leaf - OUTER_RATE * jnp.mean(gradient, axis=0), theta, gradients)
        return (theta, state, credit), jnp.mean(losses)

    repeated = lambda leaf, count: jnp.zeros((PAIRS, *count, *leaf.shape), leaf.dtype)
    blank = jax.tree.map(lambda leaf: repeated(leaf, (2,)), jax.eval_shape(start, jax.random.key(0)))
    carry = (theta, blank, jax.tree.map(lambda leaf: repeated(leaf, ()), theta))
    keys = jax.random.split(jax.random.key(1), num_outer)
    run = jax.jit(lambda carry, keys: jax.lax.scan(outer_step, carry, (jnp.arange(num_outer), keys)))
    return lambda: run(carry, keys)


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds; the best is reported")
    parser.add_argument("--outer", type=int, default=20, help="windows in one program")
    arguments = parser.parse_args()
    use_cores()
    data, _ = network_problem()
    optimizer = ml.learned.mlp_optimizer()
    theta = optimizer.init(jax.random.key(0))
    network = ml.mlp((WIDTH, WIDTH, 1), "tanh", "mean_field", bias=False)
    problem = ml.training(ml.regression(network, data), optimizer)
    make = lambda chunk: by_library(problem, theta, arguments.outer, SIGMA, OUTER_RATE, chunk)
    library = {f"library, one device, chunks of {chunk or 'its choice'}": make(chunk) for chunk in (None, 8)}
    with ml.over_devices():
        library |= {f"library over devices, chunks of {chunk or 'its choice'}": make(chunk) for chunk in (None, 8)}
    by = lambda chunk, devices: by_hand(data, theta, arguments.outer, chunk, devices)
    hand = {f"by hand, one device, chunks of {chunk}": by(chunk, 1) for chunk in (4, 8, 64)}
    many = max(count for count in range(1, len(jax.devices()) + 1) if PAIRS % count == 0)
    spread = {f"by hand over devices, chunks of {chunk}": by(chunk, many) for chunk in (4, 8, 64 // many)}
    seconds = shortest_times(library | hand | spread, arguments.rounds)
    speed = {name: 2 * PAIRS * LENGTH * arguments.outer / time for name, time in seconds.items()}
    alone, best = (max(speed[name] for name in names) for names in (hand, spread))
    rows = [(name, f"{value:,.0f}", f"{value / alone:.2f}", f"{value / best:.2f}") for name, value in speed.items()]
    size = sum(leaf.size for leaf in jax.tree.leaves(theta))
    title = f"Persistent ES of a learned optimiser of {size} weights, {WIDTH}-{WIDTH}-1 network, {PAIRS} pairs"
    show(Console(width=110), title, ("", "inner steps/s", "of hand, one device", "of hand over devices"), rows)


if __name__ == "__main__":
    main()
