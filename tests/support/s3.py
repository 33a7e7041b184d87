"""Servers of S3 and DynamoDB for tests: emulators in an environment of their own, or a given one.

`ministack` is the first, `moto` the second; both are installed from the user's own index into
`.servers` at the root of the checkout when they are first wanted, from a lock file of their own.
`STAGEFLOW_TEST_S3_ENDPOINT` names an S3 that is there already; credentials are then those of the
environment, and `STAGEFLOW_TEST_S3_BUCKET` may name the bucket.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from stageflow.plugins import Secret
from stageflow_io_s3 import S3IOSettings
from support.workspace import ROOT, run, uv

ENDPOINT_VARIABLE = "STAGEFLOW_TEST_S3_ENDPOINT"
FOLDER = ROOT / ".servers"
LOCK = ROOT / "tests" / "servers" / "requirements.lock"
PATIENCE = 60.0


def environment() -> Path:
    """Return the folder of the emulators' environment, made anew if the lock file has changed."""
    stamp = FOLDER / ".ready"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    with (ROOT / ".servers.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # two sessions of tests may begin at the same time
        if not stamp.exists() or stamp.read_text(encoding="ascii") != wanted:
            shutil.rmtree(FOLDER, ignore_errors=True)
            run(sys.executable, "-m", "venv", "--without-pip", FOLDER)
            target = FOLDER / "bin" / "python"
            uv("pip", "install", "--quiet", "--python", target, "--require-hashes", "-r", LOCK)
            stamp.write_text(wanted, encoding="ascii")
    return FOLDER


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@attrs.define
class Server:
    """An emulator that runs, or a store that somebody else runs.

    Attributes:
        name: Which one it is.
        endpoint: Its address.
        keys: What to sign with; None for the environment's.
    """

    name: str
    endpoint: str
    keys: tuple[str, str] | None = ("test", "test")
    process: subprocess.Popen[bytes] | None = None
    command: tuple[str, ...] = ()
    variables: dict[str, str] = attrs.Factory(dict)

    def settings(self, bucket: str, prefix: str = "", **changes: Any) -> S3IOSettings:
        """Return settings for a place on it."""
        if self.keys is not None:
            access, secret = self.keys
            changes = {
                "access_key_id": Secret(access),
                "secret_access_key": Secret(secret),
                "region": "us-east-1",
                **changes,
            }
        given = {"endpoint": self.endpoint, "retries": 2, "retry_timeout": 10.0, **changes}
        return S3IOSettings(url=f"s3://{bucket}/{prefix}".rstrip("/"), **given)

    def bucket(self) -> str:
        """Make a bucket and return its name; of a store that is somebody else's, the given one."""
        if self.process is None and (given := os.environ.get("STAGEFLOW_TEST_S3_BUCKET")):
            return given
        name = f"test-{uuid.uuid4().hex[:12]}"
        client = self.client()
        client.create_bucket(Bucket=name)
        client.close()
        return name

    def client(self, service: str = "s3", **changes: Any) -> Any:
        """Return a plain client of botocore, to look at what there is by other means."""
        from botocore.config import Config
        from botocore.session import Session

        given: dict[str, Any] = {}
        if self.keys is not None:
            given = {"aws_access_key_id": self.keys[0], "aws_secret_access_key": self.keys[1]}
        given |= {"region_name": "us-east-1", "endpoint_url": self.endpoint, **changes}
        given["config"] = Config(s3={"addressing_style": "path"}, max_pool_connections=32)
        return Session().create_client(service, **given)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process = subprocess.Popen(
            self.command,
            env={**os.environ, **self.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until = time.monotonic() + PATIENCE
        while not self._answers():
            assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}"
            assert time.monotonic() < until, f"{self.name} does not answer"
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it, and wait for that; again is no error."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(PATIENCE)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection(urlsplit(self.endpoint).netloc, timeout=1)
            with contextlib.closing(connection):
                connection.request("GET", "/")
                connection.getresponse()
            return True
        return False


@contextlib.contextmanager
def ministack(folder: Path, *, is_persistent: bool = False) -> Iterator[Server]:
    """Run ministack for the time of the block; its state lies in *folder*."""
    port = free_port()
    variables = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SERVICES": "s3,dynamodb",
        "IOT_MTLS_ENABLED": "0",
        "LOG_LEVEL": "ERROR",
        "STATE_DIR": str(folder / "state"),
        "S3_DATA_DIR": str(folder / "data"),
        "S3_PERSIST": "1" if is_persistent else "0",
    }
    command = (str(environment() / "bin" / "ministack"),)
    yield from _running(Server("ministack", f"http://127.0.0.1:{port}"), command, variables)


@contextlib.contextmanager
def moto() -> Iterator[Server]:
    """Run moto's server for the time of the block."""
    port = free_port()
    command = (str(environment() / "bin" / "moto_server"), "-H", "127.0.0.1", "-p", str(port))
    yield from _running(Server("moto", f"http://127.0.0.1:{port}"), command, {})


def given() -> Server | None:
    """Return the store that the environment names; None if it names none."""
    endpoint = os.environ.get(ENDPOINT_VARIABLE)
    return Server("given", endpoint, keys=None) if endpoint else None


def _running(
    server: Server, command: tuple[str, ...], variables: dict[str, str]
) -> Iterator[Server]:
    server.command, server.variables = command, variables
    server.start()
    try:
        yield server
    finally:
        server.stop()
