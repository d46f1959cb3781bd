"""Hostile peers at every coordinator's door: garbage, foreign certificates, foreign names, foreign clusters, old
messages, crowds that say nothing. Each is refused and logged, and nobody else notices."""

import os
import resource
import socket
import ssl
import struct
import sys
import time

from three_regions import (Writer, expect, is_primary, postmaster_pid, running_lab, service, wait_for)
from lab import CLUSTER, SOURCE

STRANGER = "stranger-db1"  # a valid certificate of a host that no configuration knows
HELLO = b"\0SP\0\0\x30\0\0"
ANSWER = b"\0SP\0\0\x31\0\0"
MESSAGE_MAX_BYTES = 1024 * 1024
CROWD = 400  # more than may wait to be ready at a time


# ---- messages: proto/link.proto by hand, because a hostile sender does not use our library ---------------

def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


class Sender:
    """What stands in the envelope; the certificate may be another's."""

    def __init__(self, name, cluster=CLUSTER, started_ns=None):
        self.name = name
        self.cluster = cluster
        self.incarnation = os.urandom(16)
        self.started_ns = time.time_ns() if started_ns is None else started_ns

    def report(self, sequence, host=None):
        body = field(1, host or self.name) + field(2, "us-west-2")
        return self.envelope(sequence, 10, body)

    def envelope(self, sequence, kind, body):
        return (field(1, 1) + field(2, self.cluster) + field(3, self.name) + field(4, self.incarnation) +
                field(5, self.started_ns) + field(6, sequence) + field(kind, body))


def framed(message, number=1):
    return struct.pack(">QI", len(message) + 4, number | 0x80000000) + message


class Door:
    """One coordinator's door for agents, and its log."""

    def __init__(self, lab, region):
        self.lab = lab
        self.region = region
        self.name = region.coordinator

    def connect(self):
        return socket.create_connection((self.region.address, self.lab.ports["agents"]), timeout=5)

    def connect_tls(self, certificate, folder=None):
        """As `certificate`; who the server is does not matter to an enemy."""
        folder = folder or os.path.join(self.lab.folder, "secrets")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if certificate:
            context.load_cert_chain(f"{folder}/{certificate}.pem", f"{folder}/{certificate}.key")
        return context.wrap_socket(self.connect())

    def log_bytes(self):
        return os.path.getsize(self.region.path("coordinator.log"))

    def logged(self, since, *words):
        with open(self.region.path("coordinator.log"), encoding="utf-8", errors="replace") as log:
            log.seek(since)
            return [line for line in log if all(word in line for word in words)]


def read_all(link):
    """What the other side says until it closes; an alert or a reset is a close as well."""
    got = b""
    try:
        while part := link.recv(65536):
            got += part
    except (ssl.SSLError, ConnectionError):
        pass
    return got


def read_exactly(link, size_bytes):
    got = b""
    while len(got) < size_bytes:
        part = link.recv(size_bytes - len(got))
        if not part:
            raise ConnectionError("closed in the middle of a reply")
        got += part
    return got


def send_ignoring_end(link, data):
    try:
        link.sendall(data)
    except (ssl.SSLError, ConnectionError):
        pass  # refused already: that is what is expected


def ask(link, message, number=1):
    link.sendall(framed(message, number))
    size_bytes, _ = struct.unpack(">QI", read_exactly(link, 12))
    return read_exactly(link, size_bytes - 4)


def greet(link):
    link.sendall(HELLO)
    expect_quietly(read_exactly(link, 8) == ANSWER, "the coordinator greets")
    return link


def expect_quietly(condition, what):
    if not condition:
        expect(what, False)


def expect_logged(door, since, what, *words):
    wait_for(f"{door.name} logs: {what}", lambda: door.logged(since, *words), 15)
    print(f"ok: {door.name}: {what}", flush=True)


# ---- hostile acts ---------------------------------------------------------------------------------------

def send_garbage(door):
    since = door.log_bytes()
    with door.connect() as link:
        send_ignoring_end(link, os.urandom(4096))
        read_all(link)
    expect_logged(door, since, "garbage", "connection.refused")


def send_tls_garbage(door):
    since = door.log_bytes()
    with door.connect() as link:
        send_ignoring_end(link, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(506))
        read_all(link)
    expect_logged(door, since, "a broken TLS handshake", "connection.refused")


def show_certificate(door, what, certificate, folder=None):
    since = door.log_bytes()
    try:
        with door.connect_tls(certificate, folder) as link:
            send_ignoring_end(link, HELLO + framed(Sender("usw2-db1").report(1)))
            # the greeting may be on its way before the certificate was looked at; a reply may not
            expect_quietly(len(read_all(link)) <= len(ANSWER), f"{what} gets no reply")
    except (ssl.SSLError, ConnectionError):
        pass
    expect_logged(door, since, what, "connection.refused")


def speak_another_protocol(door):
    since = door.log_bytes()
    with door.connect_tls(STRANGER) as link:
        send_ignoring_end(link, b"GET / HTTP/1.1\r\n\r\n")
        read_all(link)
    expect_logged(door, since, "another protocol", "connection.refused", "REQ")


def send_oversized(door):
    for size_bytes in (MESSAGE_MAX_BYTES + 5, 1 << 40, (1 << 64) - 1, 3):
        since = door.log_bytes()
        with greet(door.connect_tls(STRANGER)) as link:
            send_ignoring_end(link, struct.pack(">Q", size_bytes) + b"\x80\0\0\1" + b"x" * 65536)
            expect_quietly(read_all(link) == b"", "no reply to an impossible length")
        expect_logged(door, since, f"a message of {size_bytes} bytes", "connection.closed", STRANGER)


