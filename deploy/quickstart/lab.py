"""A whole platform on one machine: three regions with etcd member, coordinator, agent and PostgreSQL,
a repository, a name server and a caching resolver. It starts, stops, kills and observes processes;
everything that protects the platform is done by Fortress's own three programs.

Used by quickstart.sh and by the integration tests.
"""

import base64
import contextlib
import hashlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time

import dns.exception
import dns.resolver
import psycopg2

from leftovers import free_shared_memory

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PG_BIN = "/usr/lib/postgresql/15/bin"
SERVICE = "orders-db"
ZONE = "quickstart.test"
NAME = "db." + ZONE
CLUSTER = "quickstart"


class LabError(Exception):
    """Something that should have happened did not, with what a person can look at."""


class ProcessEnded(Exception):
    """A program that should run has ended; no waiting helps."""


def wait_for(what, condition, timeout_s, every_s=0.1):
    """Polls until condition() is true and gives its value; LabError after timeout_s."""
    deadline = time.monotonic() + timeout_s
    last = None
    while time.monotonic() < deadline:
        try:
            value = condition()
            if value:
                return value
            last = None
        except (OSError, psycopg2.Error, subprocess.SubprocessError, ValueError, LabError) as failure:
            last = failure
        time.sleep(every_s)
    raise LabError(f"{what}: not within {timeout_s} s" + (f" (last: {last})" if last else ""))


def port_is_free(address, port):
    """True where both a TCP and a UDP socket can be bound."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


CLAIMS = {}  # names of ports that this process will use, each with the socket that says so


def claim(address, port):
    """
    Keeps other labs from a port that is free now and listened on only later; until this process ends.
    Names of this kind are of a network namespace, as ports are. False: another lab was faster.
    """
    name = f"\0fortress lab {address} {port}"
    if name not in CLAIMS:
        mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            mark.bind(name)
        except OSError:
            mark.close()
            return False
        CLAIMS[name] = mark
    return True


def free_offset(addresses, ports):
    """The smallest offset at which all `ports` are free on all `addresses`, and this process's."""
    for offset in range(0, 20000, 10):
        wanted = [(address, port + offset) for address in addresses for port in ports]
        if all(port_is_free(*one) for one in wanted) and all(claim(*one) for one in wanted):
            return offset
    raise LabError("no free ports between the usual ones and 20,000 above")


class Region:
    """Addresses, ports and folders of one region."""

    def __init__(self, lab, name, code, address, prefix):
        self.lab = lab
        self.name = name
        self.code = code
        self.address = address
        self.prefix = prefix  # command that enters the region's network namespace, or []
        self.host = f"{code}-db1"
        self.coordinator = f"{code}-coord"
        self.folder = os.path.join(lab.folder, name)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)


