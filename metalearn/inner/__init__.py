"""Floor 1: what is iterated.

Everything metalearn studies is one map s ← F(s, θ) with an observable ℓ(s, θ). This floor makes such maps: a training run is a task, an
optimiser and the three functions that tie them together; the logistic map, Lorenz and a quadratic are three functions written by hand.
"""
