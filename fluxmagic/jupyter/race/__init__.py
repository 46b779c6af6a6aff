"""Races in a notebook: `%%race`, and how a race is shown."""
