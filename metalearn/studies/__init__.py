"""Measurements of the experiments on the meta-objective, without configurations and figures.

Each function takes the settings of an experiment and a key, and returns arrays.
"""
