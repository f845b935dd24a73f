"""How fast machinable is, as ratios to floors that are measured in the same run."""
