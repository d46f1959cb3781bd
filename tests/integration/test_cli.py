"""The command `fortress` against a real API over TLS: pages, JSON, waiting, exit codes."""

import json
import os
import subprocess
import sys

from api_server import BINARIES, api_server, expect

DEAD = "https://127.0.0.1:1"  # nobody listens on port 1


def fortress(server, *arguments, api=None, user="alice", typed=""):
    environment = {**os.environ, "FORTRESS_API": api or server.url, "FORTRESS_CA": server.ca,
                   "FORTRESS_TOKEN_FILE": server.path(f"{user}.token")}
    return subprocess.run([os.path.join(BINARIES, "fortress"), *arguments], env=environment,
                          input=typed, capture_output=True, text=True, timeout=60, check=False)


def shown(server, *arguments, **options):
    done = fortress(server, *arguments, **options)
    expect(f"fortress {' '.join(arguments)}", done.returncode == 0, done.stderr)
    return done.stdout


def pages(server):
    text = shown(server, "status")
    print(text)
    problems = text.index("Problems")
    expect("problems come before services", problems < text.index("Services"))
    expect("the critical one is first", "CRITICAL" in text[problems:].splitlines()[2])
    for word in ("use1-coord", "term 7", "orders-db", "euw1-db1", "0.2 s", "p-running",
                 "promote", "files:app-data", "10 min ago"):
        expect(f"the status tells {word}", word in text)
    expect("no blanks at the end of lines", not any(l.endswith(" ") for l in text.splitlines()))
    expect("services", "SHOULD BE PRIMARY" in shown(server, "services") or
           "SILENT" in shown(server, "services"))
    expect("hosts", "SILENT" in shown(server, "hosts"))
    expect("snapshots", "0123456789ab" in shown(server, "snapshots", "--host", "usw2-db1"))
    expect("plans", "p-old" in shown(server, "plans") and
           "p-old" not in shown(server, "plans", "--limit", "1"))
    expect("decisions", "two regions agree" in shown(server, "decisions"))
    for verb in ("status", "services", "hosts", "snapshots", "plans", "decisions"):
        expect(f"{verb} as JSON", json.loads(shown(server, verb, "-o", "json")))
    expect("a viewer may look", fortress(server, "status", user="prometheus").returncode == 0)


def several_coordinators(server):
    expect("the second is asked when the first is dead",
           "orders-db" in shown(server, "services", api=f"{DEAD},{server.url}"))
    done = fortress(server, "status", api=DEAD)
    expect("nobody answers: 10", done.returncode == 10 and "127.0.0.1:1" in done.stderr, done.stderr)
    done = fortress(server, "backup", "usw2-db1", "app-data", api=f"{DEAD},{server.url}")
    expect("a request goes to the second too", done.returncode == 0, done.stderr)


def waiting(server):
    done = fortress(server, "switchover", "orders-db", "--to", "euw1-db1", "--reason", "test",
                    "--yes", "--wait")
    expect("a switchover that is waited for", done.returncode == 0, done.stderr)
    lines = done.stdout.splitlines()
    print(done.stdout)
    for step in ("fence", "promote", "dns"):
        expect(f"step {step} is told to its end",
               any(step in l and "done" in l for l in lines))
    expect("its outcome is told", lines[-1] == "done: moved")
    done = fortress(server, "backup", "usw2-db1", "app-data", "--wait", "-o", "json")
    expect("a backup that is waited for: JSON alone on standard output",
           done.returncode == 0 and json.loads(done.stdout)["state"] == "done", done.stderr)
    done = fortress(server, "restore", "usw2-db1", "latest", "--target", "/srv/back")
    expect("a restore that is not waited for", done.returncode == 0 and "is filed" in done.stdout)


def failures(server):
    for status, arguments, options in (
            (2, (), {}),
            (2, ("nothing",), {}),
            (2, ("status", "more"), {}),
            (2, ("status", "--wait"), {}),
            (2, ("status", "-o", "xml"), {}),
            (2, ("status", "--nothing"), {}),
            (2, ("status",), {"api": "http://127.0.0.1:1"}),
            (2, ("switchover", "orders-db"), {}),  # no terminal, no --yes
            (2, ("switchover", "a/b", "--yes"), {}),
            (2, ("restore", "usw2-db1", "latest"), {}),
            (1, ("plans", "--limit", "0"), {}),
            (1, ("restore", "usw2-db1", "latest", "--target", "relative"), {}),
            (6, ("switchover", "nothing", "--yes"), {}),
            (6, ("backup", "nobody", "app-data"), {}),
            (7, ("backup", "usw2-db1", "app-data"), {"user": "prometheus"}),
            (9, ("switchover", "billing-db", "--yes"), {}),
            (10, ("switchover", "orders-db", "--reason", "fail", "--yes"), {})):
        done = fortress(server, *arguments, **options)
        expect(f"fortress {' '.join(arguments)} {options or ''}: {status}",
               done.returncode == status and done.stderr, f"{done.returncode} {done.stderr}")
    done = subprocess.run([os.path.join(BINARIES, "fortress"), "status"], capture_output=True,
                          text=True, env={"PATH": os.environ["PATH"]}, check=False)
    expect("without an address it says what to set", done.returncode == 2 and
           "FORTRESS_API" in done.stderr)
    environment = {"PATH": os.environ["PATH"], "FORTRESS_API": server.url,
                   "FORTRESS_TOKEN_FILE": server.path("alice.token")}
    done = subprocess.run([os.path.join(BINARIES, "fortress"), "status"], capture_output=True,
                          text=True, env=environment, check=False)
    expect("an unknown authority is not believed: 7", done.returncode == 7, done.stderr)


def helps(server):
    expect("--version", shown(server, "--version").startswith("fortress "))
    text = shown(server, "--help")
    for verb in ("status", "services", "hosts", "snapshots", "plans", "decisions", "switchover",
                 "backup", "restore"):
        expect(f"help names {verb}", verb in text)
        expect(f"{verb} has a help of its own", f"fortress {verb}" in shown(server, verb, "--help"))


def main():
    with api_server() as server:
        pages(server)
        several_coordinators(server)
        waiting(server)
        failures(server)
        helps(server)
    return 0


if __name__ == "__main__":
    sys.exit(main())
