"""The name server's answers to updates are lost, after the update took effect and before it arrived: the step's
outcome is unknown, the name server is asked, and only what did not happen is done again."""

import socket
import socketserver
import struct
import sys
import threading
import time

from three_regions import expect, plans, running_lab, service, wait_for

UPDATE = 5
SILENT_S = 4  # after a lost answer: so long nobody can look, and the outcome stays unknown


class Answers(socketserver.ThreadingTCPServer):
    """Passes DNS over TCP on to the name server; loses what it is told to lose of updates."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address, upstream):
        super().__init__((address, 0), Relay)
        self.upstream = upstream
        self.lock = threading.Lock()
        self.lose = []      # "answer" or "request", for the next updates
        self.changes = []   # what became of each update that would change something
        self.silent_until = 0.0

    def manner(self, message):
        changes = (message[2] >> 3) & 15 == UPDATE and struct.unpack("!H", message[8:10])[0] > 0
        if not changes:
            return "pass"
        with self.lock:
            manner = self.lose.pop(0) if self.lose else "pass"
            self.changes.append(manner)
            return manner


def receive(sock):
    """One message, with its length before it; b"" at the end."""
    data = b""
    while len(data) < 2 or len(data) < 2 + struct.unpack("!H", data[:2])[0]:
        more = sock.recv(65536)
        if not more:
            return b""
        data += more
    return data


class Relay(socketserver.BaseRequestHandler):
    def handle(self):
        if time.monotonic() < self.server.silent_until:
            return
        with socket.create_connection(self.server.upstream, timeout=10) as upstream:
            while data := receive(self.request):
                manner = self.server.manner(data[2:])
                if manner == "request":
                    return
                upstream.sendall(data)
                answer = receive(upstream)
                if manner == "answer":
                    self.server.silent_until = time.monotonic() + SILENT_S
                    return
                self.request.sendall(answer)


def begin_proxy(lab):
    """The coordinators reach the name server through it; the resolver and the test do not."""
    proxy = Answers(lab.dns_address, (lab.dns_address, lab.ports["dns"]))
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    for region in lab.regions.values():
        path = region.path("coordinator.yaml")
        with open(path, encoding="utf-8") as source:
            text = source.read()
        before = f"server: {lab.dns_address}, port: {lab.ports['dns']},"
        assert before in text
        lab.write(path, text.replace(before, f"server: {lab.dns_address}, "
                                             f"port: {proxy.server_address[1]},"))
    lab.proxy = proxy


class Watcher(threading.Thread):
    """Reads plans until one shows a step of unknown outcome: what an operator sees meanwhile."""

    def __init__(self, lab):
        super().__init__(daemon=True)
        self.lab = lab
        self.seen = None
        self.text = ""
        self.start()

    def run(self):
        deadline = time.monotonic() + 60
        while self.seen is None and time.monotonic() < deadline:
            steps = [s for p in plans(self.lab) for s in p["steps"] if s["state"] == "unknown"]
            if steps:
                self.text = self.lab.fortress("plans").stdout
                self.seen = steps[0]
            time.sleep(0.1)


def keeps_up(lab, target):
    return any(m["host"] == target.host and m["streaming"] and m["lag_bytes"] < 1 << 20
               for m in service(lab)["members"])


def move(lab, target, lose):
    wait_for("the target is reported to keep up", lambda: keeps_up(lab, target), 60)
    lab.proxy.changes.clear()
    lab.proxy.lose = list(lose)
    epoch = service(lab)["epoch"] + 1
    lab.fortress("switchover", "orders-db", "--to", target.host, "--reason", "test", "--yes", "--wait")
    plan = [p for p in plans(lab, "switchover") if p["to_epoch"] == epoch][0]
    expect(f"the plan to epoch {epoch} is done", plan["state"] == "done")
    expect("the name leads to the new primary",
           lab.resolve(lab.ports["dns"]) == [target.address])
    found = [d for d in lab.query("decisions")["decisions"] if d["plan"] == plan["id"]]
    step = [s for s in plan["steps"] if s["kind"] == "dns"][0]
    return step, {d["verdict"]: d for d in found}


def main():
    with running_lab(before_start=begin_proxy) as lab:
        west, east, _ = lab.regions.values()
        watcher = Watcher(lab)
        step, decisions = move(lab, east, ["answer"])
        watcher.join(60)
        expect(f"meanwhile its step was shown as unknown: {watcher.seen}",
               watcher.seen and watcher.seen["kind"] == "dns" and not watcher.seen["finished_at"])
        expect("by fortress plans, too", any(
            "dns" in line and "unknown" in line for line in watcher.text.splitlines()))
        expect(f"an update whose answer was lost is not repeated: {lab.proxy.changes}",
               lab.proxy.changes == ["answer"])
        expect(f"the outcome was unknown: {decisions['observe first']['reason']}",
               "no answer" in decisions["observe first"]["reason"])
        facts = [e["fact"] for e in decisions["observed done"]["evidence"]]
        expect(f"and was observed: {facts[-1]}", "says epoch 2" in facts[-1])
        expect("the step says so", step["detail"] == facts[-1] and step["attempts"] == 1)
        expect("fortress plans shows it", facts[-1] in lab.fortress("plans").stdout)

        step, decisions = move(lab, west, ["request"])
        expect(f"an update that did not arrive is sent again: {lab.proxy.changes}",
               lab.proxy.changes == ["request", "pass"])
        facts = [e["fact"] for e in decisions["act again"]["evidence"]]
        expect(f"after a look: {facts[-1]}", "says epoch 2" in facts[-1])
        expect("the step took two attempts", step["state"] == "done" and step["attempts"] == 2)
        lab.proxy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
