"""Floor 7: what the experiments on the meta-objective measure, without configurations and figures.

Each function takes the settings of an experiment and a key, and returns arrays.
"""
