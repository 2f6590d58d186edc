"""Starts the server; ``python main.py --help`` lists the options."""

from fooocusapi.cli import main

if __name__ == "__main__":
    main()
