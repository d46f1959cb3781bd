"""What the tests of stores on servers have in common: the conformance suite, a tool for one call, and a
proxy that misbehaves."""

import http.client
import http.server
import os
import re
import socketserver
import threading
import time

from support import BIN, run

TESTS = os.path.join(os.path.dirname(BIN), "tests")
CONFORMANCE = os.path.join(TESTS, "conformance_store_test")
TOOL = os.path.join(TESTS, "store_tool")


def conformance(environment, *urls):
    print(run(CONFORMANCE, *urls, timeout=200, env=environment).out, flush=True)


def call(environment, url, *words, shift_s=0, deadline_ms=60000):
    """The tool's last line: "OK", or "CODE OUTCOME message (context)"."""
    done = run(TOOL, "--shift-s", shift_s, "--deadline-ms", deadline_ms, url, *words, env=environment)
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_KEY"):
        assert environment.get(name, "\0") not in done.out + done.err, f"{name} was printed"
    return done.out.strip().splitlines()[-1]


def expect(got, pattern):
    print("  ", got, flush=True)
    assert re.search(pattern, got), f"expected {pattern}"


class Proxy:
    """Passes requests on to a server; `rule(method, path, count)` says what else becomes of one:
    None, ("answer", status, headers, body), "lose" (done, and not answered), "stall" (neither), or
    "drop" (not done, and not answered)."""

    def __init__(self, target):
        self.rule = lambda method, path, count: None
        self.seen = []
        self.ended = threading.Event()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self):
                proxy.handle(self, target)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one

            def log_message(self, *words):
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

        self.server = Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def handle(self, handler, target):
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.seen.append((handler.command, handler.path))
        verdict = self.rule(handler.command, handler.path, len(self.seen))
        if verdict in ("stall", "drop"):
            if verdict == "stall":
                self.ended.wait(60)
            handler.close_connection = True
            return
        if verdict and verdict != "lose":
            self.answer(handler, *verdict[1:])
            return
        onward = http.client.HTTPConnection(target, timeout=30)
        onward.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
        for name, value in handler.headers.items():
            onward.putheader(name, value)
        onward.endheaders(body)
        answer = onward.getresponse()
        content = answer.read()
        if verdict == "lose":
            handler.close_connection = True
            return
        headers = [pair for pair in answer.getheaders() if pair[0].lower() not in ("transfer-encoding", "connection")]
        self.answer(handler, answer.status, headers, content, handler.command == "HEAD")
        onward.close()

    @staticmethod
    def answer(handler, status, headers, content, is_head=False):
        handler.send_response_only(status)
        for name, value in headers:
            if is_head or name.lower() != "content-length":
                handler.send_header(name, value)
        if not is_head:
            handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if not is_head:
            handler.wfile.write(content)

    def reset(self, rule):
        self.seen.clear()
        self.rule = rule

    def stop(self):
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()


def once(verdict, wanted):
    """A rule that applies to the first request for which `wanted(method, path)` holds."""
    done = []

    def rule(method, path, count):
        if wanted(method, path) and not done:
            done.append(count)
            return verdict
        return None

    return rule


def took(function):
    began = time.monotonic()
    result = function()
    return result, time.monotonic() - began
