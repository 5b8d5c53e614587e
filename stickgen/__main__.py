"""``python -m stickgen``: the ``stickgen`` command."""

from stickgen.cli import main

if __name__ == "__main__":  # processes of a sweep's launcher import this module too
    main()
