"""Run the command line as ``python -m tunesmith_server.cli``; child processes are started so."""

from __future__ import annotations

from tunesmith_server.cli import main

if __name__ == "__main__":
    main(prog_name="tunesmith")
