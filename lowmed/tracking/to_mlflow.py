"""MLflow: a database in the run directory, or the server of MLFLOW_TRACKING_URI.

Artifacts have addresses `mlflow-artifacts:/`, so that the database holds no path of this machine. To look at them:
`mlflow server --backend-store-uri sqlite:///RUN/mlflow/mlflow.db --artifacts-destination RUN/mlflow/artifacts`.
"""

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowmed.errors import SetupError
from lowmed.tracking.tracker import Opening, Status

if TYPE_CHECKING:
    from PIL.Image import Image

PACKAGES = ("mlflow", "sqlalchemy", "alembic")
_SERVER = "MLFLOW_TRACKING_URI"
_ARTIFACTS = "mlflow-artifacts:/"
_ARTIFACT_ROOT = "_MLFLOW_SERVER_ARTIFACT_ROOT"  # set by MLflow's own server; the default is a path of this machine
_PARAMETERS_A_REQUEST = 100
_LONGEST_VALUE = 6000  # of a parameter
_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A server that is gone must not hold up training; the defaults are 7 retries of 2 minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
}


def login_error() -> SetupError | None:
    """The error if no server is set. MLflow itself reads its keys from the environment."""
    if re.match(r"https?://|databricks", os.environ.get(_SERVER, "")):
        return None
    return SetupError(
        f"{_SERVER} names no server", "track.online", f"set {_SERVER} to its http address, or leave track.online out"
    )


def start(opening: Opening) -> "MlflowTracker":
    """Create the run in the experiment, or continue it."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow import MlflowClient
    from mlflow.entities import Param

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # lowmed reports a failure itself, once
    if opening.spec.online:
        address, artifacts = os.environ[_SERVER], None
    else:
        opening.folder.mkdir(parents=True, exist_ok=True)
        address, artifacts = f"sqlite:///{opening.folder}/mlflow.db", opening.folder / "artifacts"
    with _portable_artifact_root():
        client = MlflowClient(tracking_uri=address, registry_uri=address)
        experiment = client.get_experiment_by_name(opening.spec.project)
    identifier = experiment.experiment_id if experiment else client.create_experiment(opening.spec.project)
    if opening.run_id:
        client.update_run(opening.run_id, status="RUNNING")
        return MlflowTracker(client, opening.run_id, artifacts)
    run = client.create_run(identifier, run_name=opening.name)
    values = [Param(key, value[:_LONGEST_VALUE]) for key, value in opening.parameters.items()]
    for first in range(0, len(values), _PARAMETERS_A_REQUEST):
        client.log_batch(run.info.run_id, params=values[first : first + _PARAMETERS_A_REQUEST])
    return MlflowTracker(client, run.info.run_id, artifacts)


class MlflowTracker:
    """One run in MLflow. It cannot drop a step."""

    drops_steps = False

    def __init__(self, client: Any, run_id: str, artifacts: Path | None) -> None:
        self.client = client
        self.run_id = run_id
        self.artifacts = artifacts  # None on a server

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record values of a step."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        names = {re.sub(r"[^\w\-./ :]", "_", name): value for name, value in values.items()}
        self.client.log_batch(self.run_id, metrics=[Metric(name, value, now, step) for name, value in names.items()])

    def show(self, step: int, text: str, images: "Sequence[Image]") -> None:
        """Record sample completions of a step as files."""
        name = f"completions/step-{step:06d}"
        if self.artifacts is None:
            self.client.log_text(self.run_id, text, f"{name}.md")
            return
        address = self.client.get_run(self.run_id).info.artifact_uri
        path = self.artifacts / address.removeprefix(_ARTIFACTS) / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        for number, image in enumerate(images):
            image.save(path.with_name(f"{path.stem}-{number}.png"))

    def close(self, status: Status) -> None:
        """Record how the session ended."""
        self.client.set_terminated(self.run_id, _STATUS[status])


@contextmanager
def _portable_artifact_root() -> Iterator[None]:
    before = os.environ.get(_ARTIFACT_ROOT)
    os.environ[_ARTIFACT_ROOT] = _ARTIFACTS
    try:
        yield
    finally:
        os.environ.pop(_ARTIFACT_ROOT)
        if before is not None:
            os.environ[_ARTIFACT_ROOT] = before
