"""The only importer of MLflow: makes the store, makes the run, and delivers what the spool holds.

Run as a program (`python -m gansweep.runs.mlflow URI EXPERIMENT ARTIFACT_ROOT`) it makes a sqlite store's experiment.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

# Read by MLflow at import and at each call: nothing is reported home, and waiting between tries is ours to do.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from gansweep.runs import rundir, wire
from gansweep.runs.location import answers, artifact_root, artifact_uri, sqlite_path
from gansweep.runs.prepare import READY_TAG, mlflow_version
from gansweep.runs.rundir import Run
from gansweep.runs.wire import Refused, Unreachable

_METRICS_A_CALL = 1000
_PARAMS_A_CALL = 100
_CALL_S, _UPLOAD_S = 10, 120


class MlflowRun:
    """One run in MLflow, found or made at the first delivery. Unreachable when the store cannot be opened."""

    def __init__(self, run: Run) -> None:
        self.run = run
        tracking = run.record["tracking"]
        self.uri, self.experiment = str(tracking["uri"]), str(tracking["experiment"])
        database = sqlite_path(self.uri)
        if database is not None and not database.is_file():
            # Opening it would make it, beside other processes doing the same: only prepare_store may.
            raise Unreachable(f"{database} is missing")
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._doubts: dict[str, float] = {}
        with self._calls():
            self.client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        self.id = run.mlflow_run_id
        self._mine = f"tags.`gansweep.run_id` = '{run.id}'"
        self._artifacts: str | None = None
        self._asked_for_one = self._may_be_double = False

    @contextlib.contextmanager
    def _calls(self, timeout_s: int = _CALL_S) -> Iterator[None]:
        """Turn what MLflow and its stores raise into what it means (see wire); `timeout_s` is for each request."""
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(timeout_s)
        try:
            yield
        except Exception as error:
            found = wire.verdict(error, self._doubts)
            if found is None:
                raise
            raise found from error

    def deliver(self, entries: Sequence[dict[str, Any]], *, replay: bool) -> list[str]:
        """Send spool lines: metrics in calls of at most 1000, then the others in order; returns those refused.

        `replay`: the lines may have been sent before. Metrics, parameters and files bear that; a picture would be there
        twice, so it is looked for first. Unreachable when the tracker does not take them now, RunLost
        when it no longer knows the run.
        """
        refused: list[str] = []
        if self.id is None:
            start = next((e for e in entries if e["kind"] == "start"), None)
            self.id = self._find_or_create(start)
        metrics = [
            Metric(wire.metric_name(e["key"]), float(e["value"]), int(e["t"]), int(e["step"]))
            for e in entries
            if e["kind"] == "scalar"
        ]
        for first in range(0, len(metrics), _METRICS_A_CALL):
            self._metrics(metrics[first : first + _METRICS_A_CALL], refused)
        stored = self._stored_images() if replay and any(e["kind"] == "image" for e in entries) else set()
        for entry in entries:
            if entry["kind"] != "image" or wire.image_stem(entry) not in stored:
                self._take(entry, refused)
        self._doubts.clear()
        return refused

    def _take(self, entry: dict[str, Any], refused: list[str]) -> None:
        """Send one line that is no metric; a kind that we do not know is left out."""
        handle: Callable[[dict[str, Any], list[str]], None] = getattr(self, f"_on_{entry['kind']}", lambda *_: None)
        try:
            handle(entry, refused)
        except Refused as error:
            refused.append(f"{entry['kind']} {entry.get('path') or entry.get('key') or ''}: {error}")

    def _find_or_create(self, start: dict[str, Any] | None) -> str:
        """Return the MLflow id: of the run with our tag (a sender died before it noted the id), or of a new one."""
        with self._calls():
            experiment = ensure_experiment(self.client, self.experiment, artifact_root(self.uri))
            found = self.client.search_runs([experiment], self._mine, max_results=1)
            if found:
                run_id = str(found[0].info.run_id)
            else:
                record = (start or {}).get("record", {})
                # A call that was given up may be answered to nobody later: then there are two, and one is empty.
                self._may_be_double, self._asked_for_one = self._asked_for_one, True
                made = self.client.create_run(
                    experiment,
                    start_time=(start or {}).get("t"),
                    tags=wire.run_tags(self.run, record),
                    run_name=self.run.name,
                )
                run_id = str(made.info.run_id)
        rundir.update(self.run.dir, mlflow_run_id=run_id)
        return run_id

    @property
    def _run_id(self) -> str:
        if self.id is None:
            raise RuntimeError("the run has no id in MLflow yet")
        return self.id

    def _metrics(self, metrics: list[Metric], refused: list[str]) -> None:
        """Send one call's metrics; when some are refused, halve until it is known which."""
        try:
            with self._calls():
                self.client.log_batch(self._run_id, metrics=metrics)
        except Refused as error:
            if len(metrics) == 1:
                refused.append(f"metric {metrics[0].key} at step {metrics[0].step}: {error}")
                return
            middle = len(metrics) // 2
            self._metrics(metrics[:middle], refused)
            self._metrics(metrics[middle:], refused)

    def _on_start(self, entry: dict[str, Any], refused: list[str]) -> None:
        record = entry["record"]
        params = [
            Param(wire.metric_name(key), wire.cut(value, wire.PARAM_CHARS)) for key, value in record["params"].items()
        ]
        for first in range(0, len(params), _PARAMS_A_CALL):
            self._params(params[first : first + _PARAMS_A_CALL], refused)
        if record.get("dataset"):
            self._take({"kind": "dataset", "key": record["dataset"]["name"], "data": record["dataset"]}, refused)
        for path in record["files"]:
            self._take({"kind": "file", "path": path, "to": ""}, refused)

    def _on_dataset(self, entry: dict[str, Any], refused: list[str]) -> None:
        for left in (2, 1, 0):  # of runs that name it at the same moment one makes its row; the others then find it
            try:
                with self._calls():
                    return self.client.log_inputs(self._run_id, [_dataset(entry["data"])])
            except wire.Doubtful:
                if not left:
                    raise

    def _params(self, params: list[Param], refused: list[str]) -> None:
        try:
            with self._calls():
                self.client.log_batch(self._run_id, params=params)
        except Refused:  # one bad parameter refuses the call: send them singly
            for param in params:
                try:
                    with self._calls():
                        self.client.log_param(self._run_id, param.key, param.value)
                except Refused as error:
                    refused.append(f"param {param.key}: {error}")

    def _on_resume(self, entry: dict[str, Any], refused: list[str]) -> None:
        with contextlib.suppress(Refused), self._calls():  # why it stopped, where that was said
            self.client.delete_tag(self._run_id, "gansweep.reason")
        with self._calls():
            self.client.update_run(self._run_id, status="RUNNING")

    def _on_finish(self, entry: dict[str, Any], refused: list[str]) -> None:
        if self._may_be_double:
            self._delete_doubles()
        with self._calls():
            if entry.get("reason"):
                self.client.set_tag(self._run_id, "gansweep.reason", wire.cut(entry["reason"], wire.TAG_CHARS))
            self.client.set_terminated(self._run_id, status=entry["status"], end_time=int(entry["t"]))

    def _delete_doubles(self) -> None:
        """Delete runs that have our tag and nothing else: made for us by calls that we had given up."""
        with self._calls():
            experiment = self.client.get_run(self._run_id).info.experiment_id
            for run in self.client.search_runs([experiment], self._mine):
                if run.info.run_id != self.id and not run.data.metrics and not run.data.params:
                    self.client.delete_run(run.info.run_id)

    def _on_tags(self, entry: dict[str, Any], refused: list[str]) -> None:
        tags = [RunTag(wire.metric_name(key), wire.cut(value, wire.TAG_CHARS)) for key, value in entry["tags"].items()]
        with self._calls():
            self.client.log_batch(self._run_id, tags=tags)

    def _on_image(self, entry: dict[str, Any], refused: list[str]) -> None:
        picture = wire.picture(self.run.dir / entry["path"])
        with self._calls(_UPLOAD_S):
            self.client.log_image(
                self._run_id,
                picture,
                key=wire.image_name(entry["key"]),
                step=int(entry["step"]),
                timestamp=int(entry["t"]),
                synchronous=True,
            )

    def _on_file(self, entry: dict[str, Any], refused: list[str]) -> None:
        path = self.run.dir / entry["path"]
        if not path.is_file():
            return  # a checkpoint that was replaced by a newer one before its turn came
        with self._calls(_UPLOAD_S):
            folder = wire.local_folder(self._artifact_uri())
            if folder is not None and path.suffix == ".pt":
                wire.link_or_copy(path, folder / entry["to"] / path.name)
            else:
                self.client.log_artifact(self._run_id, str(path), entry["to"] or None)

    def _on_forget(self, entry: dict[str, Any], refused: list[str]) -> None:
        name = f"{entry['to']}/{Path(entry['path']).name}".lstrip("/")
        folder = wire.local_folder(self._artifact_uri())
        if folder is not None:
            (folder / name).unlink(missing_ok=True)
            return
        with contextlib.suppress(Refused, NotImplementedError):
            try:
                with self._calls():
                    get_artifact_repository(self._artifact_uri(), self.uri).delete_artifacts(name)
            except Unreachable:
                if not answers(self.uri):  # one that answers cannot delete it: it may be gone already
                    raise

    def _artifact_uri(self) -> str:
        if self._artifacts is None:
            with self._calls():
                self._artifacts = str(self.client.get_run(self._run_id).info.artifact_uri)
        return self._artifacts

    def _stored_images(self) -> set[str]:
        with self._calls():
            paths = [str(item.path) for item in self.client.list_artifacts(self._run_id, "images")]
        return {path.rsplit("+", 1)[0] for path in paths if path.endswith(".png")}


