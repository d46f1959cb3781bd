#!/usr/bin/env python3
"""The test vectors of docs/format.md, computed from that page alone: prints tests/reader/vectors.txt.

vectors.py --check [FOLDER] compares them with that file and with the page, below FOLDER, and has the independent reader
open what is sealed in them. Needs the packages cryptography and zstandard.
"""

import base64
import hashlib
import hmac
import os
import struct
import sys
import tempfile

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

MASK = (1 << 64) - 1
CUT_BYTES, EVEN_BYTES = 16 << 20, 5 << 20


def stream(name, size):
    """Bytes that look drawn at random: SHA-256 of the name and a counter of 8 bytes, over and over."""
    count = (size + 31) // 32
    return b"".join(hashlib.sha256(name + struct.pack("<Q", i)).digest() for i in range(count))[:size]


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def hkdf(secret, salt, info):
    return HKDF(hashes.SHA256(), 32, salt, info).derive(secret)


def public(private):
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def aead(key, number, text, bound):
    return AESGCM(key).encrypt(number.to_bytes(12, "big"), text, bound)


def box(ephemeral, to, info, text):
    pair = X25519PrivateKey.from_private_bytes(ephemeral)
    shared = pair.exchange(X25519PublicKey.from_public_bytes(to))
    return public(pair) + aead(hkdf(shared, public(pair) + to, info), 0, text, None)


def signed(key, use, statement):
    return Ed25519PrivateKey.from_private_bytes(key).sign(sha256(use, b"\0", statement))


