"""The API over a made-up state, on a free port of 127.0.0.1, with a certificate and tokens of its own."""

import contextlib
import hashlib
import os
import shutil
import ssl
import subprocess
import tempfile

SOURCE = os.environ.get("FORTRESS_SOURCE") or os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARIES = os.environ.get("FORTRESS_BIN") or os.path.join(SOURCE, "build", "asan", "bin")
TOKENS = {"alice": ("operator", "operators-secret"), "prometheus": ("viewer", "viewers-secret")}


class Failed(Exception):
    """What a test expected is not so."""


def expect(what, condition, detail=""):
    if not condition:
        raise Failed(f"not so: {what} {detail}")
    print(f"ok: {what}", flush=True)


class ApiServer:
    def __init__(self, folder):
        self.folder = folder
        self.ca = self.path("server.pem")
        self.make_files()
        fixture = os.path.join(os.path.dirname(os.path.abspath(BINARIES)), "tests", "api_fixture")
        self.log = open(self.path("log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen([fixture, folder], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("port="):
            raise Failed("the fixture did not start: " + self.read_log())
        self.port = int(line.removeprefix("port="))
        self.url = f"https://127.0.0.1:{self.port}"

    def path(self, name):
        return os.path.join(self.folder, name)

    def make_files(self):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                        "/O=fortress/OU=coordinator/CN=localhost", "-addext",
                        "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout",
                        self.path("server.key"), "-out", self.path("server.pem")],
                       check=True, capture_output=True)
        with open(self.path("tokens.yaml"), "w", encoding="utf-8") as out:
            for name, (role, token) in TOKENS.items():
                digest = hashlib.sha256(token.encode()).hexdigest()
                out.write(f"- {{name: {name}, role: {role}, sha256: {digest}}}\n")
                with open(self.path(f"{name}.token"), "w", encoding="utf-8") as single:
                    single.write(token + "\n")

    def tls(self):
        return ssl.create_default_context(cafile=self.ca)

    def read_log(self):
        with open(self.path("log"), encoding="utf-8") as text:
            return text.read()

    def stop(self):
        self.process.stdin.close()
        status = self.process.wait(timeout=20)
        self.log.close()
        if status != 0:
            raise Failed(f"the fixture ended with {status}: {self.read_log()}")


@contextlib.contextmanager
def api_server():
    folder = tempfile.mkdtemp(prefix="fortress-api-")
    server = None
    try:
        server = ApiServer(folder)
        yield server
        server.stop()
    except BaseException:
        if server is not None and server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        if server is not None:
            print(server.read_log())
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
