#!/usr/bin/python3
"""core_coverage.py BUILD: line and branch coverage of */core/ from gcov's counts in BUILD.

Fails on a branch, a line or a function that no test took. Excluded are the branches of FX_ASSERT
(the failing side ends the program) and what a comment, on its line or alone on the line above,
gives a reason for: /* FX_UNCOVERED: why no test can take it */. One that excludes nothing fails
too. gcov tells a branch by its line and number; GCC gives some parts of a condition that spans
lines to its last one.
"""
import itertools
import json
import pathlib
import re
import subprocess
import sys

ASSERTION = re.compile(r"^\s*FX_ASSERT\(")
MARK = "FX_UNCOVERED"
EXCLUSION = re.compile(r"/\* FX_UNCOVERED: \S.* \*/")
EXCLUSION_ALONE = re.compile(r"^\s*/\* FX_UNCOVERED: \S.* \*/$")


class Source:
    def __init__(self, path):
        self.path = path
        self.text = path.read_text().splitlines()
        self.lines = {}  # (function, line) -> executions
        self.branches = {}  # (function, line) -> executions of each branch
        self.functions = {}  # (name, line) -> calls
        self.problems = []
        self.excluded_count = 0
        self.marks_used = set()

    def add(self, counts):
        for function in counts["functions"]:
            key = (function["name"], function["start_line"])
            self.functions[key] = self.functions.get(key, 0) + function["execution_count"]
        for line in counts["lines"]:
            key = (line.get("function_name", ""), line["line_number"])
            self.lines[key] = self.lines.get(key, 0) + line["count"]
            taken = [branch["count"] for branch in line["branches"]]
            known = self.branches.get(key, [0] * len(taken))
            if len(known) != len(taken):
                sys.exit(f"{self.path}:{key[1]}: differs between the objects that include it")
            self.branches[key] = [a + b for a, b in zip(known, taken)]

    def is_excluded(self, number):
        for mark, pattern in ((number, EXCLUSION), (number - 1, EXCLUSION_ALONE)):
            if mark > 0 and pattern.search(self.text[mark - 1]):
                self.marks_used.add(mark)
                return True
        return False

    def judge(self):
        for (name, number), calls in sorted(self.functions.items(), key=lambda item: item[0][1]):
            if calls == 0:
                self.problems.append((number, f"{name}() is never called"))
        for (name, number), taken in sorted(self.branches.items(), key=lambda item: item[0][1]):
            missed = [str(i + 1) for i, count in enumerate(taken) if count == 0]
            if self.lines[name, number] == 0:
                what = "is never executed"
            elif missed and ASSERTION.match(self.text[number - 1]):
                self.excluded_count += len(missed)
                continue
            elif missed:
                what = f"branch {', '.join(missed)} of {len(taken)} is never taken"
            else:
                continue
            if self.is_excluded(number):
                self.excluded_count += max(len(missed), 1)
            else:
                self.problems.append((number, what))
        for number, text in enumerate(self.text, 1):
            if MARK in text and number not in self.marks_used:
                what = "excludes nothing" if EXCLUSION.search(text) else "gives no reason"
                self.problems.append((number, f"{MARK} {what}"))

    def counts(self):
        taken = [count for branches in self.branches.values() for count in branches]
        return [
            sum(count > 0 for count in self.lines.values()),
            len(self.lines),
            sum(count > 0 for count in taken),
            len(taken),
            self.excluded_count,
        ]


def gcov(data):
    command = ["gcov", "--json-format", "--branch-probabilities", "--stdout", str(data)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["files"]


def measure(build):
    sources = {}
    for path in sorted(pathlib.Path().glob("**/core/*.[ch]")):
        if path.parts[0] not in ("build", "tests"):
            sources[path] = Source(path)
    root = pathlib.Path.cwd()
    for path in sources:
        if path.suffix != ".c":
            continue
        data = list((build / path.parent).glob(f"CMakeFiles/*.dir/{path.name}.gcda"))
        if not data:
            sys.exit(f"{path}: no counts of it in {build}: no test of the cores runs anything of it")
        for counts in itertools.chain.from_iterable(map(gcov, data)):
            name = root / counts["file"]
            if name.is_relative_to(root) and name.relative_to(root) in sources:
                sources[name.relative_to(root)].add(counts)
    return list(sources.values())


def row(name, counts):
    lines = f"{counts[0]}/{counts[1]}"
    branches = f"{counts[2]}/{counts[3]}"
    print(f"{name:40} {lines:>11} {branches:>11} {counts[4]:>9}")


def main():
    sources = measure(pathlib.Path(sys.argv[1]))
    print(f"{'':40} {'lines':>11} {'branches':>11} {'excluded':>9}")
    total = [0] * 5
    for source in sources:
        source.judge()
        if source.lines:
            row(str(source.path), source.counts())
        total = [a + b for a, b in zip(total, source.counts())]
    row("", total)
    if total[1] == 0:
        sys.exit("no line was measured")
    problem_count = 0
    for source in sources:
        for number, what in source.problems:
            print(f"{source.path}:{number}: {what}: {source.text[number - 1].strip()}")
            problem_count += 1
    sys.exit(1 if problem_count else 0)


main()