# ---- messages --------------------------------------------------------------------------------------------
def varint(value):
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number, value):
    """Numbers and instants as varints, all else with its length. What is 0 or empty is left out."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value & MASK) if value else b""
    return varint(number << 3 | 2) + varint(len(value)) + value if value else b""


def message(*values):
    """Of fields 1, 2, …; a list is a repeated field."""
    out = b""
    for number, value in enumerate(values, 1):
        for one in value if isinstance(value, list) else [value]:
            out += field(number, one)
    return out


def signed_object(magic, body, key, use):
    data = magic + b"\1\0\0\0" + body
    data += signed(key, use, data)
    return data + sha256(data)


# ---- objects ---------------------------------------------------------------------------------------------
def make_object(kind, readable, blobs, keys, salt):
    """A sealed object; blobs are (id, content size, flags, text). Gives its parts by name."""
    head = struct.pack("<8sII32s80sI8sI", b"FORTRESS", 1, kind, salt, keys["sealed"], len(readable), keys["scope_id"], 1)
    key = hkdf(keys["session_key"] + keys["id_key"], salt, b"fortress object key 1")
    digest = sha256(head, readable)
    parts = {"object_key": key, "head": head, "head_digest": digest, "bounds": [], "sealed": []}
    directory = b""
    for number, (chunk, size, flags, text) in enumerate(blobs):
        bound = digest + struct.pack("<I32sII", number, chunk, size, flags)
        parts["bounds"].append(bound)
        parts["sealed"].append(aead(key, number, text, bound))
        directory += struct.pack("<32sIII", chunk, len(text) + 16, size, flags)
    parts["directory"] = directory
    parts["directory_bound"] = digest + struct.pack("<I", len(blobs)) + sha256(directory)
    parts["directory_tag"] = aead(key, 1 << 32, b"", parts["directory_bound"])
    foot = parts["directory_tag"] + struct.pack("<II8s", len(blobs), 0, b"FXOBJEND")
    parts["bytes"] = head + readable + b"".join(parts["sealed"]) + directory + foot
    return parts


def chained(lines):
    """A key file of these lines."""
    chain, text = bytes(32), ""
    for line in lines:
        chain = sha256(chain, line.encode())
        text += f"{line} {chain.hex()[:8]}\n"
    return f"{text}end {chain.hex()}\n".encode()


# ---- cutting ---------------------------------------------------------------------------------------------
def gear_table():
    state, table = 0x466F727472657373, []
    for _ in range(256):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        mixed = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & MASK
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & MASK
        table.append(mixed ^ mixed >> 31)
    return table


def chunk_end(data, start, gear):
    """Where the chunk that begins at `start` ends."""
    least, usual, most = (start + count for count in (262144, 1048576, 4194304))
    hash_, at = 0, least - 64
    for end, mask in ((least, None), (usual, 0xFFFFFC0000000000), (most, 0xFFFFC00000000000)):
        for byte in data[at : min(end, len(data))]:
            hash_ = ((hash_ << 1) + gear[byte]) & MASK
            at += 1
            if mask and not hash_ & mask:
                return at
    return min(most, len(data))


def cuts(data):
    gear, ends = gear_table(), [0]
    while ends[-1] < len(data):
        ends.append(chunk_end(data, ends[-1], gear))
    return ends[1:]


# ---- the vectors -----------------------------------------------------------------------------------------
def key_vectors(of=b"fortress test"):
    keys = {name: stream(of + b" " + name.encode(), 32)
            for name in ("id_key", "x25519_private", "ed25519_private", "ephemeral_private", "session_key", "salt")}
    keys["scope_id"] = stream(of + b" scope_id", 8)
    keys["x25519_public"] = public(X25519PrivateKey.from_private_bytes(keys["x25519_private"]))
    keys["ed25519_public"] = public(Ed25519PrivateKey.from_private_bytes(keys["ed25519_private"]))
    keys["id_check"] = sha256(b"fortress id key check 1", keys["id_key"])[:16]
    keys["sealed"] = box(keys["ephemeral_private"], keys["x25519_public"], b"fortress session key 1", keys["session_key"])
    return keys


def pack_vectors(keys):
    content_0, content_1 = b"Fortress keeps what others lose.\n", b"a" * 100
    # One segment of 100 bytes, one block that repeats a byte (RFC 8878): any compressor may write another frame.
    frame_1 = bytes.fromhex("28b52ffd2064230300") + b"a"
    ids = [mac(keys["id_key"], content) for content in (content_0, content_1)]
    blobs = [(ids[0], len(content_0), 1 << 8, content_0), (ids[1], len(content_1), 1 << 8 | 1, frame_1)]
    pack = make_object(1, b"", blobs, keys, keys["salt"])
    record = sha256(pack["bytes"]) + struct.pack("<QI", len(pack["bytes"]), 2) + ids[0] + ids[1]
    return {
        "content_0": content_0, "content_1": content_1, "chunk_id_0": ids[0], "chunk_id_1": ids[1],
        "object_key": pack["object_key"], "head": pack["head"], "head_digest": pack["head_digest"],
        "bound_0": pack["bounds"][0], "blob_0": pack["sealed"][0],
        "frame_1": frame_1, "bound_1": pack["bounds"][1], "blob_1": pack["sealed"][1],
        "directory": pack["directory"], "directory_bound": pack["directory_bound"],
        "directory_tag": pack["directory_tag"], "pack": pack["bytes"], "pack_name": sha256(pack["bytes"]),
        "stream_piece_id": mac(hkdf(keys["id_key"], None, b"fortress stream id 1"), content_0),
        "record": record, "record_digest": sha256(b"fortress pack record 1\0", keys["scope_id"], record),
    }


def statement_vectors(keys, pack):
    sign = keys["ed25519_private"]
    about = [keys["scope_id"], b"main", 1, 1, 1700000000000000000, keys["x25519_public"], keys["ed25519_public"]]
    recipient = message(b"file", b"plain")
    key_object = message(*about, keys["id_check"], [recipient], [message(b"web-1", 1700000001000000000)])
    root = stream(b"fortress test snapshot_root", 32)
    return {
        "voucher": signed_object(
            b"FXVOUCH1", message(keys["scope_id"], 1, pack["record"]), sign, b"fortress voucher 1"),
        "key_object": signed_object(b"FXKEYOBJ", key_object, sign, b"fortress key object 1"),
        "snapshot_root": root,
        "snapshot_signature": signed(sign, b"fortress snapshot 1", pack["head_digest"] + root),
    }


def keyring_vectors(keys):
    passphrase, salt = b"correct horse", stream(b"fortress test scrypt_salt", 16)
    private = Scrypt(salt, 32, 1 << 17, 8, 1).derive(passphrase)
    open_to = public(X25519PrivateKey.from_private_bytes(private))
    secret = keys["x25519_private"] + keys["ed25519_private"] + keys["id_key"]
    wrap = box(keys["ephemeral_private"], open_to, b"fortress wrapped key 1", secret)
    text = chained([
        "fortress keyring 1",
        "recipient file plain",
        f"recipient words passphrase scrypt 17 8 1 {salt.hex()} {open_to.hex()}",
        f"scope {keys['scope_id'].hex()} main live {keys['id_check'].hex()}",
        f"version 1 1700000000000000000 {keys['x25519_public'].hex()} {keys['ed25519_public'].hex()}",
        f"wrap file {base64.b64encode(secret).decode()}",
        f"wrap words {base64.b64encode(wrap).decode()}",
        "export web-1 1700000001000000000",
    ])
    return {"passphrase": passphrase, "scrypt_salt": salt, "passphrase_private": private,
            "passphrase_public": open_to, "wrap": wrap, "keyring": text}


def cut_vectors():
    gear = gear_table()
    return {
        "gear": " ".join(f"{number:016x}" for number in gear[:16]),
        "gear_digest": sha256(*(struct.pack("<Q", number) for number in gear)),
        "cuts": " ".join(map(str, cuts(stream(b"fortress test cuts", CUT_BYTES)))),
        "cuts_even": " ".join(map(str, cuts(b"x" * EVEN_BYTES))),
    }


def vectors():
    keys = key_vectors()
    pack = pack_vectors(keys)
    return {**keys, **pack, **statement_vectors(keys, pack), **keyring_vectors(keys), **cut_vectors()}


def printed(found):
    return "".join(f"{name} {value.hex() if isinstance(value, bytes) else value}\n" for name, value in found.items())


# ---- checks ----------------------------------------------------------------------------------------------
def check_reader(found):
    """The independent reader agrees where it has the same step."""
    import fortress_reader as reader
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/key", "wb") as file:
            file.write(found["keyring"])
        with open(f"{folder}/words", "wb") as file:
            file.write(found["passphrase"] + b"\nmore")
        for passphrase_file in (None, f"{folder}/words"):
            keyring = reader.Keyring(f"{folder}/key", passphrase_file, None)
            assert keyring.secrets == {(found["scope_id"].hex(), 1): (found["x25519_private"], found["id_key"])}
        path = f"{folder}/{found['pack_name'].hex()}"
        with open(path, "wb") as file:
            file.write(found["pack"])
        pack = reader.Object(path, reader.PACK, keyring)
        for number in (0, 1):
            assert pack.content(number) == found[f"content_{number}"], f"the reader opens blob {number} to something else"
        reader.check_signature(found["ed25519_public"], b"fortress snapshot 1",
                               found["head_digest"] + found["snapshot_root"], found["snapshot_signature"])
        os.makedirs(f"{folder}/keys/{found['scope_id'].hex()}")
        name = f"keys/{found['scope_id'].hex()}/00000001-00000001"
        with open(f"{folder}/{name}", "wb") as file:
            file.write(found["key_object"])
        with open(f"{folder}/config", "wb") as file:
            body = b"FXCONFIG\1\0\0\0" + message(bytes(16))
            file.write(body + sha256(body))
        assert reader.Repository(folder, keyring).is_own_key(found["scope_id"].hex(), name)


def check(folder):
    found = vectors()
    with open(os.path.join(folder, "tests", "reader", "vectors.txt"), encoding="ascii") as file:
        if file.read() != printed(found):
            sys.exit("vectors: tests/reader/vectors.txt differs from what docs/format.md gives")
    with open(os.path.join(folder, "docs", "format.md"), encoding="utf-8") as file:
        section = file.read().partition("\n## Test vectors\n")[2].partition("\n## ")[0]
    if "".join(section.partition("```text\n")[2].partition("```\n")[:1]) != printed(found):
        sys.exit("vectors: the section \"Test vectors\" of docs/format.md differs from tests/reader/vectors.txt")
    check_reader(found)
    print(f"ok {len(found)} vectors")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        check(*sys.argv[2:] or [os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))])
    else:
        print(printed(vectors()), end="")
