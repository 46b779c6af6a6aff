"""What a user turns and presses: dials, buttons, the time line.  Nothing here draws or trains."""
