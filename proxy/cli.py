"""The commands. Each imports what it needs when it runs, so `weir check` does not pay for the gateway."""

from __future__ import annotations

import errno
import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy import __version__, build
from proxy.config.exits import EXIT_WRONG

if TYPE_CHECKING:
    from proxy.admin.client import Plane

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
_FILE = click.Path()  # as text; a shell completes its name


class _Commands(click.Group):
    """Output that cannot be written, as on a full disk, ends a command with one line."""

    def main(self, *args: Any, **options: Any) -> Any:
        _open_closed_streams()
        _forgive_encodings()
        try:
            return super().main(*args, **options)
        except OSError as error:
            if error.errno not in _UNWRITABLE:
                raise
            sys.stdout = None  # what it still holds cannot be written either
            click.echo(f"weir: {(error.strerror or str(error)).lower()}", err=True)
            sys.exit(EXIT_WRONG)


def _open_closed_streams() -> None:
    """Opens them on nothing: else what is opened first, a socket or the loop's own, would be standard output,
    and be written to.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one
            os.set_inheritable(opened, True)  # noqa: FBT003 - takes no name


def _forgive_encodings() -> None:
    """What a terminal cannot show is a question mark to it, and no traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(f"{__version__} ({build()})", prog_name="weir")
def main() -> None:
    """Weir, a rate-limiting reverse proxy for one HTTP/JSON service."""


@main.command()
@click.argument("path", type=_FILE, metavar="[FILE]", required=False)
@click.option("--config", "-c", "option", type=_FILE, metavar="FILE", help="The same, as an option.")
def run(path: str | None, option: str | None) -> None:
    """Serve with the settings in FILE until SIGTERM; - reads them from standard input."""
    from proxy.runtime.run import run as serve

    if (path is None) is (option is None):
        raise click.UsageError("Name one FILE with the settings: weir run weir.yaml")
    sys.exit(serve(path or option or ""))


@main.command(hidden=True)
@click.option("--channel", type=int, required=True, help="The descriptor of the supervisor's socket.")
def worker(channel: int) -> None:
    """Serve as one of several; started by `weir run`."""
    from proxy.runtime.supervised import run_supervised

    sys.exit(run_supervised(channel))


@main.command()
@click.option("--config", "-c", "path", type=_FILE, metavar="FILE", help="The file that Weir runs with.")
@click.option("--admin", "url", metavar="URL", help="Its admin plane; the token in WEIR_ADMIN__TOKEN.")
@click.option("--once", is_flag=True, help="Show one picture and end; also where the output is no terminal.")
def top(path: str | None, url: str | None, *, once: bool) -> None:
    """Show who is limited, what went wrong and how fast, once a second."""
    from proxy.admin.top import top as show

    sys.exit(show(_plane(path, url, "weir top -c weir.yaml"), once=once))


@main.command()
@click.argument("verb", type=click.Choice(["look", "grant", "block", "release", "reset"]))
@click.argument("limit")
@click.argument("whom", metavar="[ENTRY[=VALUE]]...", nargs=-1)
@click.option("--config", "-c", "path", type=_FILE, metavar="FILE", help="The file that Weir runs with.")
@click.option("--admin", "url", metavar="URL", help="Its admin plane; the token in WEIR_ADMIN__TOKEN.")
@click.option("--rate", help="What is granted, such as 60/s.")
@click.option("--burst", type=int, help="The burst of a grant; default: the count of the rate.")
@click.option("--for", "span", metavar="SPAN", help="How long a grant or a block lasts; default: 1h.")
@click.option("--all", "everybody", is_flag=True, help="Reset all clients of the limit.")
@click.option("--json", "is_json", is_flag=True, help="Tell it as JSON.")
def keys(verb: str, limit: str, whom: tuple[str, ...], **options: Any) -> None:
    """Look at what a client has left of LIMIT, grant it another rate, block it, release it from either, or
    reset its bucket; live, and on every replica.

    ENTRY is one of the limit's `key`, such as header:X-Auth-Token; name each part of a joined one. Its VALUE
    is a line of standard input if it is not given. key=HASH names a client by the hash of its key.
    """
    from proxy.admin.deeds import Deed
    from proxy.admin.deeds import keys as act

    if options["everybody"] is bool(whom) or (options["everybody"] and verb != "reset"):
        raise click.UsageError(
            f"Name one client, or of reset --all: weir keys {verb} {limit} header:X-Auth-Token -c weir.yaml"
        )
    plane = _plane(options["path"], options["url"], f"weir keys {verb} {limit} ... -c weir.yaml")
    amounts = {"rate": options["rate"], "burst": options["burst"], "for": options["span"]}
    sys.exit(act(plane, Deed(verb, limit, whom, amounts), is_json=options["is_json"]))


