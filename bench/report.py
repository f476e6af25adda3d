"""Write what was measured: tables, pictures, raw figures, and the last full result into the README."""

import datetime
import json
import os
import platform
import re
import sys
import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import servers
from matplotlib.ticker import LogLocator
from measure import spread

RESULTS = servers.BENCH / "results"
README = servers.BENCH / "README.md"
BEGIN, END = "<!-- result: begin -->", "<!-- result: end -->"
COLOURS = {servers.OURS: "#c0392b", servers.PYTHON: "#2e6da4", servers.C: "#7f8c8d", servers.FLOOR: "#c9b458"}


def write(results, left_out, args, seconds):
    folder = RESULTS if args.full else RESULTS / "quick"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    text = "\n".join(
        [*heading(results, args, seconds), *targets(results), *tables(results), *closing(results, left_out)]
    )
    (folder / "results.md").write_text(f"# Result\n\n{text}\n")
    (folder / "results.json").write_text(json.dumps(raw(results), indent=1) + "\n")
    pictures = [picture for picture in (bars(results, folder), idle_lines(results, folder)) if picture]
    if args.full:
        write_readme(text, pictures)
    print(text)
    print("\nwritten:", ", ".join(str(path.relative_to(servers.CHECKOUT)) for path in sorted(folder.glob("*.*"))))


# --- text ------------------------------------------------------------------------------------------------------


def heading(results, args, seconds):
    peers = dict.fromkeys(servers.version(server) for outcomes in results.values() for server in outcomes)
    peers = [peer for peer in peers if not peer.endswith(".py")]
    command = " ".join(["python bench/run.py", *sys.argv[1:]])
    return [
        f"- date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC, in {seconds / 60:.0f} minutes",
        f"- command: `{command}`: {args.rounds} round{'s' * (args.rounds > 1)}, loads of {args.seconds} s",
        f"- machine: {cpu_model()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        f"- Python {platform.python_version()}; {', '.join(peers)}",
        "- each figure: median (min–max); one worker pinned to a core, the load on another",
        "",
    ]


def cpu_model():
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def measured(outcomes, key, *families):
    """Return [(median, server)] of the servers in *families* that have figures for *key*."""
    return [
        (spread(outcome.values(key))[0], server)
        for server, outcome in outcomes.items()
        if server.family in families and not outcome.failed and outcome.values(key)
    ]


def targets(results):
    """Our own server against what is asked of it, and the best of the others for scale."""
    lines = [
        "## What is asked of ours",
        "",
        "| case | figure | must | aim | ours | | best in Python | best in C, Rust | floor |",
        "|---|---|--:|--:|--:|---|--:|--:|--:|",
    ]
    for case, outcomes in results.items():
        for figure in case.figures:
            if figure.must is None:
                continue
            ours = next((item for item in outcomes.items() if item[0].name == "asynchttpd"), None)
            best = [best_of(outcomes, figure, family) for family in (servers.PYTHON, servers.C, servers.FLOOR)]
            aim = "" if figure.aim is None else f"{figure.aim:g}"
            own = [cell(ours[1], figure), verdict(ours[1], figure)] if ours else ["not run", ""]
            lines.append(" | ".join([f"| {case.title}", figure.title, f"{figure.must:g}", aim, *own, *best]) + " |")
    return [*lines, ""]


def best_of(outcomes, figure, family):
    candidates = measured(outcomes, figure.key, family)
    if not candidates:
        return ""
    value, server = (max if figure.higher_is_better else min)(candidates, key=lambda item: item[0])
    name = "" if family == servers.FLOOR else f"{server.name} "
    return f"{name}{value:,.{figure.digits}f}"


def verdict(outcome, figure):
    if outcome.failed or not outcome.rounds:
        return "**missed**"
    value = spread(outcome.values(figure.key))[0]
    if not figure.met(value, figure.must):
        return "**missed**"
    return "aim met" if figure.aim is None or figure.met(value, figure.aim) else "must met"


def cell(outcome, figure):
    values = outcome.values(figure.key)
    if outcome.failed or not values:
        return "failed" if outcome.failed else "–"
    middle, low, high = (f"{value:,.{figure.digits}f}" for value in spread(values))
    return middle if len(values) == 1 else f"{middle} ({low}–{high})"


def tables(results):
    lines = []
    for case, outcomes in results.items():
        lines += [f"## {case.title} (`{case.name}`)", ""]
        lines.append(f"| server | {' | '.join(figure.title for figure in case.figures)} |")
        lines.append("|---|" + "--:|" * len(case.figures))
        for server, outcome in ranked(case, outcomes):
            if outcome.not_offered:
                continue
            name = f"**{server.name}**" if server.family == servers.OURS else server.name
            if outcome.failed:
                cells = [f"**failed**: {outcome.failed.replace('|', '/')}"] + [""] * (len(case.figures) - 1)
            else:
                cells = [cell(outcome, figure) for figure in case.figures]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    return lines


