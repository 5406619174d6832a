#!/usr/bin/env python3
"""A worker that has the fog only through HTTP: it does tasks of the kind "shout".

    worker.py [--fog URL] [--node NAME] [--once]

It registers as a node, asks for tasks, answers each with its payload in capitals, and beats all the
while. FOG_TOKEN in the environment is an access token or an API key; on the server's own machine none
is needed. Standard library only.
"""

import argparse
import json
import os
import time
import urllib.error
import urllib.request

BEAT_EVERY = 10.0  # seconds; three missed make a node suspect
IDLE = 0.5  # seconds between two questions for work


class Fog:
    """The calls that a worker needs."""

    def __init__(self, url: str, token: str | None):
        self.url = url.rstrip("/")
        self.headers = {"Content-Type": "application/json"}
        if token and token.startswith("fog_"):
            self.headers["X-API-Key"] = token
        elif token:
            self.headers["Authorization"] = f"Bearer {token}"

    def post(self, path: str, body: dict) -> dict:
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, self.headers, method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def report(assignment: dict) -> dict:
    """Does the work, and says how it ended. What it took is the server's to measure."""
    claim = {"task_id": assignment["task"]["task_id"], "fence": assignment["fence"]}
    text = assignment["payload"].get("text")
    if text is None:
        return claim | {"error": "the payload is no text", "permanent": True}
    return claim | {"result": {"text": text.upper()}}


def work(fog: Fog, node: str, once: bool) -> None:
    fog.post("/api/fog/nodes", {"node_id": node, "slots": 1, "serves": ["shout"]})
    beaten = time.monotonic()
    while True:
        if time.monotonic() - beaten > BEAT_EVERY:
            fog.post(f"/api/fog/nodes/{node}/heartbeat", {})
            beaten = time.monotonic()
        assignments = fog.post(f"/api/fog/nodes/{node}/lease", {"limit": 1})["assignments"]
        if assignments:
            reports = [report(assignment) for assignment in assignments]
            done = fog.post(f"/api/fog/nodes/{node}/complete", {"reports": reports})["results"]
            for one in done:
                print(one["task_id"], one["task"]["state"] if one["task"] else one["error"], flush=True)
            if once:
                return
        else:
            time.sleep(IDLE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fog", default="http://127.0.0.1:8000", help="the server")
    parser.add_argument("--node", default="worker-py", help="the name to register as")
    parser.add_argument("--once", action="store_true", help="end after the first task")
    asked = parser.parse_args()
    try:
        work(Fog(asked.fog, os.environ.get("FOG_TOKEN")), asked.node, asked.once)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{error.code} {error.url}: {error.read().decode()}") from error
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
