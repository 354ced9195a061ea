"""Flax networks with training loops written by hand around `module.apply`; the loss is that of the next minibatch.

Each function returns `(problem, theta)`; θ is the logarithm of a learning rate.
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

import metalearn as ml

VOCABULARY, SEQUENCE, BATCH = 16, 64, 32


class Normalised(nn.Module):
    """64-32-10 with BatchNorm."""

    @nn.compact
    def __call__(self, images, train):
        x = nn.Dense(32)(images.reshape(images.shape[0], -1))
        return nn.Dense(10)(nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)))


class Convolutional(nn.Module):
    """Two 3x3 convolutions with BatchNorm on 8x8 images."""

    @nn.compact
    def __call__(self, images, train):
        x = images
        for width in (8, 16):
            x = nn.Conv(width, (3, 3), use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
            x = nn.avg_pool(x, (2, 2), strides=(2, 2))
        return nn.Dense(10)(x.reshape(x.shape[0], -1))


class Transformer(nn.Module):
    """One causal block of width 32 with two heads."""

    width: int = 32

    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(VOCABULARY, self.width)(tokens)
        x = x + self.param("positions", nn.initializers.normal(0.02), (tokens.shape[1], self.width))[None]
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(2)(y, y, mask=nn.make_causal_mask(tokens))
        x = x + nn.Dense(self.width)(nn.gelu(nn.Dense(4 * self.width)(nn.LayerNorm()(x))))
        return nn.Dense(VOCABULARY)(nn.LayerNorm()(x))


class Recurrent(nn.Module):
    """An LSTM of 32 units."""

    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(VOCABULARY, 32)(tokens)
        return nn.Dense(VOCABULARY)(nn.RNN(nn.OptimizedLSTMCell(32))(x))


def batch_norm():
    """Train a small network with BatchNorm on digits with SGD."""
    return _images(Normalised())


def convolutional():
    """Train a convolutional network with BatchNorm on digits with SGD."""
    return _images(Convolutional())


def transformer():
    """Train a transformer that predicts the next token with Adam."""
    return _sequences(Transformer())


def lstm():
    """Train an LSTM that predicts the next token with Adam."""
    return _sequences(Recurrent())


NETWORKS = {"BatchNorm": batch_norm, "convolutional": convolutional, "transformer": transformer, "LSTM": lstm}


def _images(module):
    """Build the problem; BatchNorm's running averages are part of the state."""
    data = ml.data.digits()
    images, labels = jnp.asarray(data.inputs.T.reshape(-1, 8, 8, 1)), jnp.asarray(data.targets)
    optimizer = lambda theta: optax.sgd(jnp.exp(theta["learning_rate"]), 0.9)

    def measure(params, averages, key):
        chosen = jax.random.randint(key, (BATCH,), 0, labels.shape[0])
        variables = {"params": params, "batch_stats": averages}
        logits, moved = module.apply(variables, images[chosen], True, mutable=["batch_stats"])
        return _cross_entropy(logits, labels[chosen]), moved["batch_stats"]

    def init(theta, key):
        variables = module.init(key, images[:1], False)
        return variables["params"], variables["batch_stats"], optimizer(theta).init(variables["params"])

    def step(state, theta, key):
        params, averages, memory = state
        (_, averages), gradient = jax.value_and_grad(measure, has_aux=True)(params, averages, key)
        updates, memory = optimizer(theta).update(gradient, memory, params)
        return optax.apply_updates(params, updates), averages, memory

    def loss(state, theta, key):
        return measure(state[0], state[1], key)[0]

    return ml.InnerProblem(init, step, loss), {"learning_rate": jnp.log(jnp.float32(0.05))}


def _sequences(module):
    optimizer = lambda theta: optax.adam(jnp.exp(theta["learning_rate"]))

    def measure(params, key):
        tokens = _tokens(key)
        return _cross_entropy(module.apply({"params": params}, tokens[:, :-1]), tokens[:, 1:])

    def init(theta, key):
        params = module.init(key, jnp.zeros((1, SEQUENCE), jnp.int32))["params"]
        return params, optimizer(theta).init(params)

    def step(state, theta, key):
        params, memory = state
        updates, memory = optimizer(theta).update(jax.grad(measure)(params, key), memory, params)
        return optax.apply_updates(params, updates), memory

    def loss(state, theta, key):
        return measure(state[0], key)

    return ml.InnerProblem(init, step, loss), {"learning_rate": jnp.log(jnp.float32(3e-3))}


def _cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def _tokens(key):
    """Draw x_t = (x_{t−1} + c) mod 16, where c is a number of each sequence and one token in ten is random."""
    keys = jax.random.split(key, 4)
    first = jax.random.randint(keys[0], (BATCH, 1), 0, VOCABULARY)
    step = jax.random.randint(keys[1], (BATCH, 1), 1, 4)
    clean = (first + step * jnp.arange(SEQUENCE + 1)[None]) % VOCABULARY
    noise = jax.random.randint(keys[2], clean.shape, 0, VOCABULARY)
    return jnp.where(jax.random.bernoulli(keys[3], 0.1, clean.shape), noise, clean)
