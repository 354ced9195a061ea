"""Search for θ without gradients, `ml.search.*`: baselines of `ml.meta_train` that take the same problems.

| function | method |
|---|---|
| `random_search`, `grid_search` | independent trials; `uniform` draws them from a box |
| `evolve` | CMA-ES or a genetic algorithm of evosax |
| `population_based_training` | members train side by side, the worse copy the better |

The first three return the best θ and all `Trials`, the last one a `Population`.
"""

from metalearn.outer.search import (
    Population,
    Trials,
    evolve,
    grid_search,
    population_based_training,
    random_search,
    uniform,
)

__all__ = ["Population", "Trials", "evolve", "grid_search", "population_based_training", "random_search", "uniform"]
