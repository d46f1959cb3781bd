"""Azurite, Azure's own emulator of Blob Storage, in the version that tests/doubles/azurite pins."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request

from ceph_server import ci_or_skip
from support import SOURCE, free_port, wait_until

FOLDER = os.path.join(SOURCE, "tests", "doubles", "azurite")
MAIN = os.path.join(FOLDER, "node_modules", "azurite", "dist", "src", "blob", "main.js")
ACCOUNT = "devstoreaccount1"
# The emulator's own well-known key, the same everywhere.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def install():
    """Once a source tree; the lock file pins every package."""
    if os.path.exists(MAIN):
        return
    if not shutil.which("npm") or not shutil.which("node"):
        ci_or_skip("needs npm and node for Azurite")
    with open(os.path.join(FOLDER, ".installing"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(MAIN):
            return
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"],
            cwd=FOLDER, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=600, check=False)
        if done.returncode != 0:
            print(done.stdout.decode("utf-8", "replace")[-2000:])
            ci_or_skip("npm cannot install Azurite: is there a network?")


@contextlib.contextmanager
def azurite():
    """Gives the address of the account."""
    install()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="fortress-azurite-", ignore_cleanup_errors=True) as folder:
        with open(os.path.join(folder, "out"), "wb") as out:
            server = subprocess.Popen(
                ["node", MAIN, "--silent", "--skipApiVersionCheck", "--disableTelemetry",
                 "--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort", str(port)],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        address = f"http://127.0.0.1:{port}/{ACCOUNT}"

        def answers():
            try:
                with urllib.request.urlopen(address, timeout=2):
                    return True
            except urllib.error.HTTPError:
                return True  # it refuses, so it is there
            except (urllib.error.URLError, OSError):
                return False

        try:
            wait_until("Azurite answers", answers, 60)
            yield address
        finally:
            server.kill()
            server.wait()
