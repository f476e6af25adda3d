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
import goals
import matplotlib.pyplot as plt
import servers
from matplotlib.ticker import LogLocator
from measure import spread

RESULTS = servers.BENCH / "results"
README = servers.BENCH / "README.md"
COLOURS = {servers.OURS: "#c0392b", servers.PYTHON: "#2e6da4", servers.C: "#7f8c8d", servers.FLOOR: "#c9b458"}


def write(results, left_out, args, seconds):
    folder = RESULTS / ("" if args.full else "goals" if args.kept else "quick")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    head, judged = heading(results, args, seconds), goals.table(results)
    told = [*tables(results), *closing(results, left_out)]
    text = "\n".join([*head, "## What is asked of ours", "", *judged, *told])
    (folder / "results.md").write_text(f"# Result\n\n{text}\n")
    (folder / "results.json").write_text(json.dumps(raw(results), indent=1) + "\n")
    pictures = [picture for picture in (bars(results, folder), idle_lines(results, folder)) if picture]
    if args.kept:
        details = (folder / "results.md").relative_to(servers.BENCH)
        write_readme("goals", [*head, *judged, f"[All figures of this run]({details})"])
    if args.full:
        write_readme("result", [*head, *told, "", *pictures])
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


def write_readme(part, lines):
    """Put *lines* between the marks of this *part* of the README."""
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    # Our headings stand below the README's own.
    body = re.sub(r"^## ", "### ", "\n".join(lines), flags=re.MULTILINE).rstrip()
    before, _begin, rest = README.read_text().partition(begin)
    after = rest.partition(end)[2]
    README.write_text(f"{before}{begin}\n{body}\n{end}{after}")


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
    chart.legend(handles, [*COLOURS], loc="outside upper right", ncols=len(handles), frameon=False)
    path = folder / "bars.png"
    chart.savefig(path, dpi=80)
    plt.close(chart)
    return f"![bars for each case](results/{path.name})\n"


def draw_case(axis, case, outcomes):
    figure = case.figures[0]
    items = [item for item in ranked(case, outcomes) if item[1].values(figure.key) and not item[1].failed]
    for place, (server, outcome) in enumerate(items):
        middle, low, high = spread(outcome.values(figure.key))
        axis.barh(place, middle, color=COLOURS[server.family], xerr=[[middle - low], [high - middle]], ecolor="#333333")
        axis.annotate(f"{middle:,.{figure.digits}f}", (high, place), (4, 0), textcoords="offset points", va="center")
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
        ends = {}
        for server, outcome in outcomes.items():
            if outcome.rounds and not outcome.failed:
                costs = [spread(outcome.values(key))[0] for key in keys]
                axis.plot(counts, costs, "o-", color=COLOURS[server.family])
                ends[server.name] = costs[-1]
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.margins(x=0.3)
        name_ends(axis, counts[-1], ends)
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
    return f"![cost against idle connections](results/{path.name})\n"


def name_ends(axis, right, ends):
    """Write the name of each line beside its end at *right*, above the name below where two would overlap."""
    bottom, top = axis.get_ylim()
    apart, lowest = (top / bottom) ** 0.045, 0.0
    for name, cost in sorted(ends.items(), key=lambda item: item[1]):
        lowest = max(cost, lowest * apart)
        axis.annotate(name, (right, lowest), (6, 0), textcoords="offset points", va="center")
