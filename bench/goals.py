"""What we ask of our own server: mostly as a share of what another needs in the same run, since machines differ.

Not here: how a case is measured (cases.py), the rest of the report (report.py).
"""

from dataclasses import dataclass

from measure import spread

OURS = "asynchttpd"


@dataclass(frozen=True)
class Goal:
    """The figure *key* of our server, divided by that of the server *against*, has to be *must* at most.

    aim -- what it should be at most
    against -- "": the figure itself is judged
    ours -- which of our servers is measured
    """

    case: str
    key: str
    against: str
    must: float
    aim: float
    ours: str = OURS


GOALS = [
    Goal("hello", "cpu", "waitress", 0.27, 0.20),
    Goal("hello-browser", "cpu", "waitress", 0.22, 0.15),
    Goal("hello-clients", "cpu", "waitress", 0.24, 0.18),
    Goal("hello-close", "cpu", "waitress", 0.32, 0.26),
    Goal("file-1k-browser", "cpu", "twisted", 0.18, 0.13),
    Goal("not-modified", "cpu", "twisted", 0.18, 0.13),
    Goal("file-100k", "cpu", "nginx", 2.2, 1.7),
    Goal("file-256m", "cpu_per_gib", "nginx", 1.0, 0.9),
    Goal("upload", "cpu", "waitress", 0.6, 0.45),
    Goal("stream", "cpu", "waitress", 0.6, 0.45),
    Goal("json-threads", "cpu", "waitress", 0.6, 0.45),
    Goal("hello", "cpu", OURS, 1.25, 1.12, ours="asynchttpd-log"),
    Goal("idle", "growth", "", 1.06, 1.02),
    Goal("idle", "memory", "", 2.5, 1.8),
    Goal("memory", "pss", "", 24, 20),
    Goal("start", "start", "", 45, 38),
]

EXPLAINED = """\
For each case there are two limits: ours must keep the first, and aims at the second. Most figures are shares: 0.20
means that ours needed a fifth of the processor time that the other server needed for as many requests, in the same
minutes, on the same core. Less is always better.
"""


def takes_part(server, case):
    """Tell whether the *server* is needed to judge a goal of the *case*."""
    return any(server.name in (goal.ours, goal.against) for goal in GOALS if goal.case == case.name)


def table(results):
    """Return lines that say of each goal whose case has been run whether ours meets it."""
    lines = [EXPLAINED, "| case | what is judged | ours | must | aim | |", "|---|---|--:|--:|--:|---|"]
    by_name = {case.name: case for case in results}
    for goal in GOALS:
        if case := by_name.get(goal.case):
            outcomes = {server.name: outcome for server, outcome in results[case].items()}
            lines.append(row(goal, case, values_of(goal, outcomes)))
    return [*lines, ""]


def row(goal, case, values):
    figure = next(figure for figure in case.figures if figure.key == goal.key)
    digits = 2 if goal.against else figure.digits
    figures = [f"{value:.{digits}f}" for value in spread(values)] if values else ["–"]
    ours = figures[0] if len(values) < 2 else "{} ({}–{})".format(*figures)
    cells = [case.title, judged(goal, figure), ours, f"{goal.must:g}", f"{goal.aim:g}", verdict(goal, values, digits)]
    return f"| {' | '.join(cells)} |"


def judged(goal, figure):
    if goal.against == OURS:
        return "processor time with an access log, as a share of that without"
    return f"processor time, as a share of {goal.against}'s" if goal.against else figure.title


def values_of(goal, outcomes):
    """Return what is judged, of each round; nothing unless both servers have answered all they were asked."""
    ours = [outcomes[name] for name in (goal.ours, goal.against) if name in outcomes]
    if len(ours) < 1 + bool(goal.against) or any(outcome.failed for outcome in ours):
        return []
    rounds = zip(*(outcome.rounds for outcome in ours), strict=False)
    pairs = [[figures[goal.key] for figures in both] for both in rounds if all(goal.key in figures for figures in both)]
    return [pair[0] / pair[1] if goal.against else pair[0] for pair in pairs]


def verdict(goal, values, digits):
    if not values:
        return "not measured"
    value = round(spread(values)[0], digits)  # as it is printed
    if value > goal.must:
        return "**missed**"
    return "met, and the aim" if value <= goal.aim else "met"