def _plane(path: str | None, url: str | None, example: str) -> Plane:
    """The admin plane that is meant; ends the command where it is not clear."""
    from proxy.admin.client import UnclearPlaneError, plane_at, plane_of
    from proxy.config.mistakes import ConfigError

    if (path is None) is (url is None):
        raise click.UsageError(f"Name the FILE that Weir runs with, or the URL of its admin plane: {example}")
    try:
        return plane_of(path) if path is not None else plane_at(url or "")
    except (ConfigError, UnclearPlaneError) as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_WRONG)


@main.command()
@click.argument("path", type=_FILE, metavar="[FILE]", default="weir.yaml")
@click.option(
    "--server", "servers", metavar="URL", multiple=True, help="A server of the service; may be repeated."
)
def init(path: str, servers: tuple[str, ...]) -> None:
    """Write a config with every setting explained to FILE (weir.yaml); - is standard output."""
    from proxy.config.annotated import annotated
    from proxy.config.mistakes import ConfigError
    from proxy.config.schema import FILE_NAME

    try:
        text = annotated(servers)
    except ConfigError as error:
        click.echo("\n".join(f"--server: {each.message}" for each in error.mistakes), err=True)
        sys.exit(EXIT_WRONG)
    if path == "-":
        click.echo(text, nl=False)
        return
    try:
        _write_new(Path(path), text)
    except OSError as error:
        click.echo(f"{path}: cannot be written: {(error.strerror or str(error)).lower()}", err=True)
        sys.exit(EXIT_WRONG)
    click.echo(f"{path} is written. Next:\n  weir check {path}\n  weir run {path}")
    click.echo(
        f"For an editor that completes and checks it:\n  weir schema > {Path(path).with_name(FILE_NAME)}"
    )


def _write_new(path: Path, text: str) -> None:
    """Whole or not at all, and never over a file that is there. Raises OSError."""
    with path.open("x", encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
        except OSError:
            path.unlink()
            raise


@main.command(name="hash")
@click.argument("value", required=False)
def hash_value(value: str | None) -> None:
    """Print what a plan names a key by: sha256: and the hash of VALUE, or of one line of standard input.

    VALUE is a credential as the client sends it, or an address. Hashed is what limits read of it: of
    Authorization what follows the scheme.
    """
    from proxy.config.plan_keys import key_hash
    from proxy.policy.readings import text_of

    text = value if value is not None else sys.stdin.readline() if sys.stdin is not None else ""
    if not text.strip():
        click.echo("nothing to hash: give a value, or a line of standard input", err=True)
        sys.exit(EXIT_WRONG)
    read = text_of(text)
    if not read:
        click.echo("no limit reads this as the value of one client", err=True)
        sys.exit(EXIT_WRONG)
    click.echo(key_hash(read))


@main.command()
@click.argument("config_path", type=_FILE, metavar="FILE")
@click.option("--strict", is_flag=True, help="Exit 2 for warnings too.")
@click.option("--print", "prints", is_flag=True, help="Print the settings in force, with their origin.")
def check(config_path: str, *, strict: bool, prints: bool) -> None:
    """Say every mistake in FILE (- is standard input), and what is probably not meant.

    Exits 0 if there is no mistake, else 2.
    """
    from proxy.config.loader import examine
    from proxy.config.mistakes import ConfigError
    from proxy.config.printed import printed
    from proxy.config.wording import many
    from proxy.contract.promises import Contract
    from proxy.contract.redaction import Redaction
    from proxy.runtime.listener_tls import judge_files

    try:
        config = examine(config_path)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_WRONG)
    settings, warnings = config.settings, config.warnings
    for warning in warnings:
        click.echo(str(warning), err=strict or prints)
    wrong, missing = judge_files(config)
    if wrong:
        click.echo("\n".join(map(str, wrong)), err=True)
    if wrong or (strict and warnings):
        sys.exit(EXIT_WRONG)
    if prints:
        click.echo(printed(config), nl=False)
        return
    limits = many(len(settings.limits), "limit")
    click.echo(f"{config.file}: good ({limits}, store {settings.store.url})")
    for each in missing:
        click.echo(f"not checked: {each.message}")
    click.echo("\nWhat the service promises; an answer that breaks it passes, and is counted and logged:")
    covers = Redaction.from_settings(settings.errors).covers
    for statuses, promise in Contract(settings.contract.rules).rows(lambda status: not covers(status)):
        click.echo(f"  {statuses:<7}  {promise}")


