"""Looking at what was done: runs, show, diff, journals, ui, sync, doctor, completion."""

from __future__ import annotations

from gansweep.errors import UserError
from gansweep.verbs.line import Parser, looking, print_json, settings_of


def runs(words: list[str]) -> int:
    """List the runs here."""
    from gansweep.look import runs_here

    as_json = looking("runs", words).json
    found = runs_here()
    if as_json:
        return print_json(found)
    from gansweep.tables import print_runs

    print_runs(found)
    return 0


def show(words: list[str]) -> int:
    """Print everything about one run."""
    args = looking("show", words, "run")
    from gansweep.look import show_facts

    told = show_facts(args.run)
    if args.json:
        return print_json(told)
    from gansweep.tables import print_show

    print_show(told)
    return 0


def diff(words: list[str]) -> int:
    """Print what sets two runs apart."""
    args = looking("diff", words, "first", "second")
    from gansweep.look import diff_facts

    told = diff_facts(args.first, args.second)
    if args.json:
        return print_json(told)
    from gansweep.tables import print_diff

    print_diff(told)
    return 0


def journals(words: list[str]) -> int:
    """List the journals' entries, or tell one in full."""
    parser = Parser("journals")
    parser.add_argument("which", metavar="JOURNAL|ENTRY", nargs="?")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("-cd", "--config-dir")
    args = parser.parse(words)
    from gansweep.config.compose import user_dirs
    from gansweep.journals import listed

    print(listed(args.which, user_dirs(args.config_dir), args.json))
    return 0


def ui(words: list[str]) -> int:
    """Serve the MLflow UI until it is stopped."""
    parser = Parser("ui")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--no-browser", action="store_true")
    args = parser.parse(words)
    if not 0 <= args.port <= 65535:
        raise UserError(f"ui: --port {args.port}: must be between 0 and 65535")
    from gansweep.runs.location import resolve_uri
    from gansweep.runs.ui import serve

    tracker = settings_of(args.overrides).tracker
    return serve(resolve_uri(tracker), args.port, not args.no_browser, tracker.experiment)


def sync(words: list[str]) -> int:
    """Send the tracker what it missed."""
    from gansweep.sweep.sync import sync_all

    parser = Parser("sync")
    parser.add_argument("runs", nargs="*", metavar="RUN")
    return sync_all(parser.parse(words).runs)


def doctor(words: list[str]) -> int:
    """Print what this machine has; exit status 3 when something that every run needs is missing."""
    from gansweep import doctor

    return doctor.report(as_json=looking("doctor", words).json)


def completion(words: list[str]) -> int:
    """Print a shell's script, or answer it."""
    from gansweep import completion

    return completion.run(words)
