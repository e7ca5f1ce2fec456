"""`python -m archimed` is the `archimed` command, as torchrun starts it."""

from archimed.cli import main

if __name__ == "__main__":
    main()
