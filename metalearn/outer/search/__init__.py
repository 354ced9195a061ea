"""Search without gradients, as baselines of `meta_train`: random, grid, evolution, and population-based training."""

from metalearn.outer.search.evolve import evolve
from metalearn.outer.search.population import Population, population_based_training
from metalearn.outer.search.random_search import grid_search, random_search, uniform
from metalearn.outer.search.trials import Trials

__all__ = ["Population", "Trials", "evolve", "grid_search", "population_based_training", "random_search", "uniform"]
