"""The library side by side with its peers: `python -m tests.bench`.  Needs the `bench` extra.

What is measured there is time and memory.  Whether the results are the same is a question to
`python -m tests.bench.operations`, with PyTorch's own database of samples, and `python -m tests.bench.optimisers`,
with the trajectories of torch.optim and optax.
"""