@main.command()
def schema() -> None:
    """Print the JSON Schema of the file, for editors."""
    from proxy.config.schema import schema_text

    click.echo(schema_text(), nl=False)


@main.command()
@click.argument("config", type=_FILE, metavar="FILE")
@click.argument("method", required=False)
@click.argument("target", required=False)
@click.option("--header", "-H", "headers", metavar="'NAME: VALUE'", multiple=True, help="A header field.")
@click.option("--from", "peer", metavar="IP", default="127.0.0.1", help="Where the connection comes from.")
@click.option("--curl", metavar="'curl …'", help="The request as a command line of curl.")
@click.option("--json", "is_json", is_flag=True, help="Tell it as JSON.")
def explain(config: str, method: str | None, target: str | None, **options: Any) -> None:
    """Tell what becomes of a request by FILE, without a server: which limits match, which do not and why,
    whose bucket is charged, what the service would get and what Weir adds to the answer.

    TARGET is a path or a URL.
    """
    from proxy.tuning.explain import Arguments
    from proxy.tuning.explain import explain as tell

    sys.exit(tell(Arguments(config, method, target, **options)))


@main.command()
@click.argument("config", type=_FILE, metavar="FILE")
@click.argument("logs", type=_FILE, metavar="LOG...", nargs=-1, required=True)
@click.option("--against", type=_FILE, metavar="FILE2", help="Another config, to compare with.")
@click.option("--key-field", metavar="FIELD", help="Where a log that is not Weir's own has the credential.")
@click.option("--html", type=_FILE, metavar="OUT", help="Also write a page with plots to OUT.")
@click.option("--json", "is_json", is_flag=True, help="Tell it as JSON.")
def simulate(config: str, logs: tuple[str, ...], **options: Any) -> None:
    """Replay access logs through the limits of FILE; LOG may be gzipped, - is standard input.

    Logs are Weir's own, nginx or Apache combined, CSV with a header line, or JSON lines. FIELD is the name
    of a column, or in a combined log its number.
    """
    from proxy.tuning.simulate import Wanted
    from proxy.tuning.simulate import simulate as replay

    sys.exit(replay(Wanted(config, logs, **options)))


@main.command()
@click.option(
    "--config",
    "-c",
    "config_path",
    type=_FILE,
    metavar="FILE",
    required=True,
    help="The file Weir runs with.",
)
@click.option("--ready", is_flag=True, help="Ask whether new requests may come, not only whether it lives.")
def healthcheck(config_path: str, *, ready: bool) -> None:
    """Ask the running Weir's admin plane; exit 0 if it is healthy, 1 if not, 2 if FILE is wrong."""
    from proxy.runtime import healthcheck as probe

    sys.exit(probe.healthcheck(config_path, probe.READINESS if ready else probe.HEALTH))


@main.command()
@click.option("--once", is_flag=True, help="End after the tour.")
@click.option(
    "--port",
    type=int,
    default=None,
    help="The gateway's port (default: 8080, or a free one if that is in use).",
)
def demo(*, once: bool, port: int | None) -> None:
    """Show Weir at work in front of a sample service."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stopped_early)  # until the demo itself listens: it has much to import
    from proxy.demo.command import run_demo

    sys.exit(run_demo(once=once, port=port))


def _stopped_early(*_: object) -> None:
    """Leaves without unwinding: an exception within an import would be swallowed, or leave its file open."""
    click.echo("Stopped, before the tour had begun.")
    os._exit(0)
