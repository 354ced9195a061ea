"""Search without gradients: random, on a grid, by evolution, and by population-based training. Baselines of `meta_train`."""

from metalearn.outer.search.evolve import evolve
from metalearn.outer.search.population import Population, population_based_training
from metalearn.outer.search.random_search import grid_search, random_search, uniform
from metalearn.outer.search.trials import Trials

__all__ = ["Population", "Trials", "evolve", "grid_search", "population_based_training", "random_search", "uniform"]
