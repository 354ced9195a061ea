"""metalearn: gradient estimators for meta-learning when the meta-loss is chaotic."""
