"""A stand-in for W&B's server: what registering a sweep and an agent ask of it."""

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

_NAME = re.compile(r"(?:query|mutation)\s+(\w+)")
_VIEWER = {
    **{"id": "1", "entity": "me", "username": "me", "email": "me@example.org", "flags": "{}"},
    "teams": {"edges": []},
}


class StandIn:
    """Registers one sweep and hands out its trials, one after another, then says that is all.

    Attributes:
        trials: Values of each trial, by the names of the sweep's parameters.
        content: The sweep as it was registered; None before.
        states: What agents have told of their runs.
    """

    def __init__(self, trials):
        self.trials = list(trials)
        self.content = None
        self.states = []

    def answer(self, name, variables):
        """Return the data of one request."""
        if name == "Viewer":
            return {"viewer": _VIEWER}
        if name == "UpsertSweep":
            self.content = yaml.safe_load(variables["config"])
            project = {"id": "1", "name": variables["projectName"]}
            project["entity"] = {"id": "1", "name": "me"}
            found = {"sweep": {"id": "1", "name": "sweep1", "project": project}}
            return {"upsertSweep": {**found, "configValidationWarnings": []}}
        if name == "SweepWithRuns":
            sweep = {"id": "1", "name": "sweep1", "method": self.content["method"]}
            sweep |= {"state": "RUNNING", "runs": {"edges": []}}
            return {"project": {"sweep": {**sweep, "config": yaml.safe_dump(self.content)}}}
        if name == "CreateAgent":
            return {"createAgent": {"agent": {"id": "1"}}}
        if name == "Heartbeat":
            running = json.loads(variables["runState"])
            self.states.append(running)
            commands = [] if running else [self._next()]
            return {"agentHeartbeat": {"agent": {"id": "1"}, "commands": json.dumps(commands)}}
        raise AssertionError(f"The stand-in does not know {name}.")

    def _next(self):
        if not self.trials:
            return {"type": "exit"}
        values = {key: {"value": value} for key, value in self.trials.pop(0).items()}
        run = {"type": "run", "program": self.content["program"], "args": values}
        return {**run, "run_id": f"run{len(self.trials)}"}


@contextmanager
def wandb_server(trials):
    """Serve on this machine; give the stand-in and its address."""
    stand_in = StandIn(trials)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = {}
            if self.path == "/graphql":
                asked = json.loads(body)
                name = _NAME.search(asked["query"])[1]
                answer = {"data": stand_in.answer(name, asked.get("variables"))}
            content = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield stand_in, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
