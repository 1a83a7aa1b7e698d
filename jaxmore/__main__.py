"""``python -m jaxmore``: the same as the ``jaxmore`` command."""

from jaxmore.cli import main

if __name__ == "__main__":
    main()
