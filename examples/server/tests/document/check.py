"""Asks a freshly started server everything that its OpenAPI document allows, and more, and checks that
it answers as the document says: never with a 500, and with nothing undocumented.

    check.py PROGRAM [EXAMPLES] [SEED]

Runs inside the environment of requirements.txt; Schemathesis makes the requests.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

EMAIL, PASSWORD = "admin@example.org", "correct horse battery"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# They end the session that the requests are made in.
ENDS_THE_SESSION = "/v1/auth/(logout|revoke|refresh|users|api-keys)"


def start(program: str, folder: str) -> tuple[subprocess.Popen[str], str]:
    """A server on a free port, and its URL."""
    settings = {
        "PORT": "0", "DATABASE_URL": "memory:", "DATA_DIR": folder, "RATE_LIMIT": "off",
        "ADMIN_EMAIL": EMAIL, "ADMIN_PASSWORD": PASSWORD,
    }
    server = subprocess.Popen(
        [program], env={**os.environ, **settings}, stdout=subprocess.PIPE, text=True
    )
    for line in server.stdout:
        if found := re.search(r"listens on (\S+)", line):
            return server, found[1]
    raise SystemExit(f"{program} does not serve")


def log_in(url: str) -> str:
    """An administrator's token."""
    body = json.dumps({"email": EMAIL, "password": PASSWORD}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/auth/login", body, headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["access_token"]


def main(program: str, examples: str = "5", seed: str = "1") -> int:
    with tempfile.TemporaryDirectory() as folder:
        server, url = start(program, folder)
        try:
            command = [
                str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json",
                "--checks", CHECKS, "--phases", "examples,coverage,fuzzing",
                "--max-examples", examples, "--seed", seed, "--workers", "2", "--no-color",
                "--suppress-health-check", "all",
                "--generation-with-security-parameters", "false",
                "--exclude-path-regex", ENDS_THE_SESSION,
                "--header", f"Authorization: Bearer {log_in(url)}",
            ]
            return subprocess.run(command, cwd=folder, check=False).returncode
        finally:
            server.kill()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
