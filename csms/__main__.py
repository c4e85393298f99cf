"""`python -m csms` and the `csms` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from csms.cli import app

    app()


if __name__ == "__main__":
    main()
