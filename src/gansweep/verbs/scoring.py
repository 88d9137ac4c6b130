"""Scoring what was made: eval-is, scores, judge, weights."""

from __future__ import annotations

import os
from pathlib import Path

from gansweep.errors import GansweepError, UserError, nearest
from gansweep.verbs.line import Parser, say_log_lines


def eval_is(words: list[str]) -> int:
    """Score a checkpoint, a run or a sweep."""
    parser = Parser("eval-is")
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument("overrides", nargs="*", default=[])
    parser.add_argument("--again", action="store_true")
    parser.add_argument("-cd", "--config-dir")
    args = parser.parse(words)
    say_log_lines()
    from gansweep.evaluate import evaluate

    try:
        evaluate(args.target, args.overrides, args.config_dir, again=args.again)
    except GansweepError as error:
        if os.environ.get("RANK", "0") != "0":
            return error.exit_code  # torchrun's first process tells it
        raise
    return 0


def scores(words: list[str]) -> int:
    """Rank the scores here, or take one back."""
    if words[:1] == ["retract"]:
        return _retract(words[1:])
    parser = Parser("scores")
    parser.add_argument("run", metavar="RUN", nargs="?")
    parser.add_argument("--sweep")
    parser.add_argument("--key")
    parser.add_argument("--json", action="store_true")
    args = parser.parse(words)
    from gansweep.scoring.table import print_scores

    return print_scores(run=args.run, sweep=args.sweep, key=args.key, as_json=args.json)


def _retract(words: list[str]) -> int:
    parser = Parser("scores")
    parser.add_argument("card", metavar="CARD")
    parser.add_argument("--why", required=True)
    args = parser.parse(words)
    from gansweep.scoring.retract import retract_card

    print(retract_card(args.card, args.why))
    return 0


def judge(words: list[str]) -> int:
    """Fit a judge on labelled data, or list the judges."""
    parser = Parser("judge")
    parser.add_argument("what", metavar="fit|list")
    parser.add_argument("words", nargs="*", default=[])
    parser.add_argument("-cd", "--config-dir")
    args = parser.parse(words)
    if args.what not in (choices := ("fit", "list")):
        raise UserError(f"judge {args.what}: no such verb{nearest(args.what, choices)}")
    if args.what == "list" and args.words:
        raise UserError(f"judge list: {args.words[0]}: it takes no words")
    say_log_lines()
    from gansweep import judge_fit

    print(judge_fit.fit(args.words, args.config_dir) if args.what == "fit" else judge_fit.listed(args.config_dir))
    return 0


def weights(words: list[str]) -> int:
    """Say which weights are here, take a file of them, or fetch it."""
    what, rest = (words[0], words[1:]) if words else ("", [])
    parser = Parser("weights")
    if what == "add":
        parser.add_argument("file", metavar="FILE", type=Path)
        file = parser.parse(rest).file
        from gansweep.weights import add

        print(add(file.expanduser()))
    elif what == "get":
        parser.add_argument("--from", dest="url")
        url = parser.parse(rest).url
        from gansweep.weights import get

        print(get(url) if url is not None else get())
    elif what:
        raise UserError(f"weights {what}: no such verb{nearest(what, ('add', 'get'))}")
    else:
        from gansweep import doctor

        doctor.tell(list(doctor.judges()))
    return 0
