"""Completion for bash and zsh: verbs at once, groups and keys by asking Hydra.

Hydra's own installer registers a helper that knows no verbs. The shell functions here hand the whole line to
`gansweep completion query`, which takes the verb off and asks Hydra about the rest.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence

from gansweep.errors import UserError, nearest

# Verbs whose words are overrides, with the words that may stand between verb and overrides.
HYDRA_VERBS = ("train", "eval-is", "judge", "data", "ui")
FLAGS = {
    "train": ("--multirun", "--config-dir", "--cfg", "--info", "--help"),
    "eval-is": ("--again", "--config-dir", "--help"),
    "scores": ("--sweep", "--key", "--json", "--why", "--help"),
    "judge": ("--config-dir", "--help"),
    "weights": ("--from", "--help"),
    "runs": ("--json", "--help"),
    "show": ("--json", "--help"),
    "diff": ("--json", "--help"),
    "sample": ("--n", "--seed", "--no-ema", "--out", "--reconstruct", "--help"),
    "ui": ("--port", "--no-browser", "--help"),
    "data": ("--out", "--help"),
    "doctor": ("--json", "--help"),
}
# What may stand right behind a verb, beside runs.
FIRST = {
    "data": ("build", "inspect", "check", "card"),
    "judge": ("fit", "list"),
    "weights": ("add", "get"),
    "scores": ("retract",),
    "completion": ("bash", "zsh"),
}
# judge fit's own words, and the groups that it shares with a run.
FIT_WORDS = (
    "name=", "base=small", "base=lite0", "base=inception", "background=true", "steps=", "batch_size=", "seed=", "lr=",
    "replace=true",
)  # fmt: skip
FIT_GROUPS = ("data", "runtime")
_MOST_RUNS = 50
RUN_VERBS = ("eval-is", "resume", "sample", "show", "diff", "sync", "scores")

# The word that is completed is cut at the last = or :, where bash (COMP_WORDBREAKS) starts a new word.
_BASH = """\
_gansweep() {
    local line="${COMP_LINE:0:COMP_POINT}" word="${COMP_LINE:0:COMP_POINT}"
    word="${word##* }"
    local IFS=$'\\n'
    COMPREPLY=($(gansweep completion query "$line" 2>/dev/null))
    local kept="${word%"${word##*[=:]}"}"
    if [[ -n "$kept" && "$COMP_WORDBREAKS" == *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"$kept"}")
    fi
}
complete -o nospace -o default -F _gansweep gansweep
"""
_ZSH = """\
#compdef gansweep
_gansweep() {
    local -a found
    found=("${(@f)$(gansweep completion query "${LBUFFER}" 2>/dev/null)}")
    if (( ${#found} )) && [[ -n "${found[1]}" ]]; then
        compadd -Q -S '' -- "${found[@]}"
    else
        _files
    fi
}
compdef _gansweep gansweep
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH}


def run(words: Sequence[str]) -> int:
    """Print the script of a shell, or (`query LINE`) what may complete a line; returns the exit status."""
    if len(words) == 2 and words[0] == "query":
        for choice in query(words[1]):
            print(choice)
        return 0
    if len(words) != 1 or words[0] not in SCRIPTS:
        given = " ".join(words) or "nothing"
        raise UserError(f"completion {given}: name a shell{nearest(given, SCRIPTS)}")
    print(SCRIPTS[words[0]], end="")
    return 0


def query(line: str) -> list[str]:
    """Return what may stand in place of the last word of `line` (`gansweep` and what is typed up to the cursor)."""
    from gansweep.cli import VERBS

    words = line.split(" ")[1:]
    words = [word for word in words[:-1] if word] + words[-1:]
    if len(words) <= 1:
        return _starting([*VERBS, "-m"], words[0] if words else "")
    verb = "train" if words[0] in ("-m", "--multirun") else words[0]
    last = words[-1]
    if last.startswith("-"):
        return _starting(FLAGS.get(verb, ("--help",)), last)
    behind = words[1:-1]
    if verb in FIRST and not behind:
        return _starting(FIRST[verb], last) + (_runs(last) if verb in RUN_VERBS else [])
    if verb == "scores" and behind[0] == "retract":
        return _cards(last) if len(behind) == 1 else []
    if verb in RUN_VERBS and "=" not in last and (verb != "eval-is" or not behind):
        return _runs(last)
    if verb not in HYDRA_VERBS or (verb == "judge" and behind[0] != "fit"):
        return []
    overrides = [word for word in behind if "=" in word]
    if verb == "judge":
        overrides = [word for word in overrides if word.startswith(FIT_GROUPS)]
        found = _ask_hydra([*overrides, last], _config_dir(behind)) if last.startswith(FIT_GROUPS) else []
        return found or _starting((*FIT_WORDS, "data=", "runtime="), last)
    return _ask_hydra([*overrides, last], _config_dir(behind))


def _starting(choices: Sequence[str] | dict[str, str], start: str) -> list[str]:
    return [choice for choice in choices if choice.startswith(start)]


def _config_dir(words: Sequence[str]) -> str | None:
    return next((words[at + 1] for at, word in enumerate(words[:-1]) if word in ("--config-dir", "-cd")), None)


def _runs(start: str) -> list[str]:
    """Return the ids of runs here that begin with `start`, newest first; none: the shell then offers files."""
    from gansweep.runs.store import all_runs

    return [run.id[:8] for run in reversed(all_runs()) if run.id.startswith(start)][:_MOST_RUNS]


def _cards(start: str) -> list[str]:
    """Return the ids of score cards here that begin with `start` and can still be retracted, newest runs' first."""
    from gansweep.runs.store import all_runs
    from gansweep.scoring.card import cards_of

    cards = (card for run in reversed(all_runs()) for card in cards_of(run.dir))
    return [card.id for card in cards if card.retracted is None and card.id.startswith(start)][:_MOST_RUNS]


def _ask_hydra(words: list[str], config_dir: str | None) -> list[str]:
    """Ask Hydra's completion, as its own helper does: through COMP_LINE, here without the verb."""
    from hydra._internal.core_plugins.bash_completion import BashCompletion

    from gansweep.config.compose import CONFIG_NAME, session, user_dirs

    prefix = "+" if words[-1].startswith("+") else ""
    asked = " ".join([*words[:-1], words[-1].removeprefix("+")])
    before = {name: os.environ.get(name) for name in ("COMP_LINE", "COMP_POINT")}
    os.environ.update(COMP_LINE=f"gansweep {asked}", COMP_POINT=str(len(asked) + 9))
    out = io.StringIO()
    try:
        with session(user_dirs(config_dir)) as hydra, contextlib.redirect_stdout(out):
            group, equals, start = words[-1].removeprefix("+").partition("=")
            if equals and "," not in start and hydra.is_group(group):  # Hydra's own stops at sub-folders
                return [f"{prefix}{group}={name}" for name in sorted(hydra.options(group)) if name.startswith(start)]
            BashCompletion(hydra.loader).query(CONFIG_NAME)
    except Exception:
        # A line that does not compose has no completions; the shell is no place for an error.
        return []
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return [prefix + choice for choice in out.getvalue().split() if not choice.startswith("hydra.")]
