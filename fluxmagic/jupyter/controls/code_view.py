"""A script in a page, with a button that copies it."""

from __future__ import annotations

from html import escape

__all__ = ["code_view"]

# Selects the text: that is left where the page refuses the clipboard.
COPY = """
const text = document.getElementById('{id}'), range = document.createRange(), button = this;
range.selectNodeContents(text);
getSelection().removeAllRanges();
getSelection().addRange(range);
const copied = navigator.clipboard ? navigator.clipboard.writeText(text.textContent) : Promise.reject();
copied.then(() => button.textContent = 'Copied', () => button.textContent = 'Selected: Ctrl-C copies');
"""


def code_view(script: str, name: str) -> str:
    """Give the HTML of a script; `name` is unique in the page."""
    name = f"{name}-code"
    onclick = escape(COPY.replace("{id}", name), quote=True)
    button = f'<button class="jupyter-button" style="width: auto" onclick="{onclick}">Copy</button>'
    return f'{button}<pre id="{name}" tabindex="0">{escape(script)}</pre>'
