"""``python -m hamjl``: the command line."""

from hamjl.cli import main

main(prog_name="hamjl")
