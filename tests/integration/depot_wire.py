"""What a stolen host can send to a depot: its own certificate, and messages that no driver of ours would
make. proto/depot.proto by hand, because a hostile sender does not use our library."""

import socket
import ssl
import struct

from support import wait_until

HELLO = b"\0SP\0\0\x30\0\0"
ANSWER = b"\0SP\0\0\x31\0\0"
BODIES = {"describe": 10, "put": 11, "begin": 12, "part": 13, "commit": 14, "append": 15, "get": 16, "stat": 17,
          "list": 18, "scrub": 19, "remove": 20}
CODES = {0: "OK", 1: "DENIED", 2: "EXISTS", 3: "LIMIT", 4: "UNREACHABLE", 5: "TIMEOUT", 6: "NOT_FOUND", 7: "INVALID",
         8: "DAMAGED", 9: "WRONG_KEY", 10: "NO_SPACE", 11: "IO", 12: "CONFLICT", 13: "STALE", 14: "UNSUPPORTED",
         15: "BUSY", 16: "FAILED", 17: "CANCELLED"}


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


def fields(data):
    """number → values, in order."""
    found, at = {}, 0

    def read_varint():
        nonlocal at
        number = shift = 0
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(data):
        tag = read_varint()
        if tag & 7 == 0:
            value = read_varint()
        else:
            assert tag & 7 == 2, "a reply has no other kinds of fields"
            length = read_varint()
            value, at = data[at:at + length], at + length
        found.setdefault(tag >> 3, []).append(value)
    return found


def request(repository, body, content=b"", version=1):
    return field(1, version) + field(2, repository) + field(BODIES.get(body, body), content)


def framed(message, number=1):
    return struct.pack(">QI", len(message) + 4, number | 0x80000000) + message


class Reply:
    def __init__(self, data):
        got = fields(data)
        self.code = CODES[got.get(2, [0])[0]]
        self.message = got.get(4, [b""])[0].decode()
        self.body = {number: fields(values[0]) for number, values in got.items() if number >= 10}

    def __str__(self):
        return f"{self.code} {self.message}"


class Enemy:
    """A connection with a certificate."""

    def __init__(self, port, certificate, key):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if certificate:
            context.load_cert_chain(certificate, key)
        self.link = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=30))
        self.number = 0
        self.link.sendall(HELLO)
        if self.read(8) != ANSWER:
            raise ConnectionError("no greeting")

    def read(self, size_bytes):
        got = b""
        while len(got) < size_bytes:
            part = self.link.recv(size_bytes - len(got))
            if not part:
                raise ConnectionError("closed")
            got += part
        return got

    def send(self, message):
        self.number += 1
        self.link.sendall(framed(message, self.number))

    def receive(self):
        size_bytes, _ = struct.unpack(">QI", self.read(12))
        return Reply(self.read(size_bytes - 4))

    def ask(self, repository, body, content=b"", version=1):
        self.send(request(repository, body, content, version))
        return self.receive()

    def close(self):
        self.link.close()

    # ---- what a host does -----------------------------------------------------------------------

    def put(self, repository, key, content):
        return self.ask(repository, "put", field(1, key) + field(2, content))

    def append(self, repository, key, offset, content):
        return self.ask(repository, "append", field(1, key) + field(2, offset) + field(3, content))

    def get(self, repository, key, offset=0, size_bytes=1 << 20):
        return self.ask(repository, "get", field(1, key) + field(2, offset) + field(3, size_bytes))

    def stat(self, repository, key):
        return self.ask(repository, "stat", field(1, key))

    def scrub(self, repository, key):
        return self.ask(repository, "scrub", field(1, key))

    def list(self, repository, prefix="", after="", limit=100):
        return self.ask(repository, "list", field(1, prefix) + field(2, after) + field(3, limit))

    def begin(self, repository, key, size_bytes):
        return self.ask(repository, "begin", field(1, key) + field(2, size_bytes))

    def part(self, repository, upload, offset, content):
        return self.ask(repository, "part", field(1, upload) + field(2, offset) + field(3, content))

    def commit(self, repository, upload):
        return self.ask(repository, "commit", field(1, upload))

    def remove(self, repository, keys, ticket=None):
        body = b"".join(field(1, key) for key in keys)
        return self.ask(repository, "remove", body + (field(2, ticket) if ticket is not None else b""))


def is_dropped(enemy):
    """The depot closes the connection and says nothing more."""
    def closed():
        try:
            return enemy.link.recv(4096) == b""
        except (ssl.SSLError, ConnectionError):
            return True

    return wait_until("the connection is closed", closed)