def ranked(case, outcomes):
    """Return (server, outcome) pairs, the best first, those without a figure last."""
    first = case.figures[0]
    sign = -1 if first.higher_is_better else 1

    def key(item):
        values = item[1].values(first.key)
        return (1, 0) if item[1].failed or not values else (0, sign * spread(values)[0])

    return sorted(outcomes.items(), key=key)


def closing(results, left_out):
    """Say what is not in the tables and why."""
    why = {}
    for name, reason in left_out:
        why.setdefault(f"{name}: {reason}", [])
    for case, outcomes in results.items():
        for server, outcome in outcomes.items():
            if outcome.not_offered:
                why.setdefault(f"{server.name}: {outcome.not_offered}", []).append(case.name)
            elif outcome.failed:
                why.setdefault(f"{server.name}: failed, {outcome.failed}", []).append(case.name)
    lines = [f"- {reason}" + (f" ({', '.join(names)})" if names else "") for reason, names in why.items()]
    return ["## Left out", "", *lines]


def raw(results):
    return {
        case.name: {
            server.name: {"rounds": outcome.rounds, "failed": outcome.failed, "not_offered": outcome.not_offered}
            for server, outcome in outcomes.items()
        }
        for case, outcomes in results.items()
    }


def write_readme(text, pictures):
    shown = "\n".join(f"![{alt}](results/{path.name})\n" for path, alt in pictures)
    # Our headings stand below the README's own.
    body = re.sub(r"^## ", "### ", text, flags=re.MULTILINE)
    before, _begin, rest = README.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n{body}\n\n{shown}{END}{after}")


# --- pictures --------------------------------------------------------------------------------------------------


def bars(results, folder):
    """One small chart a case: the first figure of every server, with a line from min to max."""
    drawn = [(case, outcomes) for case, outcomes in results.items() if any(o.rounds for o in outcomes.values())]
    if not drawn:
        return None
    rows = (len(drawn) + 2) // 3
    chart, axes = plt.subplots(rows, 3, figsize=(16, 3.2 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[len(drawn) :]:
        axis.axis("off")
    for axis, (case, outcomes) in zip(axes.flat, drawn, strict=False):
        draw_case(axis, case, outcomes)
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS.values()]
    handles.append(plt.Line2D([], [], color=COLOURS[servers.OURS], linestyle=":"))
    labels = [*COLOURS, "asked of ours"]
    chart.legend(handles, labels, loc="outside upper right", ncols=len(labels), frameon=False)
    path = folder / "bars.png"
    chart.savefig(path, dpi=80)
    plt.close(chart)
    return path, "bars for each case"


def draw_case(axis, case, outcomes):
    figure = case.figures[0]
    items = [item for item in ranked(case, outcomes) if item[1].values(figure.key) and not item[1].failed]
    for place, (server, outcome) in enumerate(items):
        middle, low, high = spread(outcome.values(figure.key))
        axis.barh(place, middle, color=COLOURS[server.family], xerr=[[middle - low], [high - middle]], ecolor="#333333")
        axis.annotate(f"{middle:,.{figure.digits}f}", (high, place), (4, 0), textcoords="offset points", va="center")
    if figure.must is not None:
        axis.axvline(figure.must, color=COLOURS[servers.OURS], linestyle=":", linewidth=1)
    axis.set_yticks(range(len(items)), [server.name for server, _outcome in items])
    axis.invert_yaxis()
    axis.margins(x=0.18)
    axis.set_title(textwrap.fill(case.title, 46), fontsize=10, loc="left", fontweight="bold")
    better = "more" if figure.higher_is_better else "less"
    axis.set_xlabel(f"{figure.title} ({better} is better)", fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def idle_lines(results, folder):
    """Cost of a request against idle connections, one line a server."""
    drawn = [(case, outcomes) for case, outcomes in results.items() if case.name.startswith("idle")]
    if not drawn:
        return None
    chart, axes = plt.subplots(1, len(drawn), figsize=(7.5 * len(drawn), 5), squeeze=False, layout="constrained")
    for axis, (case, outcomes) in zip(axes.flat, drawn, strict=True):
        keys = [figure.key for figure in case.figures if figure.key.startswith("cpu_")]
        counts = [int(key.removeprefix("cpu_")) for key in keys]
        for server, outcome in outcomes.items():
            if outcome.rounds and not outcome.failed:
                costs = [spread(outcome.values(key))[0] for key in keys]
                axis.plot(counts, costs, "o-", color=COLOURS[server.family])
                axis.annotate(server.name, (counts[-1], costs[-1]), (6, 0), textcoords="offset points", va="center")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.margins(x=0.3)
        axis.set_xticks(counts, [f"{count:,}" for count in counts])
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.set_title(case.title, fontsize=10, loc="left", fontweight="bold")
        axis.set_xlabel("idle connections")
        axis.set_ylabel("CPU s per 1000 requests")
        axis.spines[["top", "right"]].set_visible(False)
    path = folder / "idle.png"
    chart.savefig(path, dpi=80)
    plt.close(chart)
    return path, "cost against idle connections"
