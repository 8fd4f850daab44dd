"""`python -m anatomark` is the `anatomark` command."""

from anatomark.cli.main import main

if __name__ == "__main__":
    main()
