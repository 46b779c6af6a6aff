"""The Jupyter side: magics, panel, curve."""
