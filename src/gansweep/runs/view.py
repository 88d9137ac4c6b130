"""The page that `gansweep ui` opens: the runs' charts with the grids first, as a shared view of MLflow's own page.

MLflow keeps such a view as JSON in a tag of the experiment and shows it for `viewStateShareKey=NAME`. Its automatic
cards are no use for grids: above each picture they print every parameter of the run, and they start at step 0.
"""

from __future__ import annotations

import json
import urllib.request
from typing import Any
from urllib.parse import urlencode

_TAG, _NAME = "mlflow.sharedViewState.", "gansweep"
_TRAINING_RUNS = "params.`seed` LIKE '%'"  # the summaries of sweeps have no seed
_CALL_S = 10.0
_NEWEST = 10  # runs that the page shows at first


def share(address: str, experiment: str) -> str:
    """Put the view into `experiment` of the server at `address` and return the page's address.

    Where there is no such experiment yet, or the server refuses, the plain address is returned.
    """
    try:
        found = _call(address, f"experiments/get-by-name?{urlencode({'experiment_name': experiment})}")
        experiment_id = str(found["experiment"]["experiment_id"])
        cards = _pictures(address, experiment_id)
        tag = {"experiment_id": experiment_id, "key": _TAG + _NAME, "value": json.dumps(_state(cards))}
        _call(address, "experiments/set-experiment-tag", tag)
    except (OSError, KeyError, ValueError):
        return address
    shown = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={_NAME}"
    return f"{address}/#/experiments/{experiment_id}/runs?{shown}"


def _pictures(address: str, experiment_id: str) -> dict[str, int]:
    """Return the keys of pictures of the newest runs, samples first, each with the last step that most runs have."""
    asked = {"experiment_ids": [experiment_id], "filter": _TRAINING_RUNS, "max_results": _NEWEST}
    runs = _call(address, "runs/search", asked).get("runs", [])
    steps: dict[str, list[set[int]]] = {}
    for run in runs:
        listed = _call(address, f"artifacts/list?run_id={run['info']['run_id']}&path=images").get("files", [])
        own: dict[str, set[int]] = {}
        for file in listed:
            key, _, rest = str(file["path"]).removeprefix("images/").partition("+step+")
            if rest:
                own.setdefault(key.replace("~", "/"), set()).add(int(rest.partition("+")[0]))
        for key, found in own.items():
            steps.setdefault(key, []).append(found)
    chosen = {}
    for key in sorted(steps, key=lambda name: (not name.startswith("samples"), name)):
        chosen[key] = max(set.union(*steps[key]), key=lambda step: (sum(step in own for own in steps[key]), step))
    return chosen


def _state(cards: dict[str, int]) -> dict[str, Any]:
    """Return the page's state: a first section with a card for each key of pictures; the page adds the curves."""
    charts = [
        {
            **{"uuid": f"gansweep-{key}", "type": "IMAGE", "metricSectionId": "gansweep-grids", "imageKeys": [key]},
            **{"step": step, "showRunParams": False, "runsCountToCompare": 10, "deleted": False, "isGenerated": True},
        }
        for key, step in cards.items()
    ]
    section = {"uuid": "gansweep-grids", "name": "grids", "display": True, "isReordered": True}
    return {
        **{"searchFilter": _TRAINING_RUNS, "orderByKey": "attributes.start_time", "orderByAsc": False},
        **{"startTime": "ALL", "lifecycleFilter": "Active", "datasetsFilter": [], "modelVersionFilter": "All Runs"},
        **{"selectedColumns": [], "runsExpanded": {}, "runsPinned": [], "runsHidden": [], "runsVisibilityMap": {}},
        **{"runsHiddenMode": "FIRST_10_RUNS", "viewMaximized": False, "runListHidden": False},
        **{"compareRunCharts": charts, "isAccordionReordered": True},
        "compareRunSections": [{**section, "deleted": False, "isGenerated": False}] if charts else [],
        **{"useGroupedValuesInCharts": True, "hideEmptyCharts": True, "groupBy": None, "groupsExpanded": {}},
        **{"autoRefreshEnabled": True},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _call(address: str, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Call MLflow's REST interface: POST with a body, else GET."""
    asked = urllib.request.Request(
        f"{address}/api/2.0/mlflow/{what}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked, timeout=_CALL_S) as reply:
        content: dict[str, Any] = json.load(reply)
    return content
