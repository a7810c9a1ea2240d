"""`python -m lowmed` is the command."""

from lowmed.cli import main

main()
