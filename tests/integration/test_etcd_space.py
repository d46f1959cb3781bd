"""etcd's database fills up until nothing can be written: it is told as a problem and as a metric; once what fills
it is gone, the leader makes room and ends the alarm by itself, and the service takes writes again."""

import base64
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request

from three_regions import expect, is_primary, running_lab, wait_for

QUOTA_BYTES = 16 * 1024 * 1024


def set_quota(lab):
    for region in lab.regions.values():
        path = region.path("coordinator.yaml")
        with open(path, encoding="utf-8") as source:
            text = source.read()
        assert "  member:\n" in text
        lab.write(path, text.replace("  member:\n", f"  quota_bytes: {QUOTA_BYTES}\n  member:\n"))


class Etcd:
    """The gateway of one member, asked as a coordinator asks it."""

    def __init__(self, lab, region):
        secret = os.path.join(lab.folder, "secrets")
        self.url = f"https://{region.address}:{lab.ports['etcd']}"
        self.tls = ssl.create_default_context(cafile=os.path.join(secret, "ca.pem"))
        self.tls.load_cert_chain(os.path.join(secret, f"{region.coordinator}.pem"),
                                 os.path.join(secret, f"{region.coordinator}.key"))

    def ask(self, path, **body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode())
        with urllib.request.urlopen(request, context=self.tls, timeout=10) as answer:
            return json.load(answer)

    def put(self, key, value):
        self.ask("/v3/kv/put", key=base64.b64encode(key).decode(),
                 value=base64.b64encode(value).decode())

    def delete(self, prefix):
        end = prefix[:-1] + bytes([prefix[-1] + 1])
        self.ask("/v3/kv/deleterange", key=base64.b64encode(prefix).decode(),
                 range_end=base64.b64encode(end).decode())


def fill(etcd):
    """Somebody's keys, all alive: compaction does not help. What the leader can make room of, half-filled pages, is
    filled too: True once nothing could be written for longer than a lease."""
    full_since = None
    end = time.monotonic() + 180
    number = 0
    while time.monotonic() < end:
        try:
            etcd.put(b"/stranger/%03d" % number, os.urandom(512 * 1024))
            number += 1
            full_since = None
        except urllib.error.HTTPError as error:
            if "space exceeded" not in error.read().decode():
                return False
            full_since = full_since or time.monotonic()
            if time.monotonic() - full_since > 12:
                return True
            time.sleep(0.5)
    return False


def problems(lab):
    return [p for p in lab.query("status")["problems"] if p["subject"] == "ledger"]


def metric(lab, region, name):
    with open(os.path.join(lab.folder, "secrets", "token"), encoding="utf-8") as source:
        token = source.read().strip()
    tls = ssl.create_default_context(cafile=os.path.join(lab.folder, "secrets", "ca.pem"))
    request = urllib.request.Request(f"https://{region.address}:{lab.ports['api']}/metrics",
                                     headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, context=tls, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)]


def main():
    with running_lab(before_start=set_quota) as lab:
        west = lab.regions["us-west-2"]
        etcd = Etcd(lab, west)
        # Right after the start a member may not have answered yet.
        wait_for("etcd is seen and well",
                 lambda: lab.query("status")["etcd"] and not problems(lab), 30)
        expect("fortress status shows it", "3 of 3 answer" in lab.fortress("status").stdout)
        expect("the database is full", fill(etcd))
        told = wait_for("NOSPACE is told", lambda: [
            p for p in problems(lab) if "NOSPACE" in p["text"]], 20)[0]
        expect("as critical, with what to do", told["severity"] == "critical" and
               "etcd.quota_bytes" in told["text"])
        expect("fortress status says so", "NO SPACE" in lab.fortress("status").stdout)
        expect("the metric says so", metric(lab, west, 'fortress_etcd_alarm{alarm="NOSPACE"}') == [1])
        expect("of every database", min(metric(lab, west, "fortress_etcd_db_size_bytes")) > 0.6 *
               QUOTA_BYTES and metric(lab, west, "fortress_etcd_quota_bytes") == [QUOTA_BYTES])
        expect("with nothing gone, the alarm stays", metric(
            lab, west, 'fortress_etcd_alarm{alarm="NOSPACE"}') == [1])
        etcd.delete(b"/stranger/")
        wait_for("the leader makes room and ends the alarm", lambda: metric(
            lab, west, 'fortress_etcd_alarm{alarm="NOSPACE"}') == [0], 120)
        sizes = metric(lab, west, "fortress_etcd_db_size_bytes")
        expect(f"every database is small again: {sizes}", max(sizes) < 0.6 * QUOTA_BYTES)
        wait_for("somebody takes writes again", lambda: sum(
            is_primary(lab, region) for region in lab.regions.values()) == 1, 60)
        wait_for("no problem of the ledger is left", lambda: not problems(lab), 60)
    return 0


if __name__ == "__main__":
    sys.exit(main())
