"""Measures the repository engine beside restic and borg; started by repository.sh, which builds first.

Every step runs once in each round for every program that has it, in an order that turns with the rounds;
what is compared is the ratio within a round, and its median counts. What a step reads is in the page
cache before it begins (--cold: nothing is), and the time of a final sync is part of it.
"""

import argparse
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

SOURCES = ("/usr/lib/x86_64-linux-gnu", "/usr/share/doc", "/usr/include")
QUICK_SOURCES = ("/usr/include", "/usr/share/doc/python3", "/usr/lib/x86_64-linux-gnu/perl")
BLOCK_BYTES = 64 * 1024
# ext4 shuns inodes that were freed within the last minute, and searches long for others meanwhile.
SETTLE_SECONDS = 65
PASSWORD = "benchmark"

# row: (title, step, measure, {peer: at most})
ROWS = (
    ("first backup of the tree, wall", "backup-tree", "wall", {"restic": 0.5, "borg": 0.5}),
    ("first backup of the tree, CPU", "backup-tree", "cpu", {"restic": 0.45, "borg": 0.6}),
    ("first backup of the large file, wall", "backup-file", "wall", {"restic": 0.5, "borg": 0.5}),
    ("first backup of the large file, CPU", "backup-file", "cpu", {"restic": 0.45, "borg": 0.6}),
    ("repeat, nothing changed, wall", "repeat", "wall", {"restic": 0.25, "borg": 0.3}),
    ("repeat, everything read again, wall", "reread", "wall", {"restic": 0.5}),
    ("restore of the tree, wall", "restore-tree", "wall", {"restic": 0.6, "borg": 0.6}),
    ("restore of the large file, wall", "restore-file", "wall", {"restic": 0.5, "borg": 0.4}),
    ("verify with all data read, wall", "verify", "wall", {"restic": 0.5, "borg": 0.6}),
    ("repository size", "size", "bytes", {"restic": 1.02, "borg": 1.02}),
)
CONTROL_MAX = 1.15
STEPS = ("backup-tree", "backup-file", "repeat", "reread", "restore-tree", "restore-file", "verify")
MEMORY_MAX = {"restic": 0.6, "borg": 1.0}


class Fortress:
    name = "fortress"

    def __init__(self, bench):
        self.repo = os.path.join(bench.folder, "repo-fortress")
        self.agent = os.path.join(bench.bin, "fortress-agent")
        self.env = {
            "FORTRESS_REPO": self.repo,
            "FORTRESS_KEY_FILE": os.path.join(bench.folder, "fortress.key"),
            "FORTRESS_CACHE_DIR": os.path.join(bench.folder, "cache-fortress"),
        }
        self.caches = [self.env["FORTRESS_CACHE_DIR"], self.env["FORTRESS_KEY_FILE"]]

    def init(self):
        return [self.agent, "repo", "init"]

    def backup(self, path, name):
        return [self.agent, "backup", "files", path, "--name", name]

    def reread(self, path, name):
        return self.backup(path, name) + ["--force"]

    def restore(self, path, name, target):
        return [self.agent, "restore", "latest", "--source", name, "--target", target], None

    def verify(self):
        return [self.agent, "verify", "--read-data"]


class Restic:
    name = "restic"

    def __init__(self, bench):
        self.repo = os.path.join(bench.folder, "repo-restic")
        self.env = {
            "RESTIC_REPOSITORY": self.repo,
            "RESTIC_PASSWORD": PASSWORD,
            "RESTIC_CACHE_DIR": os.path.join(bench.folder, "cache-restic"),
        }
        self.caches = [self.env["RESTIC_CACHE_DIR"]]

    def init(self):
        return ["restic", "init", "-q"]

    def backup(self, path, name):
        return ["restic", "backup", "-q", "--compression", "auto", "--tag", name, path]

    def reread(self, path, name):
        return self.backup(path, name) + ["--force"]

    def restore(self, path, name, target):
        return ["restic", "restore", "-q", "latest", "--tag", name, "--target", target], None

    def verify(self):
        return ["restic", "check", "-q", "--read-data"]


