"""One command line: which verb it is, train, and what an error looks like. Only here is hydra.main met.

Nothing heavy is imported before it is known what is asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from gansweep import manual
from gansweep.errors import GansweepError, UserError, nearest, refused_by_system
from gansweep.verbs import looking, making, scoring, sweeping


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


VERBS: dict[str, Callable[[list[str]], int]] = {
    "train": _train,
    "eval-is": scoring.eval_is,
    "scores": scoring.scores,
    "judge": scoring.judge,
    "weights": scoring.weights,
    "sweep": sweeping.sweep,
    "resume": making.resume,
    "sample": making.sample,
    "runs": looking.runs,
    "show": looking.show,
    "diff": looking.diff,
    "journals": looking.journals,
    "ui": looking.ui,
    "sync": looking.sync,
    "data": making.data,
    "doctor": looking.doctor,
    "completion": looking.completion,
}