def send_broken_message(door):
    since = door.log_bytes()
    with greet(door.connect_tls(STRANGER)) as link:
        send_ignoring_end(link, framed(os.urandom(3000)))
        expect_quietly(read_all(link) == b"", "no reply to a broken message")
    expect_logged(door, since, "a message that is none", "message.refused", STRANGER)


def send_refused(door, what, certificate, message, *words):
    since = door.log_bytes()
    with greet(door.connect_tls(certificate)) as link:
        answer = ask(link, message)
    expect_quietly(b"could not accept the message" in answer, f"{what} is answered with a refusal")
    expect_logged(door, since, what, "message.refused", *words)


def send_false_names(door):
    for name in ("usw2-db1", door.name):
        send_refused(door, f"the name of {name} over another's certificate", STRANGER, Sender(name).report(1),
                     STRANGER, name)
    send_refused(door, "a report for another host", STRANGER, Sender(STRANGER).report(1, "usw2-db1"),
                 STRANGER, "usw2-db1")
    send_refused(door, "a message of another cluster", "usw2-db1",
                 Sender("usw2-db1", cluster="elsewhere").report(1 << 40), "elsewhere")
    digest = field(1, "use1-coord") + field(2, "us-east-1")
    send_refused(door, "a coordinator's message of an agent", STRANGER,
                 Sender(STRANGER).envelope(1, 12, digest), STRANGER)


def replay(door):
    sender = Sender(STRANGER)
    since = door.log_bytes()
    with greet(door.connect_tls(STRANGER)) as link:
        message = sender.report(7)
        ask(link, message, 1)
        expect_quietly(b"is not after" in ask(link, message, 2), "a repeated message is refused")
        expect_quietly(b"is not after" in ask(link, sender.report(6), 3), "an overtaken message is refused")
    expect_logged(door, since, "a repeated message", "message.refused", "number 7 is not after 7")
    expect_logged(door, since, "an overtaken message", "message.refused", "number 6 is not after 7")


def wake_old_copy(door):
    """A copy of a host, with its own certificate, that began before the one that runs."""
    send_refused(door, "an old copy of a host", door.region.host,
                 Sender(door.region.host, started_ns=1).report(1 << 40), door.region.host, "runs twice")


def crowd(doors, writer):
    """Silent connections, plain and after the handshake, at all doors at once."""
    since = [door.log_bytes() for door in doors]
    links = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    before = len(writer.acked)
    try:
        for _ in range(CROWD):
            links += [door.connect() for door in doors]
        for _ in range(20):
            links += [greet(door.connect_tls(STRANGER)) for door in doors]
        time.sleep(12)  # longer than a connection may take to become ready
    finally:
        for link in links:
            link.close()
    for door, begin in zip(doors, since):
        expect_logged(door, begin, f"{CROWD} silent connections", "connection.refused")
    expect("commits went on meanwhile", len(writer.acked) > before + 50)


# ---- nobody notices --------------------------------------------------------------------------------------

class Health:
    """What must not change."""

    def __init__(self, lab):
        self.lab = lab
        self.postmasters = self.read_postmasters()

    def read_postmasters(self):
        return {name: postmaster_pid(region) for name, region in self.lab.regions.items()}

    def check(self):
        west = self.lab.regions["us-west-2"]
        self.lab.expect_running()
        expect("the postmasters are the same", self.read_postmasters() == self.postmasters)
        expect("us-west-2 is the primary", is_primary(self.lab, west))
        for region in self.lab.regions.values():
            expect(f"{region.coordinator} says epoch 1", service(self.lab, [region])["epoch"] == 1)
        expect("every member is reported in its role", self.lab.is_known())
        members = service(self.lab)["members"]
        expect("every member is healthy", all(m["healthy"] for m in members))
        for region in self.lab.regions.values():
            with open(region.path("agent.log"), encoding="utf-8", errors="replace") as log:
                expect(f"{region.host} was never fenced", "fenced" not in log.read())


def make_certificates(lab):
    pki = os.path.join(SOURCE, "deploy", "pki.sh")
    secret = os.path.join(lab.folder, "secrets")
    other = os.path.join(lab.folder, "other-ca")
    lab.run([pki, "issue", secret, "agent", STRANGER])
    lab.run([pki, "init", other, CLUSTER])
    lab.run([pki, "issue", other, "agent", "usw2-db1"])
    return other


def main():
    with running_lab() as lab:
        other = make_certificates(lab)
        doors = [Door(lab, region) for region in lab.regions.values()]
        health = Health(lab)
        writer = Writer(lab, os.path.join(lab.folder, "acked.jsonl"))
        writer.start()
        wait_for("commits", lambda: len(writer.acked) > 20, 30)
        for door in doors:
            send_garbage(door)
            send_tls_garbage(door)
            show_certificate(door, "no certificate", None)
            show_certificate(door, "a certificate of another CA", "usw2-db1", other)
            speak_another_protocol(door)
            send_oversized(door)
            send_broken_message(door)
            send_false_names(door)
            replay(door)
            wake_old_copy(door)
        health.check()
        crowd(doors, writer)
        health.check()
        writer.stop()
        expect(f"{len(writer.acked)} commits without a failure", not writer.failures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
