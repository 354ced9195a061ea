"""Search for θ without gradients, `ml.search.*`: baselines for `ml.meta_train` on the same problems.

| function | method |
|---|---|
| `random_search`, `grid_search` | independent trials; `uniform` draws them from a box |
| `evolve` | CMA-ES or a genetic algorithm of evosax |
| `population_based_training` | members train in parallel, and the worse ones copy the better ones |

The first three return the best θ and all `Trials`. `population_based_training` returns a `Population`.
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