class Lab:
    """The platform. `addresses` and `prefixes` place regions into namespaces for tests."""

    REGIONS = (("us-west-2", "usw2", "127.0.1.1"),
               ("us-east-1", "use1", "127.0.2.1"),
               ("eu-west-1", "euw1", "127.0.3.1"))
    PORTS = {"postgres": 5432, "agents": 7400, "api": 7443, "etcd": 2379, "peer": 2380}

    def __init__(self, folder, binaries, addresses=None, prefixes=None, dns_address="127.0.0.1",
                 policy=None):
        self.folder = folder
        self.binaries = binaries
        self.dns_address = dns_address
        self.regions = {}
        for name, code, address in self.REGIONS:
            address = (addresses or {}).get(name, address)
            self.regions[name] = Region(self, name, code, address, (prefixes or {}).get(name, []))
        offset = 0 if prefixes else free_offset(
            [r.address for r in self.regions.values()], list(self.PORTS.values()))
        self.ports = {key: port + offset for key, port in self.PORTS.items()}
        offset = free_offset([dns_address], [5300, 5301])
        self.ports.update(dns=5300 + offset, resolver=5301 + offset)
        self.as_root = os.geteuid() == 0
        self.processes = {}  # (region name or "lab", what) -> Popen
        self.token = secrets.token_urlsafe(24)
        self.passwords = {user: secrets.token_urlsafe(18)
                          for user in ("fortress", "replicator", "fortress_probe", "app")}
        self.repository = self.regions["us-east-1"].path("repository")
        self.key_file = os.path.join(folder, "secrets", "repository.key")
        self.policy = policy or {}  # changes to the coordinators' policy section
        self.agent_extra = {} # region name -> text added to its agent's configuration
        self.wal_switch_after_s = 5

    # ---- small helpers ---------------------------------------------------------------------------

    def binary(self, name):
        return os.path.join(self.binaries, name)

    def run(self, command, region=None, as_postgres=False, check=True, **options):
        """Runs a command to its end; its output in the exception if it fails."""
        full = list(region.prefix) if region else []
        if as_postgres and self.as_root:
            full += ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        full += command
        options.setdefault("env", {**os.environ,
                                   "FORTRESS_CACHE_DIR": os.path.join(self.folder, "cache")})
        done = subprocess.run(full, capture_output=True, text=True, check=False, **options)
        if check and done.returncode != 0:
            raise LabError(f"{' '.join(command)} failed with {done.returncode}:\n"
                           f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done

    def start(self, region, what, command, as_postgres=False):
        """Starts a long-running process with its log in the region's folder."""
        folder = region.folder if region else self.folder
        full = list(region.prefix) if region else []
        if as_postgres and self.as_root:
            full += ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        with open(os.path.join(folder, what + ".log"), "ab") as log:
            process = subprocess.Popen(full + command, cwd=folder, stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log, start_new_session=True)
        self.processes[(region.name if region else "lab", what)] = process
        return process

    def write(self, path, text, mode=0o644):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w",
                  encoding="utf-8") as out:
            out.write(text)

    def give_to_postgres(self, path):
        if self.as_root:
            shutil.chown(path, "postgres", "postgres")

    # ---- keys, certificates, configuration ----------------------------------------------------------

    def make_secrets(self):
        pki = os.path.join(SOURCE, "deploy", "pki.sh")
        secret = os.path.join(self.folder, "secrets")
        self.run([pki, "init", secret, CLUSTER])
        for region in self.regions.values():
            self.run([pki, "issue", secret, "agent", region.host, region.address])
            # etcd checks where a peer's connection comes from: on loopback, from 127.0.0.1.
            local = ["127.0.0.1"] if region.address.startswith("127.") else []
            self.run([pki, "issue", secret, "coordinator", region.coordinator, region.address, *local])
            self.run([pki, "endorse", secret, region.coordinator])
        lines = [f"*:*:*:{user}:{password}\n" for user, password in self.passwords.items()]
        self.passfile = os.path.join(secret, "pgpass")
        self.write(self.passfile, "".join(lines), 0o600)
        self.give_to_postgres(self.passfile)
        digest = hashlib.sha256(self.token.encode()).hexdigest()
        self.write(os.path.join(secret, "tokens.yaml"),
                   f"- {{name: quickstart, role: operator, sha256: {digest}}}\n", 0o600)
        self.write(os.path.join(secret, "token"), self.token + "\n", 0o600)
        tsig = secrets.token_bytes(32)
        self.tsig = base64.b64encode(tsig).decode()
        self.write(os.path.join(secret, "tsig.key"), self.tsig + "\n", 0o600)
        os.chmod(secret, 0o755)

    def coordinator_list(self, first, what):
        """Coordinators with the region `first` first, as YAML list items."""
        regions = sorted(self.regions.values(), key=lambda r: r is not first)
        if what == "peers":
            regions = regions[1:]
        return "".join(
            f'  - {{name: {r.coordinator}, region: {r.name}, '
            f'url: "tls+tcp://{r.address}:{self.ports["agents"]}", '
            f'endorsement_key: {self.folder}/secrets/{r.coordinator}.endorse.pub}}\n'
            for r in regions)

    def tls(self, name):
        secret = os.path.join(self.folder, "secrets")
        return f"{{ca: {secret}/ca.pem, certificate: {secret}/{name}.pem, key: {secret}/{name}.key}}"

    def write_agent_config(self, region):
        port = self.ports["postgres"]
        receives_wal = region.name == "us-east-1"
        wal = (f"    wal: {{receive: true, slot: fortress_wal, "
               f"switch_after_s: {self.wal_switch_after_s}}}\n" if receives_wal else
               f"    wal: {{receive: false, switch_after_s: {self.wal_switch_after_s}}}\n")
        self.write(region.path("agent.yaml"), f"""\
version: 1
cluster: {CLUSTER}
host: {region.host}
region: {region.name}
state_dir: {region.path("agent")}
log_level: info
tls: {self.tls(region.host)}
coordinators:
{self.coordinator_list(region, "coordinators")}\
repository: {{url: "posix:{self.repository}", key_file: {self.key_file}}}
services:
  - name: {SERVICE}
    postgres:
      bin_dir: {PG_BIN}
      data_dir: {region.path("pg")}
      run_as: {"postgres" if self.as_root else '""'}
      conninfo: "host={region.address} port={port} user=fortress dbname=postgres passfile={self.passfile}"
      replication_conninfo: "user=replicator passfile={self.passfile}"
{wal}\
jobs:
  - {{name: {SERVICE}, kind: postgres, service: {SERVICE}, interval_s: 0}}
  - {{name: app-data, kind: files, paths: [{region.path("app")}], interval_s: 0}}
probes:
  - {{name: postgres-port, kind: tcp, target: "{region.address}:{port}", interval_ms: 1000, timeout_ms: 500}}
{self.agent_extra.get(region.name, "")}""")

    def write_coordinator_config(self, region):
        ports = self.ports
        own_first = sorted(self.regions.values(), key=lambda r: r is not region)
        endpoints = ", ".join(f'"https://{r.address}:{ports["etcd"]}"' for r in own_first)
        initial = ",".join(f"{r.code}=https://{r.address}:{ports['peer']}"
                           for r in self.regions.values())
        members = "".join(
            f"      - {{host: {r.host}, region: {r.name}, address: {r.address}, "
            f"port: {ports['postgres']}}}\n" for r in self.regions.values())
        policy = {"lease_ms": 8000, "renewal_ms": 2000, "margin_ms": 1000, **self.policy}
        policy_text = ", ".join(f"{key}: {value}" for key, value in policy.items())
        secret = os.path.join(self.folder, "secrets")
        self.write(region.path("coordinator.yaml"), f"""\
version: 1
cluster: {CLUSTER}
name: {region.coordinator}
region: {region.name}
state_dir: {region.path("coordinator")}
log_level: info
tls: {self.tls(region.coordinator)}
endorsement_key: {secret}/{region.coordinator}.endorse.key
listen: {{agents: "tls+tcp://{region.address}:{ports["agents"]}", api: "{region.address}:{ports["api"]}"}}
api_tokens: {secret}/tokens.yaml
peers:
{self.coordinator_list(region, "peers")}\
etcd:
  endpoints: [{endpoints}]
  tls: {self.tls(region.coordinator)}
  member:
    name: {region.code}
    data_dir: {region.path("etcd")}
    client_url: "https://{region.address}:{ports["etcd"]}"
    peer_url: "https://{region.address}:{ports["peer"]}"
    initial_cluster: "{initial}"
policy: {{{policy_text}}}
services:
  - name: {SERVICE}
    kind: postgres
    members:
{members}\
    probe_conninfo: "user=fortress_probe dbname=postgres passfile={self.passfile} connect_timeout=2"
    dns: {{provider: rfc2136, zone: {ZONE}, name: {NAME}, ttl_s: 10, server: {self.dns_address}, port: {ports["dns"]}, key_name: fortress, key_algorithm: hmac-sha256, key_file: {secret}/tsig.key}}
repositories:
  - {{name: us-east-1, url: "posix:{self.repository}"}}
""")

    # ---- PostgreSQL ------------------------------------------------------------------------------------

    def make_databases(self):
        """initdb and the application's schema in the first region, base backups in the others."""
        first, *others = self.regions.values()
        port = self.ports["postgres"]
        password = os.path.join(self.folder, "secrets", "superuser")
        self.write(password, self.passwords["fortress"] + "\n", 0o600)
        self.give_to_postgres(password)
        for region in self.regions.values():
            os.makedirs(region.path("pg"), mode=0o700)
            os.makedirs(region.path("run"), exist_ok=True)
            for folder in ("pg", "run"):
                self.give_to_postgres(region.path(folder))
        self.run([f"{PG_BIN}/initdb", "-D", first.path("pg"), "-U", "fortress", "-A",
                  "scram-sha-256", "--pwfile", password, "-E", "UTF8", "--locale=C.UTF-8"],
                 as_postgres=True)
        os.unlink(password)
        self.write_postgres_config(first)
        self.run([f"{PG_BIN}/pg_ctl", "-D", first.path("pg"), "-w", "-l",
                  first.path("run", "setup.log"), "start"], region=first, as_postgres=True)
        try:
            self.make_schema(first)
            for region in others:
                self.run([f"{PG_BIN}/pg_basebackup", "-D", region.path("pg"), "-X", "stream", "-c",
                          "fast", "-d", f"host={first.address} port={port} user=replicator "
                          f"passfile={self.passfile}"], region=region, as_postgres=True)
                self.write_postgres_config(region)
        finally:
            self.run([f"{PG_BIN}/pg_ctl", "-D", first.path("pg"), "-w", "-m", "fast", "stop"],
                     region=first, as_postgres=True)

    def write_postgres_config(self, region):
        conf = region.path("pg", "postgresql.conf")
        self.write(conf, f"""\
listen_addresses = '{region.address}'
port = {self.ports["postgres"]}
unix_socket_directories = '{region.path("run")}'
wal_level = replica
wal_log_hints = on
max_wal_senders = 10
max_replication_slots = 10
max_slot_wal_keep_size = 1GB
wal_keep_size = 256MB
hot_standby = on
shared_buffers = 32MB
dynamic_shared_memory_type = mmap
log_line_prefix = '%m [%p] '
""")
        hba = region.path("pg", "pg_hba.conf")
        network = "127.0.0.0/8" if region.address.startswith("127.") else "samenet"
        self.write(hba, f"""\
local all fortress scram-sha-256
host all all {network} scram-sha-256
host replication replicator,fortress {network} scram-sha-256
""", 0o600)
        for path in (conf, hba):
            self.give_to_postgres(path)

    def make_schema(self, region):
        for user, rights in (("replicator", "REPLICATION"), ("fortress_probe", ""), ("app", "")):
            self.sql(region, f"CREATE ROLE {user} LOGIN {rights} PASSWORD %s", (self.passwords[user],))
        self.sql(region, "CREATE DATABASE app OWNER app")
        self.sql(region, "GRANT CREATE ON DATABASE postgres TO fortress_probe")
        self.sql(region, "CREATE TABLE orders (seq bigint PRIMARY KEY, sent_at timestamptz NOT NULL, "
                 "placed_at timestamptz NOT NULL DEFAULT now())", user="app", database="app")

    def sql(self, region, text, values=(), user="fortress", database="postgres", **where):
        """One statement straight at one region's PostgreSQL, past the service's name; its rows."""
        with contextlib.closing(self.connect(region, user, database, **where)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(text, values)
                return cursor.fetchall() if cursor.description else []

    def connect(self, region, user="app", database="app", address=None, port=None, timeout_s=3):
        return psycopg2.connect(
            host=address or region.address, port=port or self.ports["postgres"], user=user,
            dbname=database, password=self.passwords[user], connect_timeout=timeout_s,
            options="-c statement_timeout=5000")

    # ---- the name service --------------------------------------------------------------------------------

    def start_names(self):
        folder = os.path.join(self.folder, "names")
        os.makedirs(os.path.join(folder, "run"), exist_ok=True)
        zone = os.path.join(folder, "zone")
        self.write(zone, f"""\
$ORIGIN {ZONE}.
$TTL 10
@ SOA ns.{ZONE}. admin.{ZONE}. 1 3600 600 86400 1
@ NS ns.{ZONE}.
ns A {self.dns_address}
""")
        knot = os.path.join(folder, "knot.conf")
        self.write(knot, f"""\
server:
  rundir: "{folder}/run"
  listen: {self.dns_address}@{self.ports["dns"]}
key:
  - id: fortress
    algorithm: hmac-sha256
    secret: {self.tsig}
acl:
  - id: updates
    key: fortress
    action: update
database:
  storage: "{folder}/run"
zone:
  - domain: {ZONE}
    storage: "{folder}"
    file: "zone"
    acl: updates
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
log:
  - target: stderr
    any: warning
""", 0o600)
        unbound = os.path.join(folder, "unbound.conf")
        self.write(unbound, f"""\
server:
  interface: {self.dns_address}@{self.ports["resolver"]}
  access-control: 0.0.0.0/0 allow
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: "{folder}/unbound.pid"
  use-syslog: no
  verbosity: 1
  do-ip6: no
  do-not-query-localhost: no
  module-config: "iterator"
  local-zone: "test." nodefault
  num-threads: 1
remote-control:
  control-enable: no
stub-zone:
  name: "{ZONE}"
  stub-addr: {self.dns_address}@{self.ports["dns"]}
""")
        self.start(None, "knot", ["/usr/sbin/knotd", "-c", knot])
        self.start(None, "unbound", ["/usr/sbin/unbound", "-d", "-c", unbound])
        wait_for("name server answers", lambda: self.resolve(self.ports["dns"], f"ns.{ZONE}"), 10)
        wait_for("resolver answers", lambda: self.resolve(self.ports["resolver"], f"ns.{ZONE}"), 10)

    def resolve(self, port, name=NAME):
        """Addresses of `name`, asked afresh at the name server or the caching resolver; [] if none."""
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = [self.dns_address]
        resolver.port = port
        resolver.lifetime = 1.0
        try:
            return sorted(str(answer) for answer in resolver.resolve(name, "A"))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer, dns.exception.Timeout,
                dns.resolver.NoNameservers):
            return []

    # ---- Fortress ------------------------------------------------------------------------------------------

    def prepare(self):
        """Everything on disk, nothing of Fortress running yet."""
        os.makedirs(self.folder, exist_ok=True)
        os.chmod(self.folder, 0o755)
        for region in self.regions.values():
            os.makedirs(region.folder, exist_ok=True)
        self.make_secrets()
        for region in self.regions.values():
            self.write_agent_config(region)
            self.write_coordinator_config(region)
        self.make_databases()
        self.make_app_data()
        self.start_names()
        self.agent(["repo", "init"])

    def make_app_data(self):
        """Application data of the first region: many small files and some large, seeded."""
        source = random.Random(7)
        root = self.regions["us-west-2"].path("app")
        for index in range(400):
            path = os.path.join(root, f"mail/{index % 20:02}", f"message-{index}.eml")
            self.write(path, f"Message-ID: <{index}@{ZONE}>\n\n" +
                       "".join(source.choices("abcdefghij klmnop\n", k=source.randrange(200, 8000))))
        for index in range(4):
            path = os.path.join(root, "uploads", f"picture-{index}.bin")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as out:
                out.write(source.randbytes(3_000_000))
        os.symlink("picture-0.bin", os.path.join(root, "uploads", "latest"))
        os.link(os.path.join(root, "uploads", "picture-1.bin"),
                os.path.join(root, "uploads", "picture-1-link.bin"))
        for name in ("us-east-1", "eu-west-1"):
            os.makedirs(self.regions[name].path("app"), exist_ok=True)

    def agent(self, arguments, check=True):
        """One of the agent's local verbs, with the lab's repository and key."""
        return self.run([self.binary("fortress-agent"), *arguments, "--repo",
                         "posix:" + self.repository, "--key-file", self.key_file], check=check)

    def start_coordinator(self, region):
        return self.start(region, "coordinator", [self.binary("fortress-coordinator"), "run",
                                                  "--config", region.path("coordinator.yaml")])

    def start_agent(self, region):
        return self.start(region, "agent", [self.binary("fortress-agent"), "run", "--config",
                                            region.path("agent.yaml")])

    def start_fortress(self):
        for region in self.regions.values():
            self.start_coordinator(region)
        for region in self.regions.values():
            self.start_agent(region)

    def fortress(self, *arguments, check=True, regions=None):
        """The operator's command line."""
        api = ",".join(f"https://{r.address}:{self.ports['api']}"
                       for r in (regions or self.regions.values()))
        environment = {**os.environ, "FORTRESS_API": api,
                       "FORTRESS_TOKEN_FILE": os.path.join(self.folder, "secrets", "token"),
                       "FORTRESS_CA": os.path.join(self.folder, "secrets", "ca.pem")}
        return self.run([self.binary("fortress"), *arguments], check=check, env=environment)

    def query(self, *arguments, regions=None):
        """A command's `-o json` output, parsed."""
        return json.loads(self.fortress(*arguments, "-o", "json", regions=regions).stdout)

    def wait_ready(self, timeout_s=60):
        """Until the primary writes, both standbys stream and the name points at the primary."""
        first = self.regions["us-west-2"]

        def ready():
            self.expect_running()
            if self.resolve(self.ports["dns"]) != [first.address]:
                return False
            return self.sql(first, """
                SELECT count(*) >= 2 AND NOT pg_is_in_recovery() FROM pg_stat_replication
                WHERE state = 'streaming' AND usename = 'replicator'""")[0][0]
        wait_for("the platform runs: primary writes, two standbys stream, the name resolves", ready,
                 timeout_s, 0.25)
        wait_for("the coordinators know it", self.is_known, 20, 0.25)

    def is_known(self):
        """Whether every member is reported in its role."""
        members = [m for s in self.query("services")["services"] for m in s["members"]]
        return len(members) == len(self.regions) and all(
            m["role"] == "primary" or m["role"] == "standby" and m["streaming"] for m in members)

    def expect_running(self):
        """Ends the waiting at once when a program that should run has ended."""
        for (region, what), process in self.processes.items():
            if process.poll() is not None:
                folder = self.regions[region].folder if region in self.regions else self.folder
                path = os.path.join(folder, what + ".log")
                with open(path, encoding="utf-8", errors="replace") as log:
                    last = log.read()[-600:]
                raise ProcessEnded(f"{what} of {region} ended with {process.returncode}; {path} ends:"
                                   f"\n{last}")

    # ---- killing and cleaning up -----------------------------------------------------------------------------

    OWN_PROGRAMS = {"postgres", "etcd", "knotd", "unbound", "fortress-agent", "fortress-coordinator",
                    "fortress", "pg_basebackup", "pg_rewind"}

    def pids_of(self, folder, sparing=()):
        """The lab's processes of a folder: they work in it or name it on their command line. A shell or
        a pager that a person has there is not one of ours."""
        found = []
        marker = folder + "/"
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                program = os.path.basename(os.readlink(f"/proc/{entry}/exe"))
                cwd = os.readlink(f"/proc/{entry}/cwd")
                with open(f"/proc/{entry}/cmdline", "rb") as source:
                    command = source.read().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if program.removesuffix(" (deleted)") in self.OWN_PROGRAMS.difference(sparing) and (
                    (cwd + "/").startswith(marker) or marker in command):
                found.append(int(entry))
        return found

    def kill_all(self, folder, signal_number=signal.SIGKILL, sparing=()):
        """Kills every process of a folder but the programs to be spared, again until none is left; gives the
        time of the first blow."""
        began = time.time()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            pids = self.pids_of(folder, sparing)
            alive = False
            for pid in pids:
                try:
                    os.kill(pid, signal_number)
                except ProcessLookupError:
                    continue
                alive = alive or not self.is_zombie(pid)
            self.reap()
            if not alive:
                return began
            time.sleep(0.01)
        raise LabError(f"processes of {folder} are still there after 10 s: {self.pids_of(folder)}")

    @staticmethod
    def is_zombie(pid):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as source:
                return source.read().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            return True

    def reap(self):
        for process in self.processes.values():
            process.poll()

    def kill_region(self, region):
        return self.kill_all(region.folder)

    def kill_host(self, region):
        """The region's database host alone: agent, guard and PostgreSQL; coordinator and etcd go on."""
        return self.kill_all(region.folder, sparing=("fortress-coordinator", "etcd"))

    def stop(self):
        """Ends everything that the lab started, whoever started it in turn."""
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        self.kill_all(self.folder)
        for process in self.processes.values():
            process.wait()
        free_shared_memory(self.folder)


def main():
    """lab.py stop DIR: ends what a kept platform still runs, and removes its folder."""
    if len(sys.argv) != 3 or sys.argv[1] != "stop":
        print("usage: lab.py stop DIR", file=sys.stderr)
        return 2
    folder = os.path.abspath(sys.argv[2])
    if not os.path.exists(os.path.join(folder, "secrets", "ca.pem")):
        print(f"{folder} is not the folder of a quickstart", file=sys.stderr)
        return 1
    lab = Lab.__new__(Lab)
    lab.processes = {}
    lab.kill_all(folder)
    free_shared_memory(folder)
    shutil.rmtree(folder)
    print(f"stopped and removed {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
