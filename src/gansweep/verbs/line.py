"""What the verbs share: the parser of their words, and the settings that a verb without runs leads to."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from gansweep.errors import UserError


class Parser(argparse.ArgumentParser):
    """argparse, with its errors in our form: one line, exit status 2."""

    def __init__(self, verb: str) -> None:
        super().__init__(prog=f"gansweep {verb}", add_help=False, allow_abbrev=False)
        self.verb = verb

    def error(self, message: str) -> Any:
        """Raise argparse's message as a UserError."""
        raise UserError(f"{self.verb}: {message}; see gansweep {self.verb} --help")

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse arguments and options in any order."""
        return self.parse_intermixed_args(list(words))


def looking(verb: str, words: Sequence[str], *runs: str) -> argparse.Namespace:
    """Parse the words of a verb that takes these runs and may be asked for JSON."""
    parser = Parser(verb)
    for name in runs:
        parser.add_argument(name, metavar="RUN")
    parser.add_argument("--json", action="store_true")
    return parser.parse(words)


def print_json(content: object) -> int:
    """Print plain content as JSON on stdout; returns exit status 0."""
    print(json.dumps(content, indent=1, ensure_ascii=False))
    return 0


def settings_of(overrides: Sequence[str], config_dir: str | None = None) -> Any:
    """Return the settings that overrides of a verb without runs lead to. Raises UserError."""
    from gansweep.config.compose import session, user_dirs

    with session(user_dirs(config_dir)) as hydra:
        return hydra.jobs(overrides, multirun=False)[0].settings


def say_log_lines() -> None:
    """Let the log's lines be seen on stderr from here on."""
    from gansweep.config.logs import to_terminal

    to_terminal()
