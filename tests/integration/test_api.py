"""The HTTP API over real TLS connections: answers, tokens, limits, and what clients get wrong."""

import http.client
import json
import os
import socket
import ssl
import sys
import time

from api_server import TOKENS, SOURCE, api_server, expect

OPERATOR = TOKENS["alice"][1]
VIEWER = TOKENS["prometheus"][1]


def call(server, method, path, body=None, token=OPERATOR, headers=None):
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10,
                                             context=server.tls())
    try:
        all_headers = dict(headers or {})
        if token is not None:
            all_headers["Authorization"] = f"Bearer {token}"
        connection.request(method, path, body, all_headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.headers["Content-Type"] == "application/json" and text:
            return answer.status, json.loads(text), answer.headers
        return answer.status, text, answer.headers
    finally:
        connection.close()


def error_code(answer):
    return answer["error"]["code"]


def answers_show_the_state(server):
    status, answer, headers = call(server, "GET", "/v1/status", token=VIEWER)
    expect("a viewer reads the status", status == 200)
    expect("nothing may be cached", headers["Cache-Control"] == "no-store")
    expect("the leader is named", answer["leader"] == "use1-coord" and answer["term"] == 7)
    expect("there is a quorum", answer["quorum"]["ok"])
    severities = [p["severity"] for p in answer["problems"]]
    expect("problems: worst first", severities == sorted(severities) and "critical" in severities)
    expect("a backup is shown", answer["backups"][0]["source"] == "files:app-data")
    orders = next(s for s in call(server, "GET", "/v1/services")[1]["services"]
                  if s["name"] == "orders-db")
    expect("the lease runs out", 0 < orders["lease"]["left_ms"] <= 8000)
    members = {m["host"]: m for m in orders["members"]}
    expect("the standby's lag", members["euw1-db1"]["lag_ms"] == 250
           and members["euw1-db1"]["lag_bytes"] == 96 and members["euw1-db1"]["streaming"])
    expect("a position as PostgreSQL writes it", members["use1-db1"]["write_lsn"] == "0/3000060")
    hosts = {h["name"]: h for h in call(server, "GET", "/v1/hosts")[1]["hosts"]}
    expect("a silent host is shown as such", hosts["usw2-db1"]["silent"] and
           not hosts["use1-db1"]["silent"])
    gap = hosts["euw1-db1"]["gaps"][0]
    expect("a gap is shown with its bounds", gap["from_lsn"] == "0/1000000" and
           gap["to_lsn"] == "0/3000000" and gap["size_bytes"] == 0x2000000)
    expect("and is a problem", any("from 0/1000000 to 0/3000000" in p["text"] for p in
                                   answer["problems"]))
    plans = call(server, "GET", "/v1/plans")[1]
    expect("plans: running, then history", [p["id"] for p in plans["plans"]] ==
           ["p-running", "p-old"] and plans["complete"])
    expect("a limit holds", len(call(server, "GET", "/v1/plans?limit=1")[1]["plans"]) == 1)
    decision = call(server, "GET", "/v1/decisions")[1]["decisions"][0]
    expect("a decision has evidence", decision["evidence"][0]["subject"] == "usw2-db1")
    snapshots = call(server, "GET", "/v1/snapshots?source=files%3Aapp-data")[1]
    expect("a snapshot, found by its source", snapshots["snapshots"][0]["repository"] == "east")
    expect("no snapshot of another source",
           not call(server, "GET", "/v1/snapshots?source=x")[1]["snapshots"])
    status, text, headers = call(server, "GET", "/metrics", token=VIEWER)
    expect("metrics are Prometheus text", status == 200 and
           headers["Content-Type"].startswith("text/plain; version=0.0.4"))
    expect("metrics tell gaps", 'fortress_wal_gap_bytes{host="euw1-db1"' in text)
    expect("metrics count", 'fortress_service_epoch{service="orders-db"} 3\n' in text)


def tokens_decide(server):
    for path in ("/v1/status", "/metrics", "/v1/nowhere"):
        status, answer, headers = call(server, "GET", path, token=None)
        expect(f"{path} without a token: 401", status == 401 and error_code(answer) == "DENIED")
        expect("and it says how", headers["WWW-Authenticate"].startswith("Bearer"))
        expect("a wrong token: 401", call(server, "GET", path, token="wrong")[0] == 401)
    path = "/v1/services/orders-db/failover"
    expect("a viewer may not move a service: 403",
           call(server, "POST", path, "{}", token=VIEWER)[0] == 403)
    expect("nobody may not: 401", call(server, "POST", path, "{}", token=None)[0] == 401)
    lines = [l for l in server.read_log().splitlines() if "event=api.request" in l]
    expect("both attempts are in the audit lines",
           any('who="prometheus"' in l and "status=403" in l for l in lines) and
           any('who=""' in l and "status=401" in l for l in lines))


def wrong_requests_are_refused(server):
    post = "/v1/services/orders-db/failover"
    for body, want in (("{", 400), ("[]", 400), ('{"too": "x"}', 400), ('{"to": 7}', 400),
                       ('{"to": "nobody"}', 400), ('{"to": "use1-db1"}', 409),
                       ('{"reason": "fail"}', 503)):
        status, answer, _ = call(server, "POST", post, body)
        expect(f"{body}: {want}", status == want and answer["error"]["message"], answer)
    expect("a plan in flight: 409",
           call(server, "POST", "/v1/services/billing-db/failover", "{}")[0] == 409)
    for method, path, want in (("POST", "/v1/services/nothing/failover", 404),
                               ("POST", "/v1/hosts/nobody/orders", 404),
                               ("GET", "/v1/requests/r-unknown", 404), ("GET", "/v1", 404),
                               ("GET", "/", 404), ("POST", "/v1/status", 405),
                               ("DELETE", "/v1/services/orders-db/failover", 405),
                               ("GET", "/v1/plans?limit=0", 400),
                               ("GET", "/v1/plans?limit=1e3", 400),
                               ("GET", "/v1/snapshots?host=%00", 400),
                               ("GET", "/v1/status%00x", 400)):
        status, answer, _ = call(server, method, path, "{}" if method == "POST" else None)
        expect(f"{method} {path}: {want}", status == want, answer)
    expect("405 says what is allowed", call(server, "PUT", "/v1/status")[2]["Allow"] == "GET, HEAD")


def requests_are_filed(server):
    status, answer, _ = call(server, "POST", "/v1/services/orders-db/failover",
                             '{"to": "euw1-db1", "reason": "maintenance"}')
    expect("a switchover is filed: 202", status == 202 and answer["kind"] == "switchover"
           and answer["requested_by"] == "alice")
    line = next(l for l in server.read_log().splitlines() if answer["id"] in l)
    expect("with an audit line", 'who="alice"' in line and "status=202" in line)
    found = call(server, "GET", f"/v1/requests/{answer['id']}")[1]
    expect("and found again with its plan", found["plan"]["service"] == "orders-db")
    status, answer, _ = call(server, "POST", "/v1/hosts/usw2-db1/orders",
                             '{"kind": "backup", "job": "app-data"}')
    expect("a backup is filed: 202", status == 202 and answer["kind"] == "backup")
    found = call(server, "GET", f"/v1/requests/{answer['id']}")[1]
    expect("and its order found", found["order"]["state"] in ("running", "done"))


def limits_hold(server):
    status, answer, _ = call(server, "POST", "/v1/services/orders-db/failover", "x" * 20000)
    expect("a body that says it is too large: 413", status == 413 and
           error_code(answer) == "LIMIT")

    def parts():
        for _ in range(20):
            yield b"y" * 1000
    status, answer, _ = call(server, "POST", "/v1/services/orders-db/failover", parts())
    expect("a body that becomes too large: 413", status == 413)
    status = call(server, "GET", "/v1/status", headers={"X-Long": "z" * 60000})[0]
    expect("headers too large: refused", status in (413, 431))
    expect("an address too long: refused", call(server, "GET", "/" + "a" * 60000)[0] in (413, 414))
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain:
        plain.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            answer = plain.recv(1000)
        except ConnectionResetError:
            answer = b""
        expect("no answer without TLS", b"HTTP/1.1 200" not in answer and b"leader" not in answer)
    old = server.tls()
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain, \
                old.wrap_socket(plain, server_hostname="127.0.0.1"):
            agreed = True
    except (ssl.SSLError, ConnectionResetError):
        agreed = False
    expect("no TLS 1.1", not agreed)


def many_connections_are_bounded(server):
    held = []
    try:
        for _ in range(80):
            held.append(socket.create_connection(("127.0.0.1", server.port), timeout=10))
        refused = 0
        time.sleep(0.2)  # nothing depends on it: a slow server only refuses later than the reading below
        for connection in held[64:]:
            try:
                refused += connection.recv(1) == b""
            except ConnectionResetError:
                refused += 1
        expect("connections beyond 64 of one address are closed", refused >= 16, refused)
    finally:
        for connection in held:
            connection.close()
    deadline = time.monotonic() + 10
    while True:
        try:
            status = call(server, "GET", "/v1/status")[0]
            break
        except (ConnectionResetError, ssl.SSLError, http.client.RemoteDisconnected):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    expect("and afterwards all is as before", status == 200)


def description_names_every_address():
    with open(os.path.join(SOURCE, "docs", "reference", "openapi.yaml"), encoding="utf-8") as text:
        description = text.read()
    for path in ("/v1/status", "/v1/services", "/v1/hosts", "/v1/snapshots", "/v1/plans",
                 "/v1/decisions", "/metrics", "/v1/requests/{id}",
                 "/v1/services/{name}/failover", "/v1/hosts/{host}/orders"):
        expect(f"openapi.yaml describes {path}", f"\n  {path}:\n" in description)


def main():
    with api_server() as server:
        answers_show_the_state(server)
        tokens_decide(server)
        wrong_requests_are_refused(server)
        requests_are_filed(server)
        limits_hold(server)
        many_connections_are_bounded(server)
    description_names_every_address()
    return 0


if __name__ == "__main__":
    sys.exit(main())
