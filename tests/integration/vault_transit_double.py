"""A double of Vault's transit engine for tests, on loopback: it is no Vault and keeps no secret.

It speaks the two requests that are used, POST /v1/transit/encrypt/NAME and …/decrypt/NAME, as
https://developer.hashicorp.com/vault/api-docs/secret/transit has them, and remembers what it "encrypted".
"""

import base64
import contextlib
import http.server
import json
import os
import threading


class Transit:
    def __init__(self, keys, token):
        self.keys = set(keys)
        self.token = token
        self.is_sealed = False
        self.texts = {}
        self.requests = []
        self.url = ""

    def answer(self, path, token, body):
        """Gives (status, JSON)."""
        self.requests.append(path)
        if self.is_sealed:
            return 503, {"errors": ["Vault is sealed"]}
        if token != self.token:
            return 403, {"errors": ["permission denied"]}
        parts = path.split("/")
        if len(parts) != 5 or parts[:3] != ["", "v1", "transit"]:
            return 404, {"errors": ["no handler for route"]}
        verb, key = parts[3:]
        if key not in self.keys:
            return 400, {"errors": ["encryption key not found"]}
        if verb == "encrypt":
            base64.b64decode(body["plaintext"], validate=True)
            ciphertext = "vault:v1:" + base64.b64encode(os.urandom(33)).decode()
            self.texts[key, ciphertext] = body["plaintext"]
            return 200, {"data": {"ciphertext": ciphertext, "key_version": 1}}
        if verb == "decrypt":
            plaintext = self.texts.get((key, body["ciphertext"]))
            if plaintext is None:
                return 400, {"errors": ["invalid ciphertext: no prefix"]}
            return 200, {"data": {"plaintext": plaintext}}
        return 404, {"errors": ["no handler for route"]}


@contextlib.contextmanager
def serve(keys, token):
    """Serves on a free port of 127.0.0.1 until the block ends."""
    transit = Transit(keys, token)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers.get("Content-Length", "0"))
            body = json.loads(self.rfile.read(length))
            status, answer = transit.answer(self.path, self.headers.get("X-Vault-Token"), body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        transit.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield transit
        finally:
            server.shutdown()
            thread.join()
