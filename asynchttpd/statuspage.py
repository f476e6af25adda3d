"""The page of --status: one file without any other, for a wall and for a phone, in light and dark.

With script, each event of the stream brings the part that changes anew. Without, the page loads itself again. So it is
made in one place.
"""

import time

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Status of the server</title>
<noscript><meta http-equiv="refresh" content="2"></noscript>
<style>
:root {{ color-scheme: light dark; --line: #2563eb; --bad: #dc2626; --good: #15803d; --edge: #8886;
  --waiting: #94a3b8; --head: #f59e0b; --body: #a16207; --application: #a855f7; --sending: #0ea5e9;
  --lingering: #db2777 }}
@media (prefers-color-scheme: dark) {{ :root {{ --line: #60a5fa; --bad: #f87171; --good: #4ade80 }} }}
body {{ font: 1rem/1.4 system-ui, sans-serif; max-width: 90rem; margin: 0 auto; padding: 1rem }}
h1 {{ font-size: 1.4rem; margin: 0 }} h2 {{ font-size: 1.05rem; margin: 1.2rem 0 .4rem }}
.good {{ color: var(--good) }} .bad {{ color: var(--bad) }}
svg {{ width: 100%; height: 7rem; display: block; border-bottom: 1px solid var(--edge) }}
polyline {{ fill: none; stroke: var(--line); stroke-width: 2; vector-effect: non-scaling-stroke }}
#workers {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: .7rem }}
.worker {{ border: 2px solid var(--edge); border-radius: .5rem; padding: .6rem; min-height: 6rem }}
.serving {{ border-color: var(--good) }} .hung {{ border-color: var(--bad); border-style: double; border-width: 4px }}
.leaving, .ending, .retiring, .booting {{ border-style: dashed }}
.dots {{ display: flex; flex-wrap: wrap; gap: 3px; margin-top: .4rem }}
i {{ width: .7rem; height: .7rem; border-radius: 50%; display: inline-block }}
.waiting {{ background: var(--waiting) }} .head {{ background: var(--head) }} .body {{ background: var(--body) }}
.application {{ background: var(--application) }} .sending {{ background: var(--sending) }}
.lingering {{ background: var(--lingering) }}
#legend span {{ margin-right: 1rem; white-space: nowrap }}
small {{ opacity: .75; font-variant-numeric: tabular-nums }} ul {{ margin: 0; padding-left: 1.2rem }}
</style>
</head>
<body>
<main>
{content}
</main>
<p id="legend">{legend}</p>
<p><small><a href="/status.json">status.json</a>
· <a href="/metrics">metrics</a> · <a href="/health">health</a></small></p>
<script>
const main = document.querySelector("main");
const source = new EventSource("/events");
source.onmessage = event => {{ main.innerHTML = JSON.parse(event.data) }};
source.onerror = () => {{
  const title = main.querySelector("h1");
  title.className = "bad";
  title.textContent = "The server cannot be reached";
}};
</script>
</body>
</html>
"""

STATES = {
    "waiting": "waiting for a request", "head": "reading a head", "body": "reading a body",
    "application": "in the application", "sending": "sending", "lingering": "lingering",
}  # fmt: skip
CAUSES = {
    "failed": "ended by itself", "killed": "was killed", "hung": "had hung", "asked": "had asked for it",
    "reload": "was reloaded", "told": "was told to leave", "surplus": "was one too many",
}  # fmt: skip
MOST_DOTS = 400  # of a worker; the rest is a number


def page(facts: dict) -> str:
    """Return the page about the *facts* of status.report()."""
    legend = "".join(f'<span><i class="{state}"></i> {words}</span> ' for state, words in STATES.items())
    return PAGE.format(content=content(facts), legend=legend)


def content(facts: dict) -> str:
    """Return the part of the page that changes."""
    boxes = "\n".join(map(worker, facts["workers"]))
    return f"""\
<h1 class="{"good" if facts["healthy"] else "bad"}">{headline(facts)}</h1>
<p>{summary(facts)}</p>
<h2>Requests per second over the last two minutes: {facts["history"][-1]}, at most {max(facts["history"])}</h2>
{line(facts["history"])}
<h2>Workers: {len(facts["workers"])}, wanted {facts["wanted"]}</h2>
<div id="workers">{boxes}</div>
<h2>Replaced</h2>
<ul>{"".join(map(event, facts["events"])) or "<li>none so far</li>"}</ul>"""


def headline(facts):
    if facts["stopping"]:
        return "The server is stopping"
    return "The server wants requests" if facts["healthy"] else "No worker serves"


def summary(facts):
    total = facts["totals"]
    classes = ", ".join(f"{name} {total[name]:,}" for name in ("2xx", "3xx", "4xx", "5xx"))
    return f"{total['requests']:,} requests ({classes}), {total['bytes']:,} bytes, {total['refused']:,} turned away"


def line(history):
    """Return the requests of each second as a curve."""
    top = max(*history, 1)
    points = " ".join(f"{x},{100 - 95 * count / top:.1f}" for x, count in enumerate(history))
    return (
        f'<svg viewBox="0 0 {len(history) - 1} 100" preserveAspectRatio="none" role="img">'
        f'<polyline points="{points}"/></svg>'
    )


def worker(row):
    count = sum(row["connections"].values())
    notes = [f"{count} connections", f"{row['memory'] / 2**20:.0f} MiB"]
    if row["oldest"] >= 1:
        notes.append(f"oldest request {row['oldest']:.0f} s")
    if row["lag"] >= 0.1:
        notes.append(f"loop late by {row['lag']:.1f} s")
    if row["state"] == "hung":
        notes.append(f"loop has not turned for {row['turned']:.0f} s")
    if row["threads"] or row["queued"]:
        notes.append(f"threads busy {row['threads']}, queued {row['queued']}")
    return (
        f'<div class="worker {row["state"]}"><b>{row["pid"]}</b> {row["state"]}'
        f"<br><small>{', '.join(notes)}</small>{dots(row['connections'])}</div>"
    )


def dots(connections):
    marks = "".join(f'<i class="{state}"></i>' * min(count, MOST_DOTS) for state, count in connections.items())
    more = sum(max(0, count - MOST_DOTS) for count in connections.values())
    label = ", ".join(f"{state} {count}" for state, count in connections.items() if count)
    return f'<div class="dots" role="img" aria-label="{label}">{marks}{f"+ {more}" * bool(more)}</div>'


def event(entry):
    at = time.strftime("%H:%M:%S", time.localtime(entry["time"]))
    return f"<li>{at} worker {entry['pid']} {CAUSES[entry['cause']]}</li>"
