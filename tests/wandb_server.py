"""A server on loopback that stands in for Weights & Biases: it keeps what the real client sends, run by run.

It answers the calls of the client (GraphQL, the stream of metrics, uploads of files and artifacts, sweeps and their
agents), and nothing else. `misbehave` makes it slow, wrong or silent.
"""

import collections
import itertools
import json
import threading
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from typing import Any

import yaml

from tests.wandb_http import handler

ENTITY = "someone"


class StoredRun:
    """What arrived of one run.

    Attributes:
      history: the rows of metrics, by their number.
      config: the configuration, typed, without W&B's own entry.
      files: name -> bytes, of media and other files.
      exit_code: that of the finished run, else None.
      fields: the other fields of the run, such as its group and tags.
    """

    def __init__(self):
        self.history: dict[int, dict[str, Any]] = {}
        self.config: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.exit_code: int | None = None
        self.fields: dict[str, Any] = {}

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of metrics in the order of their numbers, without the entries of W&B."""
        return [
            {name: value for name, value in self.history[number].items() if not name.startswith("_")}
            for number in sorted(self.history)
        ]


class StandIn:
    """The server; use it as a context manager.

    Attributes:
      url: its address, the value of WANDB_BASE_URL.
      runs: id -> `StoredRun`.
      artifacts: name -> {file: bytes}.
      sweeps: name -> configuration.
      received: the paths of all requests, in order.
      misbehave: a function of the path of a request and of the number of earlier ones of this path; it returns the
        status of an error, "drop" to close the connection, or None. It can also wait.
    """

    def __init__(self, misbehave: Callable[[str, int], int | str | None] = lambda path, number: None):
        self.misbehave = misbehave
        self.runs: dict[str, StoredRun] = collections.defaultdict(StoredRun)
        self.artifacts: dict[str, dict[str, bytes]] = {}
        self.sweeps: dict[str, dict[str, Any]] = {}
        self.received: list[str] = []
        self._points: dict[str, list[dict[str, Any]]] = {}
        self._agents: dict[str, str] = {}
        self._names: dict[str, str] = {}  # of artifacts
        self.lock = threading.RLock()

    def __enter__(self) -> "StandIn":
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop answering; also called in the middle of a run."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: bytes) -> tuple[Any, int]:
        """Return the answer to a request and its status."""
        with self.lock:
            if path == "/graphql":
                asked = json.loads(body)
                return {"data": self._graphql(asked["query"], asked.get("variables") or {})}, 200
            words = path.strip("/").split("/")
            if words[-1] == "file_stream":
                self._stream(self.runs[words[3]], json.loads(body))
            elif words[0] == "storage" and method == "PUT":
                self._store(words[1:], body)
            return {}, 200

    def _stream(self, run: StoredRun, sent: dict[str, Any]) -> None:
        """Keep rows by their own number: a part that is sent twice replaces itself."""
        for line in sent.get("files", {}).get("wandb-history.jsonl", {}).get("content", []):
            row = json.loads(line)
            run.history[row["_step"]] = row
        if sent.get("complete"):
            run.exit_code = sent.get("exitcode")

    def _store(self, words: list[str], body: bytes) -> None:
        kind, owner, *name = words
        if kind == "files":
            self.runs[owner].files["/".join(name)] = body
        elif kind == "artifacts":
            self.artifacts.setdefault(self._names[owner], {})["/".join(name)] = body

    def _graphql(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {"project": None, "model": None}
        for word, answer in (
            ("viewer", self._viewer), ("serverInfo", self._server_info), ("upsertBucket", self._upsert_run),
            ("bucket(", self._resume), ("createRunFiles", self._run_files), ("createArtifact(", self._artifact),
            ("createArtifactManifest", self._manifest), ("createArtifactFiles", self._artifact_files),
            ("commitArtifact", self._commit), ("upsertSweep", self._upsert_sweep), ("sweep(", self._sweep),
            ("createAgent", self._agent), ("agentHeartbeat", self._heartbeat),
        ):  # fmt: skip
            if word in query:
                found |= answer(given)
        return found

    def _viewer(self, given):
        return {"viewer": {"id": "u", "username": ENTITY, "entity": ENTITY, "flags": "{}", "teams": {"edges": []}}}

    def _server_info(self, given):
        return {"serverInfo": {"features": [], "cliVersionInfo": {}, "latestLocalVersionInfo": None}}

    def _upsert_run(self, given):
        run = self.runs[given["name"]]
        config = json.loads(given.get("config") or "{}")
        run.config |= {name: one["value"] for name, one in config.items() if name != "_wandb"}
        kept = ("displayName", "groupName", "tags", "sweep", "jobType", "project")
        run.fields |= {name: given[name] for name in kept if given.get(name) is not None}
        bucket = {"id": given["name"], "name": given["name"], "displayName": run.fields.get("displayName")}
        bucket |= {"config": "{}", "sweepName": given.get("sweep"), "project": _project(given["project"])}
        return {"upsertBucket": {"bucket": bucket | {"historyLineCount": len(run.history)}, "inserted": True}}

    def _resume(self, given):
        """Answer whether a run exists, and how far it is."""
        name = given.get("name") or given.get("run")
        bucket = None
        if name in self.runs and self.runs[name].history:
            run = self.runs[name]
            last = run.history[max(run.history)]
            config = {key: {"value": value} for key, value in run.config.items()}
            bucket = {
                "id": name,
                "name": name,
                "displayName": run.fields.get("displayName"),
                "tags": [],
                "logLineCount": 0,
            }
            bucket |= {"historyLineCount": len(run.history), "eventsLineCount": 0, "eventsTail": "[]"}
            bucket |= {"historyTail": json.dumps([json.dumps(last)]), "summaryMetrics": json.dumps(last)}
            bucket |= {"config": json.dumps(config), "wandbConfig": json.dumps({"t": 1})}
        return {"model": _project(given["project"]) | {"bucket": bucket}}

    def _run_files(self, given):
        place = f"{self.url}/storage/files/{given['run']}"
        files = [{"name": name, "uploadUrl": f"{place}/{name}"} for name in given["files"]]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}

    def _artifact(self, given):
        name = given["input"]["artifactCollectionName"]
        one = f"a{len(self._names)}"
        self._names[one] = name
        artifact = {"id": one, "state": "PENDING", "artifactSequence": {"id": name, "latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def _manifest(self, given):
        one = given["artifactID"]
        file = {"id": one, "uploadUrl": f"{self.url}/storage/manifests/{one}", "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": f"m{one}", "file": file}}}

    def _artifact_files(self, given):
        nodes = []
        for file in given["input"]["artifactFiles"]:
            one = {"artifact": {"id": file["artifactID"]}, "storagePath": file["name"], "uploadMultipartUrls": None}
            url = f"{self.url}/storage/artifacts/{file['artifactID']}/{file['name']}"
            nodes.append({"node": one | {"uploadUrl": url, "uploadHeaders": []}})
        return {"createArtifactFiles": {"files": {"edges": nodes}}}

    def _commit(self, given):
        return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": "digest"}}}

    def _upsert_sweep(self, given):
        name = f"sweep{len(self.sweeps)}"
        self.sweeps[name] = yaml.safe_load(given["config"])
        self._points[name] = list(grid(self.sweeps[name]["parameters"]))
        sweep = {"name": name, "project": _project(given["projectName"] or "metalearn")}
        return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}

    def _sweep(self, given):
        config = self.sweeps.get(given.get("sweep") or given.get("name"))
        if config is None:
            return {}
        sweep = {"id": given["sweep"], "name": given["sweep"], "config": yaml.safe_dump(config), "state": "RUNNING"}
        sweep |= {"method": config["method"], "runs": {"edges": []}}
        return {"project": _project(given["project"]) | {"sweep": sweep}}

    def _agent(self, given):
        name = f"agent{len(self._agents)}"
        self._agents[name] = given["sweep"]
        return {"createAgent": {"agent": {"id": name}}}

    def _heartbeat(self, given):
        name = self._agents[given["id"]]
        commands: list[dict[str, Any]] = []
        if not json.loads(given["runState"]):
            commands = [{"type": "exit"}]
            if left := self._points[name]:
                number = sum(run.startswith(name) for run in self.runs)
                arguments = {key: {"value": value} for key, value in left.pop(0).items()}
                run = {"run_id": f"{name}x{number}", "program": self.sweeps[name]["program"], "args": arguments}
                commands = [{"type": "run", "id": str(number)} | run]
        return {"agentHeartbeat": {"agent": {"id": given["id"]}, "commands": json.dumps(commands)}}


def grid(parameters: dict[str, Any]):
    """Yield the points of a grid, which W&B's server chooses."""
    values = [one["values"] if "values" in one else [one["value"]] for one in parameters.values()]
    for point in itertools.product(*values):
        yield dict(zip(parameters, point))


def _project(name: str) -> dict[str, Any]:
    return {"id": "p", "name": name, "entity": {"id": "e", "name": ENTITY}}
