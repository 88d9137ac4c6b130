"""What each verb's --help says. Plain text and nothing imported: it is read at every start."""

from __future__ import annotations

MAIN = """\
gansweep trains and compares GANs and VAEs: each line of a lab journal is one command, each run is recorded.

  gansweep train model=vaegan scales.l1=600            one run
  gansweep -m model=vaegan scales.l1=100,600 seed=1,2  a sweep: every combination (same as: gansweep train -m ...)
  gansweep eval-is TARGET [KEY=VALUE ...]              Inception Score, written back to the run that made TARGET
  gansweep scores [RUN] [--sweep S]                    scores ranked, those that can be compared; scores retract CARD
  gansweep judge fit data=... name=... | list          a judge of your own, fitted on labelled pictures
  gansweep weights [add FILE | get]                    the weights of the judge inception: what is here, put them here
  gansweep -m scales.l1=100,600 --plan                 what a sweep would be: points, curves, time, memory, warnings
  gansweep -m --resume [SWEEP]                         go on with a sweep: what is missing, from its checkpoints
  gansweep sweep status|stop|retry [SWEEP]             look at a sweep, stop it, run what failed in it once more
  gansweep resume RUN                                  go on exactly where a run stopped
  gansweep sample TARGET                               pictures from a checkpoint
  gansweep runs | show RUN | diff RUN RUN              look at what was done
  gansweep journals [JOURNAL|ENTRY]                    the journals' entries, each a preset: experiment=JOURNAL/ENTRY
  gansweep ui                                          the MLflow UI on the right store
  gansweep sync [RUN]                                  send what a tracker that was away has missed
  gansweep data build|inspect|check|card [KEY=VALUE ...]  make, look at and check a data set
  gansweep doctor                                      what this machine has, what is missing, how to get it
  gansweep completion bash|zsh                         a script that completes verbs, groups and keys

RUN is a run's directory, its id or the beginning of one, or its name. TARGET is that, a checkpoint file, or a sweep's
directory.
Each verb has its own --help. Exit status: 0 done, 1 a run failed, 2 the request was wrong, 3 something is missing,
130 stopped (Ctrl-C).
"""

TRAIN = """\
gansweep train [KEY=VALUE ...] [-m] [--config-dir DIR]

Train one model, or with -m one for every combination of the values given. Everything is checked before the first
step; nothing is written when the request is wrong.

  gansweep train model=vaegan scales.l1=600
  gansweep train experiment=demo steps=500 note='first try'
  gansweep -m model=vaegan scales.l1=100,600 seed=1,2
  gansweep -m model=vae seeds=4 hydra.launcher.n_jobs=2     every point with four seeds, two jobs at a time
  gansweep -m model=vae scales.l1=1,2 --plan [--json]       points, curves, time, memory, disk, warnings; starts nothing
  gansweep -m --resume [SWEEP | KEY=VALUE ...]          go on with a sweep that was stopped or killed; the latest
  gansweep -m hydra/sweeper=search 'objective=[val/squared_error]' 'scales.l1=tag(log,interval(10,1000))'   a search
  torchrun --nproc-per-node=4 -m gansweep train model=vaegan batch_size=256             each batch shared by 4 processes

Groups (GROUP=CHOICE takes one file of settings; gansweep train --info=defaults-tree shows what is chosen):
  model        the system: its networks and phases          scales       weight of each loss term; null removes it
  optimizer    rates and moments                            schedule     who learns when; curves over the steps
  data         the pictures                                 runtime      device, engine, precision, EMA, accumulation
  tracker      where the record goes (mlflow, none)         judge, eval  how eval-is scores
  checkpoint   how many are kept, which is best             experiment   a whole journal entry
  scale_down   scale_down=cpu: any of it in minutes on a CPU
  hydra/launcher  where a sweep's jobs run: pool (here), slurm, ray    hydra/sweeper  search: Optuna chooses the points

Keys: seed, steps (updates of the generator), batch_size, log_every, sample_every, val_every, checkpoint_every,
name, note, objective, and everything inside the groups: scales.l1, optimizer.lr (all networks), optimizer.dis.lr (one),
schedule.phases.dis.repeat, data.size, runtime.device ...  gansweep train --cfg job lists them all with their values.

Your own: +terms.PHASE.NAME=package.function +scales.NAME=2 adds a loss. A folder conf/ where you stand, or
--config-dir DIR, adds choices to the groups: conf/model/mine.yaml is model=mine, with conf/scales/mine.yaml and
conf/schedule/mine.yaml.

A run goes to outputs/DATE/TIME-NAME, a sweep to multirun/DATE/TIME/JOB.
"""

