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
from urllib.parse import unquote

# Read by MLflow at import and at each call: nothing is reported home, and waiting between tries is ours to do.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from gansweep.runs import rundir
from gansweep.runs.location import artifact_root, artifact_uri, sqlite_path
from gansweep.runs.prepare import READY_TAG, mlflow_version
from gansweep.runs.rundir import Run
from gansweep.runs.wire import (
    DATASET_NAME_CHARS,
    DIGEST_CHARS,
    PARAM_CHARS,
    TAG_CHARS,
    Refused,
    RunLost,
    Unreachable,
    cut,
    first_line,
    image_name,
    image_stem,
    link_or_copy,
    metric_name,
    run_tags,
)

_METRICS_A_CALL = 1000
_PARAMS_A_CALL = 100
_CALL_S, _UPLOAD_S = 10, 120
_NO_SUCH_RUN = re.compile(r"(?:\w+: )?Run (?:with id=|')\w+'? not found")


@contextlib.contextmanager
def _translated(timeout_s: int = _CALL_S) -> Iterator[None]:
    """Turn what MLflow and its stores raise into Unreachable, Refused or RunLost; `timeout_s` is for each request."""
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(timeout_s)
    try:
        yield
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST" and _NO_SUCH_RUN.match(first_line(error)):
            raise RunLost(first_line(error)) from error
        status = error.get_http_status_code()
        kind = Refused if 400 <= status < 500 and status not in (401, 403, 408, 429) else Unreachable
        raise kind(first_line(error)) from error
    except (OSError, ConnectionError) as error:
        raise Unreachable(first_line(error)) from error


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
        with _translated():
            self.client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        self.id = run.mlflow_run_id
        self._artifacts: str | None = None

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
            Metric(metric_name(e["key"]), float(e["value"]), int(e["t"]), int(e["step"]))
            for e in entries
            if e["kind"] == "scalar"
        ]
        for first in range(0, len(metrics), _METRICS_A_CALL):
            self._metrics(metrics[first : first + _METRICS_A_CALL], refused)
        stored = self._stored_images() if replay and any(e["kind"] == "image" for e in entries) else set()
        for entry in entries:
            handle: Callable[[dict[str, Any], list[str]], None] | None = getattr(self, f"_on_{entry['kind']}", None)
            if handle is None or (entry["kind"] == "image" and image_stem(entry) in stored):
                continue
            try:
                handle(entry, refused)
            except Refused as error:
                refused.append(f"{entry['kind']} {entry.get('path') or entry.get('key') or ''}: {error}")
        return refused

    def _find_or_create(self, start: dict[str, Any] | None) -> str:
        """Return the MLflow id: of the run with our tag (a sender died before it noted the id), or of a new one."""
        with _translated():
            experiment = ensure_experiment(self.client, self.experiment, artifact_root(self.uri))
            mine = f"tags.`gansweep.run_id` = '{self.run.id}'"
            found = self.client.search_runs([experiment], mine, max_results=1)
            if found:
                run_id = str(found[0].info.run_id)
            else:
                record = (start or {}).get("record", {})
                made = self.client.create_run(
                    experiment,
                    start_time=(start or {}).get("t"),
                    tags=run_tags(self.run, record),
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
            with _translated():
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
        params = [Param(metric_name(key), cut(value, PARAM_CHARS)) for key, value in record["params"].items()]
        for first in range(0, len(params), _PARAMS_A_CALL):
            self._params(params[first : first + _PARAMS_A_CALL], refused)
        if record.get("dataset"):
            with _translated():
                self.client.log_inputs(self._run_id, [_dataset(record["dataset"])])
        for path in record["files"]:
            self._on_file({"path": path, "to": ""}, refused)

    def _params(self, params: list[Param], refused: list[str]) -> None:
        try:
            with _translated():
                self.client.log_batch(self._run_id, params=params)
        except Refused:  # one bad parameter refuses the call: send them singly
            for param in params:
                try:
                    with _translated():
                        self.client.log_param(self._run_id, param.key, param.value)
                except Refused as error:
                    refused.append(f"param {param.key}: {error}")

    def _on_resume(self, entry: dict[str, Any], refused: list[str]) -> None:
        with _translated():
            self.client.update_run(self._run_id, status="RUNNING")

    def _on_finish(self, entry: dict[str, Any], refused: list[str]) -> None:
        with _translated():
            if entry.get("reason"):
                self.client.set_tag(self._run_id, "gansweep.reason", cut(entry["reason"], TAG_CHARS))
            self.client.set_terminated(self._run_id, status=entry["status"], end_time=int(entry["t"]))

    def _on_tags(self, entry: dict[str, Any], refused: list[str]) -> None:
        tags = [RunTag(metric_name(key), cut(value, TAG_CHARS)) for key, value in entry["tags"].items()]
        with _translated():
            self.client.log_batch(self._run_id, tags=tags)

    def _on_image(self, entry: dict[str, Any], refused: list[str]) -> None:
        from PIL import Image, UnidentifiedImageError

        path = self.run.dir / entry["path"]
        try:
            with Image.open(path) as picture:
                picture.load()
        except (FileNotFoundError, UnidentifiedImageError) as error:
            raise Refused(str(error)) from error
        with _translated(_UPLOAD_S):
            self.client.log_image(
                self._run_id,
                picture,
                key=image_name(entry["key"]),
                step=int(entry["step"]),
                timestamp=int(entry["t"]),
                synchronous=True,
            )

    def _on_file(self, entry: dict[str, Any], refused: list[str]) -> None:
        path = self.run.dir / entry["path"]
        if not path.is_file():
            return  # a checkpoint that was replaced by a newer one before its turn came
        with _translated(_UPLOAD_S):
            folder = self._local_artifacts()
            if folder is not None and path.suffix == ".pt":
                link_or_copy(path, folder / entry["to"] / path.name)
            else:
                self.client.log_artifact(self._run_id, str(path), entry["to"] or None)

    def _on_forget(self, entry: dict[str, Any], refused: list[str]) -> None:
        name = f"{entry['to']}/{Path(entry['path']).name}".lstrip("/")
        folder = self._local_artifacts()
        if folder is not None:
            (folder / name).unlink(missing_ok=True)
            return
        with contextlib.suppress(Refused), _translated():
            get_artifact_repository(self._artifact_uri()).delete_artifacts(name)

    def _artifact_uri(self) -> str:
        if self._artifacts is None:
            with _translated():
                self._artifacts = str(self.client.get_run(self._run_id).info.artifact_uri)
        return self._artifacts

    def _local_artifacts(self) -> Path | None:
        uri = self._artifact_uri()
        path = unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri
        return Path(path) if path.startswith("/") else None

    def _stored_images(self) -> set[str]:
        with _translated():
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
        name=cut(data["name"], DATASET_NAME_CHARS),
        digest=data["fingerprint"][:DIGEST_CHARS],
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
        print(first_line(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
