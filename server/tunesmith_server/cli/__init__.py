"""The command line ``tunesmith``.

Exit status: 0 done, 1 the job failed, 2 the command was used wrongly or refused, 3 no server
answers, 130 interrupted by Ctrl-C. Progress goes to standard error, results to standard output.
Only ``click`` is imported here; what a command needs, it imports when it runs.
"""

from __future__ import annotations

import sys

try:
    import click

    from tunesmith_server.cli.check_metrics import check_metrics
    from tunesmith_server.cli.jobs import jobs
    from tunesmith_server.cli.outcome import Program
    from tunesmith_server.cli.replay import replay_command
    from tunesmith_server.cli.runner import runner
    from tunesmith_server.cli.serve import serve
    from tunesmith_server.cli.tune import tune
except KeyboardInterrupt:
    # Whoever is so quick gets no traceback either. ``ExitStatus`` may not be there yet.
    sys.exit(130)

__all__ = ["main"]


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's signature
    if wanted and not context.resilient_parsing:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"tunesmith {version('tunesmith')}")
        except PackageNotFoundError:
            click.echo("tunesmith, not installed as a distribution")
        context.exit()


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Tune hyperparameters on your own machines, by SageMaker's API."""


for _command in (serve, runner, tune, jobs, replay_command, check_metrics):
    main.add_command(_command)