EVAL_IS = """\
gansweep eval-is TARGET [KEY=VALUE ...] [--again] [--config-dir DIR]

Draw samples from checkpoints (EMA weights when they have them), score them with a judge, print the scores and write
them to the runs that made the checkpoints, at the checkpoints' steps. TARGET is a checkpoint, a run (all its
checkpoints), or a sweep.

  gansweep eval-is outputs/2026-11-22/10-15-00-vaegan                   every checkpoint of a run
  gansweep eval-is 3fa9c1 eval.checkpoints=last eval.metrics=[is,fid]   its last one, by two metrics
  gansweep eval-is multirun/2026-11-22/10-20-00                         the last one of every run of a sweep
  gansweep eval-is 3fa9c1 judge=lite0 eval.n=500                        a score that needs no download
  torchrun --nproc-per-node=4 -m gansweep eval-is 3fa9c1 eval.n=50000   each batch shared by 4 processes

What is scored already, alike in everything, is not scored again but with --again. An evaluation that was interrupted
goes on where it stopped when the same line is given again.

  eval.checkpoints=last|best|all    which ones of each run; without it all of a run, the last of a sweep's runs
  eval.metrics=[is,fid,kid,prdc,rec]
                     is    Inception Score, with its 95 % interval          prdc  precision, recall, density, coverage
                     fid   distance of features to the run's own data       kid   the same by a kernel, unbiased
                     rec   PSNR, SSIM, MS-SSIM of held-out pictures, for models with an encoder
  eval.protocol=torch-fidelity|improved-gan|stackgan|torchmetrics
                     only torch-fidelity writes inception_score; the others add their name to the score's
  eval.precision=exact|tf32|bf16    how the judge computes; what is faster is recorded with the score
  eval.mode=eval|train              of the networks that draw; train is recorded and never compared with eval
  judge=inception|lite0|NAME        NAME: your own, made by gansweep judge fit; judge.weights=FILE: its weights

Further keys: eval.n (samples), eval.seed, eval.splits, eval.batch_size, eval.ema, eval.device.
"""

SCORES = """\
gansweep scores [RUN] [--sweep S] [--key KEY] [--json]
gansweep scores retract CARD --why TEXT

Rank the scores of the runs here, of one run, or of a sweep (its directory or id): by metric, and only those that are
comparable; what sets the others apart is said. Scores within each other's 95 % interval are shown as ties.
--key shows one metric alone.

  gansweep scores --sweep multirun/2026-11-22/10-20-00
  gansweep scores 3fa9c1 --key inception_score
  gansweep scores retract 5d0e41 --why 'scored with the training mode of another checkout'

retract takes a score out of every ranking for good; it stays visible, struck through, with the reason. CARD is the id
that scores shows, or its beginning.
"""

JUDGE = """\
gansweep judge fit data=SET name=NAME [base=small|lite0|inception] [KEY=VALUE ...] [--config-dir DIR]
gansweep judge list

fit trains a classifier on a labelled data set and keeps it as the judge NAME, with its accuracy and digest, for
eval-is ... judge=NAME, which writes is_NAME. list says which judges there are.

  gansweep judge fit data=fashion_mnist name=clothes
  gansweep judge fit data=folder data.path=birds name=birds base=lite0 background=true
  gansweep eval-is 3fa9c1 judge=birds eval.protocol=stackgan

Keys: base (small: a network of its own; lite0, inception: a new head on that judge's features), steps, batch_size, lr,
seed, background=true (a class that no picture bears, which eval.protocol=stackgan drops), replace=true (of a judge of
that name), and everything in data and runtime.
"""

WEIGHTS = """\
gansweep weights
gansweep weights add FILE
gansweep weights get [--from URL]

The judge inception needs a public file of 96 MB, pt_inception-2015-12-05-6726825d.pth, which is not shipped. Without a
word: which judges' weights are here, with their digests, and how to get the rest.

  add      verify a file that you have (its digest and its layout; no code in it is run) and copy it into the cache
  get      download it, verify it likewise, keep it there; the only command of gansweep that downloads anything

  gansweep weights add ~/Downloads/pt_inception-2015-12-05-6726825d.pth
  gansweep weights get --from https://mirror.example/pt_inception-2015-12-05-6726825d.pth

Exit status 2: the file is another one, 3: it could not be fetched.
"""

RESUME = """\
gansweep resume RUN

Go on with a run that was interrupted, from its last checkpoint, to the result it would have had without the
interruption. A finished run stays as it is.

  gansweep resume outputs/2026-11-22/10-15-00-vaegan
  gansweep resume 3fa9c1
"""

