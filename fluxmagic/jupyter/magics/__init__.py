"""What is typed: lines, options, cells and commands, their help, completion and errors."""
