"""A pipeline: features of the digits, two models trained on them, an evaluation of each, and a comparison."""
