"""The verbs. Nothing heavy is imported before it is known what is asked for; only here is hydra.main met."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gansweep import manual
from gansweep.errors import GansweepError, UserError, nearest, refused_by_system


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's) and return its exit status; errors are told in one line."""
    words = list(sys.argv[1:] if argv is None else argv)
    # OpenMP's threads wait for each other by spinning. Beside other work, libgomp's default number of turns made a step
    # about twice as slow as a tenth of it does (benchmarks/threads.py).
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")
    try:
        # A user's own losses and systems lie where the user stands; last, so that no file there hides one of ours.
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
        code = _dispatch(words)
        sys.stdout.flush()  # here, where a reader that has gone is met, not while the interpreter ends
        return code
    except GansweepError as error:
        print(f"gansweep: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("gansweep: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, a pager) has gone; the interpreter must not complain about it while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        # The file system refused where nobody foresaw it: what and where is all that can be told.
        print(f"gansweep: {refused_by_system(error)}", file=sys.stderr)
        return 1


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        page = manual.PAGES.get(words[1], manual.MAIN) if len(words) > 1 else manual.MAIN
        # Asked for, help is the answer; to a line without a verb it is the error message.
        print(page, end="", file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        from gansweep import __version__

        print(f"gansweep {__version__}")
        return 0
    if words[0] in ("-m", "--multirun"):
        words = ["train", *words]
    verb, rest = words[0], words[1:]
    if verb not in VERBS:
        hint = "; to train with it: gansweep train " + verb if "=" in verb else nearest(verb, VERBS, most=20)
        raise UserError(f"{verb}: no such verb{hint}")
    if any(word in ("-h", "--help") for word in rest):
        print(manual.PAGES[verb], end="")
        return 0
    if verb in ("train", "resume") and os.environ.get("RANK", "0") != "0":
        from gansweep.together import follow  # torchrun's other processes do as the first one says

        return follow()
    return VERBS[verb](rest)


class _Parser(argparse.ArgumentParser):
    """argparse, with its errors in our form: one line, exit status 2."""

    def __init__(self, verb: str) -> None:
        super().__init__(prog=f"gansweep {verb}", add_help=False, allow_abbrev=False)
        self.verb = verb

    def error(self, message: str) -> Any:
        raise UserError(f"{self.verb}: {message}; see gansweep {self.verb} --help")

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse arguments and options in any order."""
        return self.parse_intermixed_args(list(words))


def _train(words: list[str]) -> int:
    from gansweep.sweep import start

    return start.train(start.read_request(words), _hydra_main)


def _hydra_main(task: Callable[[Any], Any], line: list[str]) -> None:
    """Run `task` as a Hydra application with the command line `line`."""
    import hydra

    from gansweep.config import conf_dir
    from gansweep.config.compose import CONFIG_NAME

    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # what Hydra cannot write is told by main, in one line
    given = sys.argv
    sys.argv = ["gansweep", *line]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=CONFIG_NAME)(task)()
    finally:
        sys.argv = given


def _eval_is(words: list[str]) -> int:
    parser = _Parser("eval-is")
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument("overrides", nargs="*", default=[])
    parser.add_argument("-cd", "--config-dir")
    args = parser.parse(words)
    _say_log_lines()
    from gansweep.evaluate import evaluate

    evaluate(args.target, args.overrides, args.config_dir)
    return 0


def _resume(words: list[str]) -> int:
    parser = _Parser("resume")
    parser.add_argument("run", metavar="RUN")
    run = parser.parse(words).run
    _say_log_lines()
    from gansweep.look import losses_of
    from gansweep.train import resume

    outcome = resume(run)
    if outcome.status == "KILLED":
        print(f"gansweep: {outcome.message or 'stopped'}", file=sys.stderr)
        return 130
    if outcome.message:
        print(outcome.message)
    else:
        from gansweep.tables import values

        print(f"{outcome.status}: {values(losses_of(outcome.run_dir))}")
        print(f"run {outcome.run_id[:8]} in {os.path.relpath(outcome.run_dir)}")
    return 0 if outcome.status == "FINISHED" else 1


def _sample(words: list[str]) -> int:
    parser = _Parser("sample")
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-ema", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--reconstruct", action="store_true")
    # n=16 as DESIGN's other verbs write their numbers, and --n 16 as a shell user would: both are taken.
    args = parser.parse([f"--{word}" if word.partition("=")[0] in ("n", "seed", "out") else word for word in words])
    if args.n < 1:
        raise UserError(f"sample: n={args.n}: must be at least 1")
    if args.seed < 0:
        raise UserError(f"sample: seed={args.seed}: must be at least 0")
    _say_log_lines()
    from gansweep.sample import sample

    print(sample(args.target, args.n, args.seed, not args.no_ema, args.out, args.reconstruct))
    return 0


def _runs(words: list[str]) -> int:
    from gansweep.look import runs_here

    as_json = _looking("runs", words).json
    found = runs_here()
    if as_json:
        return _print_json(found)
    from gansweep.tables import print_runs

    print_runs(found)
    return 0


def _show(words: list[str]) -> int:
    args = _looking("show", words, "run")
    from gansweep.look import show_facts

    told = show_facts(args.run)
    if args.json:
        return _print_json(told)
    from gansweep.tables import print_show

    print_show(told)
    return 0


def _diff(words: list[str]) -> int:
    args = _looking("diff", words, "first", "second")
    from gansweep.look import diff_facts

    told = diff_facts(args.first, args.second)
    if args.json:
        return _print_json(told)
    from gansweep.tables import print_diff

    print_diff(told)
    return 0


def _looking(verb: str, words: Sequence[str], *runs: str) -> argparse.Namespace:
    parser = _Parser(verb)
    for name in runs:
        parser.add_argument(name, metavar="RUN")
    parser.add_argument("--json", action="store_true")
    return parser.parse(words)


def _print_json(content: object) -> int:
    print(json.dumps(content, indent=1, ensure_ascii=False))
    return 0


def _ui(words: list[str]) -> int:
    parser = _Parser("ui")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--no-browser", action="store_true")
    args = parser.parse(words)
    if not 0 <= args.port <= 65535:
        raise UserError(f"ui: --port {args.port}: must be between 0 and 65535")
    from gansweep.runs.location import resolve_uri
    from gansweep.runs.ui import serve

    tracker = _settings(args.overrides).tracker
    return serve(resolve_uri(tracker), args.port, not args.no_browser, tracker.experiment)


def _sync(words: list[str]) -> int:
    from gansweep.sweep.sync import sync_all

    parser = _Parser("sync")
    parser.add_argument("runs", nargs="*", metavar="RUN")
    return sync_all(parser.parse(words).runs)


def _data(words: list[str]) -> int:
    parser = _Parser("data")
    parser.add_argument("what", metavar="build|inspect|check")
    parser.add_argument("overrides", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("contact-sheet.png"))
    parser.add_argument("-cd", "--config-dir")
    args = parser.parse(words)
    if args.what not in (verbs := ("build", "inspect", "check")):
        raise UserError(f"data {args.what}: no such verb{nearest(args.what, verbs)}")
    settings = _settings(args.overrides, args.config_dir)
    _say_log_lines()
    from gansweep.data import verbs as data_verbs

    if args.what == "inspect":
        print(data_verbs.inspect(settings.data, args.out))
    else:
        print(getattr(data_verbs, args.what)(settings.data))
    return 0


def _doctor(words: list[str]) -> int:
    from gansweep import doctor

    return doctor.report(as_json=_looking("doctor", words).json)


def _completion(words: list[str]) -> int:
    from gansweep import completion

    return completion.run(words)


def _settings(overrides: Sequence[str], config_dir: str | None = None) -> Any:
    """Return the settings that overrides of a verb without runs lead to. Raises UserError."""
    from gansweep.config.compose import session, user_dirs

    with session(user_dirs(config_dir)) as hydra:
        return hydra.jobs(overrides, multirun=False)[0].settings


def _say_log_lines() -> None:
    from gansweep.config.logs import to_terminal

    to_terminal()


VERBS: dict[str, Callable[[list[str]], int]] = {
    "train": _train,
    "eval-is": _eval_is,
    "resume": _resume,
    "sample": _sample,
    "runs": _runs,
    "show": _show,
    "diff": _diff,
    "ui": _ui,
    "sync": _sync,
    "data": _data,
    "doctor": _doctor,
    "completion": _completion,
}