class Borg:
    name = "borg"

    def __init__(self, bench):
        self.repo = os.path.join(bench.folder, "repo-borg")
        self.env = {
            "BORG_REPO": self.repo,
            "BORG_PASSPHRASE": PASSWORD,
            "BORG_BASE_DIR": os.path.join(bench.folder, "cache-borg"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }
        self.caches = [self.env["BORG_BASE_DIR"]]
        self.count = 0
        self.latest = {}

    def init(self):
        return ["borg", "init", "-e", "repokey"]

    def backup(self, path, name):
        self.count += 1
        self.latest[name] = f"{name}-{self.count}"
        return ["borg", "create", "-C", "zstd,1", f"::{self.latest[name]}", path]

    def restore(self, path, name, target):
        os.mkdir(target)
        return ["borg", "extract", f"::{self.latest[name]}"], target

    def verify(self):
        return ["borg", "check", "--verify-data"]


class Control:
    """Creates the files of the tree from memory; tells its time itself."""

    name = "control"


class Bench:
    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.bin = os.path.abspath(options.bin)
        self.tree = os.path.join(folder, "tree")
        self.file = os.path.join(folder, "large")
        self.programs = [Fortress(self), Restic(self), Borg(self)]
        self.targets = []  # restored, removed at the end of a round
        self.removed_at = None
        self.results = []  # one dict a round: {(step, program): {wall, cpu, memory}}

    # ---- corpus ----------------------------------------------------------------------------------

    def make_corpus(self):
        if not os.path.isdir(self.tree):
            os.mkdir(self.tree + ".new")
            for source in QUICK_SOURCES if self.options.quick else SOURCES:
                subprocess.run(["cp", "-a", source, self.tree + ".new"], check=True)
            os.rename(self.tree + ".new", self.tree)
        size_bytes = (256 << 20) if self.options.quick else (4 << 30)
        if not os.path.exists(self.file) or os.path.getsize(self.file) != size_bytes:
            self.make_large_file(size_bytes)
        count = 0
        for _, _, files in os.walk(self.tree):
            count += len(files)
        du = subprocess.run(["du", "-sb", self.tree], check=True, capture_output=True, text=True)
        print(
            f"corpus: tree of {count} files, {int(du.stdout.split()[0]) / 1e9:.2f} GB; "
            f"file of {size_bytes / 1e9:.2f} GB, half of it compressible"
        )

    def make_large_file(self, size_bytes):
        """64 KiB that do not compress, 64 KiB that do, and so on; no two alike, always the same."""
        rng = random.Random(20261123)
        words = [("%08x %s\n" % (rng.getrandbits(32), "level=info event=row.read took_ms=" * 2)).encode() for _ in range(4096)]
        text = b"".join(words)
        starts = range(0, len(text) - 1024)
        with open(self.file, "wb") as out:
            for _ in range(size_bytes // (2 * BLOCK_BYTES)):
                picks = rng.choices(starts, k=BLOCK_BYTES // 1024)
                out.write(rng.randbytes(BLOCK_BYTES))
                out.write(b"".join(text[at : at + 1024] for at in picks))

    # ---- running ---------------------------------------------------------------------------------

    def warm(self, *paths):
        os.sync()
        if self.options.cold:
            with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as control:
                control.write("3\n")
            return
        for path in paths:
            if os.path.isdir(path):
                for folder, _, files in os.walk(path):
                    for name in files:
                        read_through(os.path.join(folder, name))
            else:
                read_through(path)

    def measure(self, program, words, cwd=None):
        environment = dict(os.environ, LC_ALL="C", **program.env)
        with open(os.path.join(self.folder, "log"), "wb") as log:
            began = time.monotonic()
            child = subprocess.Popen(
                words, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            os.sync()
            wall = time.monotonic() - began
        if child.returncode != 0:
            with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as log:
                sys.exit(f"{' '.join(words)}: exit status {child.returncode}\n{log.read()[-2000:]}")
        return {
            "wall": wall,
            "cpu": usage.ru_utime + usage.ru_stime,
            "memory": usage.ru_maxrss / 1024,
        }

    def new_target(self, name):
        if self.removed_at is not None:
            time.sleep(max(0.0, self.removed_at + SETTLE_SECONDS - time.monotonic()))
        target = os.path.join(self.folder, f"target-{len(self.targets)}-{name}")
        self.targets.append(target)
        return target

    def remove_targets(self):
        for target in self.targets:
            remove(target)
        self.targets = []
        self.removed_at = time.monotonic()

    def restore(self, program, path, name):
        target = self.new_target(program.name)
        self.warm(program.repo)
        words, cwd = program.restore(path, name, target)
        result = self.measure(program, words, cwd)
        self.check_restored(path, target)
        return result

    def check_restored(self, path, target):
        """Not the contents, which other tests compare: that all was restored at all."""
        wanted = size_of(path)
        got = size_of(target)
        if got != wanted:
            sys.exit(f"{target}: {got} (files, bytes) restored instead of {wanted}")

    def step(self, step, program):
        if step == "backup-tree":
            for path in (program.repo, *program.caches):
                remove(path)
            self.measure(program, program.init())
            self.warm(self.tree)
            return self.measure(program, program.backup(self.tree, "tree"))
        if step == "backup-file":
            self.warm(self.file)
            return self.measure(program, program.backup(self.file, "large"))
        if step == "repeat":
            self.warm(self.tree, program.repo)
            return self.measure(program, program.backup(self.tree, "tree"))
        if step == "reread":
            self.warm(self.tree, program.repo)
            return self.measure(program, program.reread(self.tree, "tree"))
        if step == "restore-tree":
            return self.restore(program, self.tree, "tree")
        if step == "restore-file":
            return self.restore(program, self.file, "large")
        self.warm(program.repo)
        return self.measure(program, program.verify())

    def control_file(self):
        """How long the disk takes for as many bytes, from memory."""
        self.warm(self.file)
        target = self.new_target("control")
        block = random.Random(1).randbytes(1 << 20)  # a child's peak memory counts this process's in
        began = time.monotonic()
        with open(target, "wb", buffering=0) as out:
            for _ in range(os.path.getsize(self.file) // len(block)):
                out.write(block)
            os.fsync(out.fileno())
        return {"wall": time.monotonic() - began, "cpu": 0, "memory": 0}

    def control(self):
        target = self.new_target("control")
        os.sync()
        done = subprocess.run(
            [os.path.join(self.bin, "bench_create_files"), self.tree, target],
            check=True,
            capture_output=True,
            text=True,
        )
        return {"wall": float(done.stdout), "cpu": 0, "memory": 0}

    def round(self, number):
        results = {}
        turn = number % len(self.programs)
        programs = self.programs[turn:] + self.programs[:turn]
        for step in STEPS:
            if step not in self.options.steps:
                continue
            for program in programs:
                if step == "reread" and not hasattr(program, "reread"):
                    continue
                result = self.step(step, program)
                results[step, program.name] = result
                print(
                    f"  round {number + 1}: {step:13} {program.name:9} {result['wall']:7.2f} s"
                    f" {result['cpu']:7.2f} s CPU {result['memory']:6.0f} MiB",
                    flush=True,
                )
            if step in ("restore-tree", "restore-file"):
                results[step, "control"] = (
                    self.control() if step == "restore-tree" else self.control_file()
                )
                wall = results[step, "control"]["wall"]
                print(f"  round {number + 1}: {step:13} control   {wall:7.2f} s", flush=True)
        for program in self.programs:
            results["size", program.name] = {"bytes": size_of(program.repo)[1]}
        self.results.append(results)
        self.remove_targets()

    # ---- report ----------------------------------------------------------------------------------

    def ratios(self, step, measure, peer):
        found = []
        for results in self.results:
            mine = results.get((step, "fortress"))
            theirs = results.get((step, peer))
            if mine and theirs and theirs[measure]:
                found.append(mine[measure] / theirs[measure])
        return found

    def row(self, title, step, measure, limits):
        """Prints one row; gives what was missed."""
        missed = []
        control = self.ratios(step, "wall", "control") if measure == "wall" else []
        if control and step == "restore-tree":
            print(line(title, "control", control, CONTROL_MAX, statistics.median(control) <= CONTROL_MAX))
        elif control:
            spread = f"{min(control):.2f}–{max(control):.2f}"
            print(f"{title:42} {'disk':9} {statistics.median(control):7.2f} {spread:>15}  (its own time)")
            control = []
        for peer, limit in limits.items():
            ratios = self.ratios(step, measure, peer)
            if not ratios:
                continue
            met = statistics.median(ratios) <= limit
            # Whichever limit is larger holds: nobody creates files faster than the control.
            excused = bool(control) and statistics.median(control) <= CONTROL_MAX
            print(line(title, peer, ratios, limit, met or excused))
            if not met and not excused:
                missed.append(f"{title} against {peer}")
        return missed

    def report(self):
        print(f"\n{'step':42} {'against':9} {'median':>7} {'spread':>15} {'target':>7}")
        missed = []
        for title, step, measure, limits in ROWS:
            missed += self.row(title, step, measure, limits)
        for step in STEPS:
            missed += self.row(f"peak memory, {step}", step, "memory", MEMORY_MAX)
        print(f"\nmissed: {len(missed)}" + "".join(f"\n  {what}" for what in missed))
        if self.options.json:
            rounds = [
                {f"{step} {name}": values for (step, name), values in results.items()}
                for results in self.results
            ]
            with open(self.options.json, "w", encoding="utf-8") as out:
                json.dump({"rounds": rounds, "missed": missed}, out, indent=1)

    # ---- stages ----------------------------------------------------------------------------------

    def stages(self):
        """What one core reaches in each stage, beside the libraries' own benchmarks."""
        sample = os.path.join(self.folder, "sample")
        make_sample(self.tree, sample, 256 << 20)
        print("\nstages on one core, MB/s of content (a sample of the tree); the library's own benchmark beside")
        limits = {
            "id": ("openssl speed sha256", openssl_speed("sha256")),
            "encrypt": ("openssl speed aes-256-gcm", openssl_speed("aes-256-gcm")),
            "decrypt": ("openssl speed aes-256-gcm", openssl_speed("aes-256-gcm", "-decrypt")),
        }
        compress, expand = zstd_speed(sample)
        limits["compress"] = ("zstd -b1 -B1M", compress)
        limits["expand"] = ("zstd -b1 -B1M", expand)
        done = subprocess.run(
            [os.path.join(self.bin, "bench_stages"), sample], check=True, capture_output=True, text=True
        )
        for text in done.stdout.splitlines():
            stage, speed = text.split()
            name, limit = limits.get(stage, ("", 0))
            beside = f"{name}: {limit:.0f}" if limit else ""
            print(f"  {stage:10} {float(speed):7.0f}   {beside}")
        os.remove(sample)


def line(title, peer, ratios, limit, met):
    median = statistics.median(ratios)
    spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
    return f"{title:42} {peer:9} {median:7.2f} {spread:>15} {limit:7.2f} {'MET' if met else 'MISSED'}"


def read_through(path):
    if os.path.isfile(path) and not os.path.islink(path):
        with open(path, "rb", buffering=0) as source:
            while source.read(1 << 20):
                pass


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.remove(path)


def size_of(path):
    """Files other than folders, and their bytes, below a path or of a file."""
    if os.path.isfile(path):
        return 1, os.path.getsize(path)
    count = total = 0
    for folder, folders, files in os.walk(path):
        for name in files + [one for one in folders if os.path.islink(os.path.join(folder, one))]:
            info = os.lstat(os.path.join(folder, name))
            count += 1
            total += info.st_size
    return count, total


def make_sample(tree, path, size_bytes):
    with open(path, "wb") as out:
        for folder, folders, files in os.walk(tree):
            folders.sort()
            for name in sorted(files):
                one = os.path.join(folder, name)
                if not os.path.islink(one) and out.tell() < size_bytes:
                    with open(one, "rb") as source:
                        shutil.copyfileobj(source, out)


def openssl_speed(algorithm, *options):
    done = subprocess.run(
        ["openssl", "speed", "-mr", "-seconds", "1", "-bytes", "1048576", *options, "-evp", algorithm],
        check=True,
        capture_output=True,
        text=True,
    )
    found = re.search(r"^\+F:.*:([0-9.]+)$", done.stdout, re.MULTILINE)
    return float(found.group(1)) / 1e6


def zstd_speed(sample):
    done = subprocess.run(
        ["zstd", "-b1", "-i1", "-B1M", sample], check=True, capture_output=True, text=True
    )
    told = (done.stdout + done.stderr).replace("\r", "\n")  # a line drawn anew for each try
    compress, expand = re.findall(r"([0-9.]+) MB/s, *([0-9.]+) MB/s", told)[-1]
    return float(compress), float(expand)


def main():
    parser = argparse.ArgumentParser(prog="repository.sh")
    parser.add_argument("--bin", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--dir", help="scratch folder (a new one below /var/tmp)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a small corpus")
    parser.add_argument("--cold", action="store_true", help="an empty page cache before each step")
    parser.add_argument("--keep", action="store_true", help="leave the folder, use its corpus again")
    parser.add_argument("--steps", default=",".join(STEPS), help="only these")
    parser.add_argument("--json", help="file for all measurements")
    options = parser.parse_args()
    options.steps = options.steps.split(",")
    if options.dir:
        os.makedirs(options.dir, exist_ok=True)
    folder = os.path.realpath(options.dir or tempfile.mkdtemp(prefix="fortress-bench-", dir="/var/tmp"))
    bench = Bench(options, folder)
    try:
        bench.make_corpus()
        print(
            f"{os.cpu_count()} cores; {options.rounds} rounds; page cache "
            + ("dropped before each step" if options.cold else "holds what a step reads")
            + "; a final sync is part of every time; compression: restic auto, borg zstd,1, Fortress zstd 1"
        )
        for number in range(options.rounds):
            bench.round(number)
        bench.report()
        bench.stages()
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


main()
