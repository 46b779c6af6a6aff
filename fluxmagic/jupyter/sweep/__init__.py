"""A sweep in a notebook: `%%sweep`, its map and its words."""
