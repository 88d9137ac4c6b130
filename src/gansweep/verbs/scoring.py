"""Scoring what was made: eval-is."""

from __future__ import annotations

from gansweep.verbs.line import Parser, say_log_lines


def eval_is(words: list[str]) -> int:
    """Score a checkpoint, a run or a sweep."""
    parser = Parser("eval-is")
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument("overrides", nargs="*", default=[])
    parser.add_argument("-cd", "--config-dir")
    args = parser.parse(words)
    say_log_lines()
    from gansweep.evaluate import evaluate

    evaluate(args.target, args.overrides, args.config_dir)
    return 0