def ensure_experiment(client: MlflowClient, name: str, root: Path | None) -> str:
    """Return the id of experiment `name`; a new one gets its artifacts below `root` (None: the server decides)."""
    found = client.get_experiment_by_name(name)
    if found is None:
        place = artifact_uri(root / re.sub(r"[^\w.-]+", "_", name)) if root else None
        try:
            return str(client.create_experiment(name, artifact_location=place))
        except MlflowException:  # another run's sender was faster
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise MlflowException(
            f"experiment '{name}' was deleted; restore it with `mlflow experiments restore -x {found.experiment_id}` "
            "or choose another: tracker.experiment=NAME"
        )
    return str(found.experiment_id)


def _dataset(data: dict[str, Any]) -> DatasetInput:
    """Return MLflow's dataset input; the digest is the head of the fingerprint, whose whole is a tag of the input."""
    dataset = Dataset(
        name=wire.cut(data["name"], wire.DATASET_NAME_CHARS),
        digest=data["fingerprint"][: wire.DIGEST_CHARS],
        source_type="gansweep",
        source=json.dumps({"source": data["source"]}),
        profile=json.dumps({"num_rows": data["count"]}),
    )
    tags = [InputTag("mlflow.data.context", "training"), InputTag("gansweep.fingerprint", data["fingerprint"])]
    return DatasetInput(dataset=dataset, tags=tags)


def _main() -> int:
    """Make the experiment (and, in a file that is not there yet, the database); errors are one line for the parent."""
    uri, experiment, root = sys.argv[1:]
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.set_experiment_tag(ensure_experiment(client, experiment, Path(root)), READY_TAG, mlflow_version())
    except Exception as error:
        print(wire.first_line(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
