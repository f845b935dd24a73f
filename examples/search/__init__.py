"""A search for good settings of the perceptron that reads digits."""
