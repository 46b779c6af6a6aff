"""What trains and refreshes: the loop of a cell, the task of a Panel, their pace and their view."""