SAMPLE = """\
gansweep sample TARGET [--n 64] [--seed 0] [--no-ema] [--reconstruct] [--out DIR]

Draw pictures from a checkpoint: a grid, and one PNG each. --reconstruct adds held-out pictures beside their copies.
A talking face adds clips.mp4, whole held-out utterances with their sound: real, still and made beside each other.

  gansweep sample 3fa9c1 --n 16 --seed 7
  gansweep sample outputs/2026-11-22/10-15-00-vaegan/checkpoints/best.pt --out pictures
"""

RUNS = """\
gansweep runs [--json]

List the runs in outputs/ and multirun/ of this directory, newest first: id, name, status, step, losses, scores, age.
"""

SHOW = """\
gansweep show RUN [--json]

Everything about one run: what differs from the defaults, losses, scores, checkpoints, last grids, parent, commit, note.

  gansweep show 3fa9c1
"""

DIFF = """\
gansweep diff RUN RUN [--json]

What sets two runs apart: the settings that differ (with a warning when more than one was changed), their last losses
and scores side by side, and code, data, hardware and versions where they differ.

  gansweep diff 3fa9c1 b07e22
"""

JOURNALS = """\
gansweep journals [JOURNAL|ENTRY] [--json] [--config-dir DIR]

The entries of the lab journals that this tool was made for, each a preset of conf/experiment: its name, its place in
the journal, and what was tried. An entry's name tells it in full: what its author saw, what today's reading adds.

  gansweep journals
  gansweep journals vae
  gansweep journals vae/2022-04-01a
  gansweep train experiment=vae/2022-04-01a +scale_down=cpu
"""

UI = """\
gansweep ui [--port 5000] [KEY=VALUE ...]

Open the MLflow UI on the store that runs started here are recorded in; Ctrl-C ends it.

  gansweep ui
  gansweep ui --port 5001 tracker.uri=sqlite:///old.db
"""

SYNC = """\
gansweep sync [RUN ...]

Send to the tracker what it missed while it could not be reached. Without RUN: every run in outputs/ and multirun/.

  gansweep sync
  gansweep sync outputs/2026-11-22/10-15-00-vaegan
"""

DATA = """\
gansweep data build|inspect|check|card [KEY=VALUE ...]

  build      read the pictures and pack them, as the first run would
  inspect    a contact sheet (--out sheet.png) and a table: count, classes, captions, splits, fingerprint
  card       what the set is, its fields and relations, and the trivial baselines that any model must beat
  check      read every picture and report those that cannot be used

  gansweep data check data=folder data.path=pictures
  gansweep data inspect data=emoji data.size=32 --out emoji.png
"""

DOCTOR = """\
gansweep doctor [--json]

What this machine has, what is missing, and how to get it. Exit status 3 when something that every run needs is missing.
"""

COMPLETION = """\
gansweep completion bash|zsh

Print a script that makes the shell complete verbs, groups and keys.

  source <(gansweep completion bash)       in ~/.bashrc
  source <(gansweep completion zsh)        in ~/.zshrc, behind compinit
"""

SWEEP = """\
gansweep sweep status [SWEEP] [--json]
gansweep sweep stop   [SWEEP]
gansweep sweep retry  [SWEEP [JOB ...]]

SWEEP is a sweep's directory, its id or the beginning of one; without it, the latest in multirun/.

  status   every job: state, last losses, run, log; why those that did not finish did not. Of points with several seeds
           mean and interval, and ties; of a search the best points and how much each key mattered
  stop     ask the process that leads it to end: jobs write a checkpoint, and gansweep -m --resume goes on. On Slurm,
           where a sweep may have no leader, jobs that wait are cancelled
  retry    run the jobs that failed or were stopped (or only JOB, JOB ..., numbers as status shows them) once more, each
           from its last checkpoint, and whatever still waits; with the code that the sweep was started with

A sweep keeps its record in sweep.jsonl, its settings in points/ and a copy of the code in code/: what a job runs is
what was there when the sweep was started. gansweep -m --resume [SWEEP] goes on with what is missing; it refuses when
settings or code differ from then (--as-is runs what was submitted).
"""

PAGES = {
    "sweep": SWEEP,
    "train": TRAIN,
    "eval-is": EVAL_IS,
    "scores": SCORES,
    "judge": JUDGE,
    "weights": WEIGHTS,
    "resume": RESUME,
    "sample": SAMPLE,
    "runs": RUNS,
    "show": SHOW,
    "diff": DIFF,
    "journals": JOURNALS,
    "ui": UI,
    "sync": SYNC,
    "data": DATA,
    "doctor": DOCTOR,
    "completion": COMPLETION,
}
