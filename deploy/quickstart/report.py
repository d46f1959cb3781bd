"""The report of a quickstart: a table on the terminal, and report.html with a picture of the timeline."""

import html
import time


def clock(when):
    """Local time of day with milliseconds."""
    return time.strftime("%H:%M:%S", time.localtime(when)) + f".{int(when % 1 * 1000):03}"


class Report:
    """Collects events (for the timeline), measures (for the table) and checks (that decide the exit code)."""

    def __init__(self):
        self.events = []    # (time, text)
        self.measures = []  # (name, value text, target text, met or None)
        self.checks = []    # (name, passed, detail)
        self.zero = None    # the disaster

    def event(self, when, text):
        self.events.append((when, text))

    def measure(self, name, value, unit, target=None, decimals=1):
        text = f"{value:.{decimals}f} {unit}" if value is not None else "not reached"
        met = None if target is None else value is not None and value <= target
        self.measures.append((name, text, "" if target is None else f"≤ {target:g} {unit}", met))
        if met is not None:
            self.check(f"{name} within {target:g} {unit}", met, text)

    def check(self, name, passed, detail=""):
        self.checks.append((name, bool(passed), detail))

    @property
    def passed(self):
        return bool(self.checks) and all(passed for _, passed, _ in self.checks)

    def relative(self, when):
        return f"{when - self.zero:+8.2f} s" if self.zero else ""

    def print(self):
        print("\nTimeline (0 is the moment of the disaster)")
        for when, text in sorted(self.events):
            print(f"  {clock(when)}  {self.relative(when)}  {text}")
        width = max(len(name) for name, *_ in self.measures)
        value_width = max(len(value) for _, value, *_ in self.measures)
        print("\nMeasured")
        for name, value, target, met in self.measures:
            verdict = {None: "", True: "  met", False: "  MISSED"}[met]
            print(f"  {name:<{width}}  {value:>{value_width}}  {target}{verdict}".rstrip())
        print("\nChecks")
        for name, passed, detail in self.checks:
            print(f"  {'ok  ' if passed else 'FAIL'}  {name}" + (f": {detail}" if detail else ""))

    def svg(self):
        """The events on one line of time, labels staggered so that they do not cover each other."""
        events = sorted(e for e in self.events if self.zero and e[0] >= self.zero - 3)
        if not events:
            return ""
        first, last = events[0][0], events[-1][0]
        span = max(last - first, 1.0)
        height = 40 + 26 * len(events)
        parts = [f'<svg viewBox="0 0 900 {height}" role="img" aria-label="timeline">',
                 '<line x1="20" y1="20" x2="880" y2="20" stroke="#888" stroke-width="2"/>']
        for row, (when, text) in enumerate(events):
            x = 20 + 860 * (when - first) / span
            y = 50 + 26 * row
            right = x > 520
            colour = "#c0392b" if when == self.zero else "#2c7fb8"
            label = f"{self.relative(when).strip()}  {text}"
            parts.append(f'<line x1="{x:.1f}" y1="20" x2="{x:.1f}" y2="{y - 4}" stroke="{colour}" '
                         'stroke-width="1" opacity="0.5"/>'
                         f'<circle cx="{x:.1f}" cy="20" r="5" fill="{colour}"/>'
                         f'<text x="{x + (-6 if right else 6):.1f}" y="{y}" font-size="14" '
                         f'text-anchor="{"end" if right else "start"}">{html.escape(label)}</text>')
        return "\n".join(parts) + "\n</svg>"

    def html(self):
        def row(cells, tag="td"):
            return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>\n"
        verdicts = {None: "", True: "met", False: "missed"}
        measures = "".join(row([n, v, t, verdicts[m]]) for n, v, t, m in self.measures)
        checks = "".join(row(["ok" if p else "FAIL", n, d]) for n, p, d in self.checks)
        events = "".join(row([clock(w), self.relative(w).strip(), t]) for w, t in sorted(self.events))
        verdict = "Every check passed." if self.passed else "A check FAILED."
        made = time.strftime("%Y-%m-%d %H:%M:%S %Z")
        return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Fortress: a region lost and recovered</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse; margin: 1rem 0 }}
td, th {{ border: 1px solid #ccc; padding: .3rem .7rem; text-align: left }}
svg {{ width: 100%; height: auto }}
</style></head><body>
<h1>A region lost and recovered</h1>
<p>{verdict} Made {html.escape(made)}.</p>
<h2>Timeline</h2>
{self.svg()}
<h2>Measured</h2>
<table>{row(["what", "measured", "target", ""], "th")}{measures}</table>
<h2>Checks</h2>
<table>{row(["", "check", "detail"], "th")}{checks}</table>
<h2>All events</h2>
<table>{row(["time", "from the disaster", "event"], "th")}{events}</table>
</body></html>
"""
