"""One module a command: a function that does the whole command and prints nothing. `lowmed` re-exports them."""
