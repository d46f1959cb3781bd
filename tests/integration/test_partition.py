"""us-west-2 is cut off but alive: it fences itself before the standby accepts its first write. Each region
is a network namespace of this test; the cut is a link taken down."""

import os
import subprocess
import sys
import time

import three_regions
from three_regions import (Writer, expect, expect_no_double_writer, is_primary, running_lab,
                           service, skip_unless_root, wait_for)


class Network:
    """A bridge, the world, and a namespace for each region."""

    ADDRESSES = {"us-west-2": "10.213.7.1", "us-east-1": "10.213.7.2", "eu-west-1": "10.213.7.3"}
    OUTSIDE = "10.213.7.254"

    def __init__(self):
        self.tag = f"fx{os.getpid() % 100000}"
        self.spaces = {name: f"{self.tag}-{index}" for index, name in enumerate(self.ADDRESSES)}

    def ip(self, *arguments, check=True):
        subprocess.run(["ip", *arguments], check=check, capture_output=not check)

    def make(self):
        self.ip("link", "add", self.tag, "type", "bridge")
        self.ip("addr", "add", f"{self.OUTSIDE}/24", "dev", self.tag)
        self.ip("link", "set", self.tag, "up")
        for index, (name, space) in enumerate(self.spaces.items()):
            self.ip("netns", "add", space)
            self.ip("link", "add", f"{self.tag}v{index}", "type", "veth", "peer", "name", "eth0",
                    "netns", space)
            self.ip("link", "set", f"{self.tag}v{index}", "master", self.tag, "up")
            self.ip("-n", space, "addr", "add", f"{self.ADDRESSES[name]}/24", "dev", "eth0")
            self.ip("-n", space, "link", "set", "eth0", "up")
            self.ip("-n", space, "link", "set", "lo", "up")

    def cut(self, name, up=False):
        index = list(self.spaces).index(name)
        self.ip("link", "set", f"{self.tag}v{index}", "up" if up else "down")

    def remove(self):
        for index, space in enumerate(self.spaces.values()):
            self.ip("netns", "del", space, check=False)
            self.ip("link", "del", f"{self.tag}v{index}", check=False)
        self.ip("link", "del", self.tag, check=False)


INSIDE_WRITER = """
import json, sys, time
import psycopg2
host, port, password, path = sys.argv[1:]
with open(path, "a", encoding="utf-8") as out:
    seq = 10_000_000
    connection = psycopg2.connect(host=host, port=int(port), user="app", dbname="app", password=password)
    connection.autocommit = True
    with connection.cursor() as cursor:
        while True:
            seq += 1
            cursor.execute("INSERT INTO orders (seq, sent_at) VALUES (%s, now())", (seq,))
            out.write(json.dumps([seq, time.time()]) + chr(10))
            out.flush()
            time.sleep(0.01)
"""


def main():
    skip_unless_root("to make network namespaces")
    network = Network()
    inside = None
    try:
        network.make()
        with running_lab(addresses=network.ADDRESSES, dns_address=network.OUTSIDE, prefixes={
                name: ["ip", "netns", "exec", space] for name, space in network.spaces.items()}) as lab:
            west, east, europe = lab.regions.values()
            record = os.path.join(lab.folder, "inside.jsonl")
            inside = subprocess.Popen(west.prefix + [
                "/usr/bin/python3", "-c", INSIDE_WRITER, west.address, str(lab.ports["postgres"]),
                lab.passwords["app"], record])
            outside = Writer(lab, os.path.join(lab.folder, "east.jsonl"), pause_s=0.01,
                             address=east.address)
            outside.seq = 20_000_000
            outside.start()  # is refused (read only) until the standby is promoted
            wait_for("commits inside us-west-2",
                     lambda: os.path.exists(record) and os.path.getsize(record) > 2000, 20)
            cut_at = time.time()
            network.cut("us-west-2")
            wait_for("first commit on the standby", lambda: outside.acked, 60, 0.05)
            print(f"the standby accepted its first write {outside.acked[0][2] - cut_at:.1f} s after "
                  "the cut", flush=True)
            time.sleep(3)  # time in which a second primary would be caught writing
            outside.stop()
            expect("the old primary does not accept writes", not inside_is_primary(lab, west))
            compare(record, outside, cut_at)
            network.cut("us-west-2", up=True)
            wait_for("the healed region knows epoch 2", lambda: service(lab, [west])["epoch"] == 2, 60)
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                if is_primary(lab, west):
                    raise three_regions.LabError("two primaries after the partition healed")
                time.sleep(0.2)
            expect("after the partition healed there is one primary", is_primary(lab, east))
    finally:
        if inside is not None:
            inside.kill()
            inside.wait()
        network.remove()
    return 0


def inside_is_primary(lab, west):
    """Asked inside the namespace: the cut keeps everybody else from asking."""
    done = lab.run(["/usr/bin/python3", "-c", f"""
import psycopg2, sys
try:
    c = psycopg2.connect(host={west.address!r}, port={lab.ports['postgres']}, user="fortress",
                         dbname="postgres", password={lab.passwords['fortress']!r}, connect_timeout=2)
    cursor = c.cursor()
    cursor.execute("SELECT pg_is_in_recovery()")
    sys.exit(1 if cursor.fetchone()[0] else 0)
except psycopg2.Error:
    sys.exit(1)
"""], region=west, check=False)
    return done.returncode == 0


def compare(record, outside, cut_at):
    """Both writers ran on one clock."""
    import json
    with open(record, encoding="utf-8") as source:
        commits = [json.loads(line) for line in source if line.endswith("\n")]

    class Inside:
        acked = [(seq, 0, when, "") for seq, when in commits]
    print(f"us-west-2 acknowledged its last commit {commits[-1][1] - cut_at:.2f} s after the cut",
          flush=True)
    expect("it went on writing under its lease for a while", commits[-1][1] > cut_at + 1)
    expect_no_double_writer(Inside, outside)


if __name__ == "__main__":
    sys.exit(main())
