#!/usr/bin/python3
"""Writes sign_vectors.h: requests as Debian's python3-botocore signs them. With --check compares it with
the file beside this script instead, and fails where they differ."""

import datetime
import hashlib
import os
import sys
from unittest import mock

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

HERE = os.path.dirname(os.path.abspath(__file__))
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
WHEN = datetime.datetime(2026, 11, 23, 1, 2, 3)
CASES = [
    # method, region, path, query, headers, body, token
    ("GET", "us-east-1", "/bucket", [("list-type", "2"), ("prefix", "a/b c"), ("max-keys", "1000")], [], b"", ""),
    ("PUT", "eu-central-1", "/bucket/p/packs/0a/0a1b", [], [("if-none-match", "*"), ("content-type", "application/octet-stream")], b"body", ""),
    ("POST", "us-east-1", "/bucket/key", [("uploads", "")], [("x-amz-meta-fortress-put", "0123")], b"", "a/Token+With=Signs=="),
    ("PUT", "us-west-2", "/bucket/key", [("uploadId", "2~x/y+z="), ("partNumber", "12")], [("x-amz-checksum-sha256", "AAAA=")], b"\0" * 1000, ""),
    ("GET", "auto", "/key", [], [("range", "bytes=0-9")], b"", ""),
    ("DELETE", "us-east-1", "/bucket/a-b_c.d~e", [("continuation-token", "\u00e9%/?&=+ ~")], [], b"", "T"),
]


class Clock(datetime.datetime):
    @classmethod
    def utcnow(cls):
        return WHEN


def quote(text):
    return '"' + "".join(
        c if 32 <= ord(c) < 127 and c not in '"\\?' else "".join(f"\\{b:03o}" for b in c.encode())
        for c in text) + '"'


def pairs(items):
    return "{" + ", ".join(f"{{{quote(n)}, {quote(v)}}}" for n, v in items) + "}" if items else "{{0}}"


def vector(method, region, path, query, headers, body, token):
    request = AWSRequest(method, "http://host.example:9000" + path, dict(headers), body, dict(query))
    credentials = Credentials(KEY, SECRET, token or None)
    with mock.patch.object(botocore.auth.datetime, "datetime", Clock):
        botocore.auth.S3SigV4Auth(credentials, "s3", region).add_auth(request)
    signed = [("host", "host.example:9000")] + [
        (name.lower(), value) for name, value in request.headers.items()
        if name.lower() not in ("authorization", "host", "user-agent")]
    digest = hashlib.sha256(body).hexdigest()
    return (f"    {{.method = {quote(method)}, .region = {quote(region)}, .path = {quote(path)},\n"
            f"     .query = {pairs(query)}, .query_count = {len(query)},\n"
            f"     .headers = {pairs(signed)}, .header_count = {len(signed)},\n"
            f"     .payload_digest = {quote(digest)},\n"
            f"     .authorization = {quote(request.headers['Authorization'])}}},\n")


def text():
    return ("/* Made by sign_vectors.py with botocore; checked by tests/integration/test_store_s3.py. */\n"
            "/* clang-format off */\n"
            f"static const char vector_key[] = {quote(KEY)};\n"
            f"static const char vector_secret[] = {quote(SECRET)};\n"
            f"static const int64_t vector_time_s = {int(WHEN.replace(tzinfo=datetime.timezone.utc).timestamp())};\n"
            "static const sign_vector vectors[] = {\n"
            + "".join(vector(*case) for case in CASES) + "};\n/* clang-format on */\n")


def main():
    path = os.path.join(HERE, "sign_vectors.h")
    if "--check" in sys.argv:
        with open(path, encoding="utf-8") as kept:
            if kept.read() != text():
                sys.exit(f"{path} differs from what botocore {botocore.__version__} signs")
        return
    with open(path, "w", encoding="utf-8") as out:
        out.write(text())


if __name__ == "__main__":
    main()
