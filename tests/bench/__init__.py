"""The library side by side with its peers: `python -m tests.bench`.  Needs the `bench` extra."""
