"""Batches that do not fit the loss: the error says how data is given."""

import re

import numpy as np
import pytest

from fluxmagic import SGD, Run, batches, param, train


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ((np.ones((3, 2)), np.ones((3, 2))), r"'y': the batch is one array of shape \(3, 2\), and .* \[\(X, Y\)\]"),
        (batches(np.ones((4, 2)), 2), r"the batch is one array of shape \(2, 2\), .* batches\(X, Y, 32\) cuts"),
        ([1.0], "the batch is one float"),
        ([(1.0, 2.0, 3.0)], "the batch is a tuple of 3"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("run", [False, True])
def test_a_batch_that_does_not_fit_the_losss_arguments_says_how_data_is_given(data, says, run):
    W = param(np.ones(2))
    loss = lambda x, y: ((W * x - y) ** 2).sum()
    with pytest.raises(TypeError, match=r"positional arguments?.*: the batch is .*") as caught:
        Run(loss, data, SGD([W], 0.1)).train() if run else train(loss, data, SGD([W], 0.1))
    assert re.search(says, str(caught.value))
    assert W.data.tolist() == [1, 1]


def test_an_error_of_arguments_within_the_loss_stays_as_it_is():
    W = param(1.0)

    def inner(a, b):
        return a

    with pytest.raises(TypeError, match=r"argument: 'b'$"):
        train(lambda x: inner(W * x), [1.0], SGD([W], 0.1))
