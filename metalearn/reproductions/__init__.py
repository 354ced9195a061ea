"""Reproductions of published experiments. Each is a function that yields its numbers, each with an accepted range."""

from metalearn.reproductions import digits, influence, lorenz, lstm_variance, rate_decay, toy, weight_decay
from metalearn.reproductions.result import Picture, Result, row, table

QUICK = {
    "toy": toy.results,
    "influence": influence.results,
    "lorenz": lorenz.results,
    "lstm_variance": lstm_variance.results,
    "rate_decay": rate_decay.results,
    "noisy_rates": digits.noisy_rates,
    "hyperparameters": digits.hyperparameters,
}
LONG = {
    "lorenz_slow": lorenz.slow_results,
    "truncated_backprop": digits.truncated_backprop,
    "learned_optimizer": digits.learned_optimizer,
    "weight_decay": weight_decay.results,
}
DOWNLOADED = {"rate_decay_mnist": rate_decay.mnist_results}

__all__ = ["DOWNLOADED", "LONG", "QUICK", "Picture", "Result", "row", "table"]
