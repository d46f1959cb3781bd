"""A small Ceph with an S3 gateway: one monitor, one object store in memory, radosgw; no authentication
between them, and nothing listens but on the loopback address."""

import contextlib
import os
import subprocess
import tempfile
import urllib.error
import urllib.request
import uuid

from support import free_port, run, skip, wait_until

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")

CONF = """[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port}]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
# Without authentication there is no secret to encrypt with: plain, checked transport.
ms mon client mode = crc
ms mon service mode = crc
ms mon cluster mode = crc
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data = {folder}/mon
mon data avail warn = 1
mon data avail crit = 0
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 2147483648
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd crush chooseleaf type = 0
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
log to stderr = false
setuser match path =

[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw enable quota threads = true
rgw bucket quota ttl = 0
rgw user quota bucket sync interval = 1
rgw bucket quota soft threshold = 0
rgw run sync thread = false
rgw enable gc threads = false
rgw enable lc threads = false
"""


def ci_or_skip(reason):
    """For what an ordinary user may lack; in CI it is a failure."""
    if os.environ.get("CI") == "true":
        raise AssertionError(reason)
    skip(reason)


class Ceph:
    def __init__(self, folder):
        self.folder = folder
        self.conf = os.path.join(folder, "ceph.conf")
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.running = []

    def ceph(self, *words, status=0):
        return run("ceph", "-c", self.conf, "--connect-timeout", "10", *words, status=status).out

    def admin(self, *words, status=0):
        return run("radosgw-admin", "-c", self.conf, *words, status=status).out

    def begin(self, name, *words):
        out = open(os.path.join(self.folder, name + ".out"), "wb")
        with out:
            self.running.append(
                subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            )

    def answers(self):
        try:
            with urllib.request.urlopen(self.endpoint, timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def start(self):
        fsid, mon_port = str(uuid.uuid4()), free_port()
        for part in ("mon", "osd"):
            os.mkdir(os.path.join(self.folder, part))
        with open(self.conf, "w", encoding="utf-8") as conf:
            conf.write(CONF.format(fsid=fsid, mon_port=mon_port, folder=self.folder, port=self.port))
        monmap = os.path.join(self.folder, "monmap")
        run("monmaptool", "--create", "--addv", "a", f"[v2:127.0.0.1:{mon_port}]", "--fsid", fsid,
            "--set-min-mon-release", "16", monmap)
        run("ceph-mon", "-c", self.conf, "--mkfs", "-i", "a", "--monmap", monmap)
        self.begin("mon", "ceph-mon", "-c", self.conf, "-f", "-i", "a")
        wait_until("the monitor answers", lambda: self.ceph("mon", "stat", status=None).strip(), 40)
        self.ceph("osd", "create")
        run("ceph-osd", "-c", self.conf, "--mkfs", "-i", "0")
        self.begin("osd", "ceph-osd", "-c", self.conf, "-f", "-i", "0")
        wait_until("the object store is up", lambda: "1 up" in self.ceph("osd", "stat"), 40)
        self.begin("rgw", "radosgw", "-c", self.conf, "-f", "-n", "client.rgw")
        wait_until("the gateway answers", self.answers, 60, 0.2)

    def add_user(self, name, key, secret, *more):
        self.admin("user", "create", f"--uid={name}", f"--display-name={name}",
                   f"--access-key={key}", f"--secret-key={secret}", *more)

    def stop(self):
        for process in reversed(self.running):
            process.kill()
            process.wait()

    def logs(self):
        """The last lines of what each part said, for a failed test."""
        for name in sorted(os.listdir(self.folder)):
            if name.endswith((".log", ".out")):
                with open(os.path.join(self.folder, name), encoding="utf-8", errors="replace") as log:
                    print(f"--- {name}", *log.readlines()[-8:], sep="\n", flush=True)


@contextlib.contextmanager
def ceph():
    for program in PROGRAMS:
        if not any(os.access(os.path.join(folder, program), os.X_OK)
                   for folder in os.environ["PATH"].split(":")):
            ci_or_skip(f"needs {program}: deploy/packages.txt, section test")
    with tempfile.TemporaryDirectory(prefix="fortress-ceph-", ignore_cleanup_errors=True) as folder:
        server = Ceph(folder)
        try:
            server.start()
            yield server
        except BaseException:
            server.logs()
            raise
        finally:
            server.stop()
