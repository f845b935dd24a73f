"""Two classifiers of handwritten digits in plain numpy: a softmax regression and a multi-layer perceptron."""
