"""Floor 5: published experiments, each a function that returns its numbers beside the band they should lie in."""

from metalearn.reproductions import digits, influence, lorenz, toy, weight_decay
from metalearn.reproductions.result import Result, table

QUICK = {
    "toy": toy.results,
    "influence": influence.results,
    "lorenz": lorenz.results,
    "noisy_rates": digits.noisy_rates,
    "hyperparameters": digits.hyperparameters,
}
LONG = {"weight_decay": weight_decay.results, "learned_optimizer": digits.learned_optimizer}

__all__ = ["LONG", "QUICK", "Result", "table"]
