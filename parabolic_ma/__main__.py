"""``python -m parabolic_ma`` is the command line."""

from parabolic_ma.cli import main

if __name__ == "__main__":
    main()
