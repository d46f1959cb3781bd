"""A depot on a loopback port, with certificates and coordinators' keys of a cluster of the test's own."""

import contextlib
import os
import signal
import subprocess

from support import AGENT, SOURCE, free_port, run, wait_until

PKI = os.path.join(SOURCE, "deploy", "pki.sh")
CLUSTER = "depot-test"
DEPOT = "depot1"
COORDINATORS = {"coord1": "region1", "coord2": "region2", "coord3": "region2"}


class Secrets:
    """The CA of a cluster, certificates of its hosts and the coordinators' signing keys."""

    def __init__(self, folder, hosts, cluster=CLUSTER):
        self.folder = folder
        run(PKI, "init", folder, cluster)
        for host in hosts:
            run(PKI, "issue", folder, "agent", host, "127.0.0.1")
        for name in COORDINATORS:
            run(PKI, "endorse", folder, name)

    def path(self, name):
        return os.path.join(self.folder, name)

    def environment(self, host, **more):
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(("AWS_", "AZURE_", "FORTRESS_CREDENTIALS", "FORTRESS_DEPOT"))}
        return {**kept, "FORTRESS_DEPOT_CA": self.path("ca.pem"),
                "FORTRESS_DEPOT_CERTIFICATE": self.path(f"{host}.pem"),
                "FORTRESS_DEPOT_KEY": self.path(f"{host}.key"), **more}


class Depot:
    """`fortress-agent depot`; `depots`: name → (folder, [{name, quota_bytes, access}])."""

    def __init__(self, folder, secrets, depots, **settings):
        self.folder, self.secrets = folder, secrets
        self.port = free_port()
        self.log = os.path.join(folder, "depot.log")
        self.config = os.path.join(folder, "depot.yaml")
        self.process = None
        lines = ["version: 1", f"cluster: {CLUSTER}", f"host: {DEPOT}", f"listen: \"tls+tcp://127.0.0.1:{self.port}\"",
                 f"tls: {{ca: {secrets.path('ca.pem')}, certificate: {secrets.path(DEPOT + '.pem')}, "
                 f"key: {secrets.path(DEPOT + '.key')}}}"]
        lines += [f"{name}: {value}" for name, value in settings.items()]
        lines += ["coordinators:"]
        lines += [f"  - {{name: {name}, region: {region}, endorsement_key: {secrets.path(name + '.endorse.pub')}}}"
                  for name, region in COORDINATORS.items()]
        lines += ["depots:"]
        for name, (path, hosts) in depots.items():
            lines += [f"  - name: {name}", f"    path: {path}", "    hosts:"]
            for host in hosts:
                lines += ["      - {" + ", ".join(f"{key}: {value}" for key, value in host.items()) + "}"]
        with open(self.config, "w", encoding="utf-8") as out:
            out.write("\n".join(lines) + "\n")

    def url(self, name):
        return f"depot:127.0.0.1:{self.port}/{name}?host={DEPOT}"

    def start(self):
        begin = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([AGENT, "depot", "--config", self.config],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until("the depot is ready", lambda: self.logged("depot.ready", begin) or self.ended(), 60)
        if self.ended():
            raise AssertionError("the depot ended:\n" + self.text())

    def ended(self):
        return self.process.poll() is not None

    def text(self, begin=0):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            log.seek(begin)
            return log.read()

    def logged(self, word, begin=0):
        return word in self.text(begin)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process is not None and not self.ended():
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(30) == 0, self.text()
        assert "ERROR: AddressSanitizer" not in self.text() and "runtime error" not in self.text(), self.text()


@contextlib.contextmanager
def depot(folder, secrets, depots, **settings):
    server = Depot(folder, secrets, depots, **settings)
    server.start()
    try:
        yield server
    except BaseException:
        print(server.text()[-5000:], flush=True)
        raise
    finally:
        server.stop()
