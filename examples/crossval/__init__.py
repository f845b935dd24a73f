"""A cross-validation over a pipeline: the folds are requirements that differ in their configuration."""
