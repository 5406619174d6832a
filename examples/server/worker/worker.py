#!/usr/bin/env python3
"""A worker for fogcore-server, with nothing but Python's standard library.

    python3 worker.py http://127.0.0.1:8000 laptop-1 [--token TOKEN]

Registers a node that serves tasks of the kind `add` (a JSON list of numbers gives their sum), asks for
work, and reports what came of it. Ctrl-C lets it finish what it is at.
"""

import argparse
import base64
import json
import time
import urllib.error
import urllib.request


class Server:
    def __init__(self, url: str, token: str | None) -> None:
        self.url = url.rstrip("/")
        self.headers = {"content-type": "application/json"}
        if token:
            self.headers["authorization"] = f"Bearer {token}"

    def post(self, path: str, body: dict) -> dict | list:
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, self.headers, method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def add(payload: bytes) -> bytes:
    return json.dumps(sum(json.loads(payload))).encode()


def work(server: Server, node: str, given: dict) -> None:
    report = {"task": given["task"]["id"], "node": node, "fence": given["fence"]}
    try:
        result = add(base64.b64decode(given["payload"]))
        report["result"] = base64.b64encode(result).decode()
    except Exception as error:  # whatever went wrong is the task's, not the worker's
        report |= {"error": f"{type(error).__name__}: {error}", "permanent": True}
    try:
        task = server.post("/api/fog/leases/complete", report)
        print(f"{task['id']}: {task['state']}", flush=True)
    except urllib.error.HTTPError as error:
        # The lease was lost: somebody else has the task by now.
        print(f"{report['task']}: {error.read().decode()}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("node")
    parser.add_argument("--token")
    parser.add_argument("--tasks", type=int, help="stop after so many")
    asked = parser.parse_args()
    server = Server(asked.url, asked.token)
    server.post("/api/fog/nodes", {"id": asked.node, "serves": ["add"], "slots": 1})
    sequence, beaten, done = 0, time.monotonic(), 0
    while asked.tasks is None or done < asked.tasks:
        if time.monotonic() - beaten > 20 or sequence == 0:
            sequence, beaten = sequence + 1, time.monotonic()
            server.post(f"/api/fog/nodes/{asked.node}/heartbeat", {"sequence": sequence})
        given = server.post(f"/api/fog/nodes/{asked.node}/lease", {"limit": 1})
        for assignment in given:
            work(server, asked.node, assignment)
            done += 1
        if not given:
            time.sleep(0.2)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
