"""Measure our servers beside the others: python bench/run.py [--quick].

Installs the peers into bench/.venv at the first run, then starts every server of every case once a round, one
server at a time, on a core of its own, and writes bench/results/.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import cases
import clients
import goals
import measure
import servers

QUICK_SERVERS = {
    "wsgi": ["asynchttpd", "floor", "waitress", "bjoern"],
    "files": ["asynchttpd", "floor", "twisted", "nginx"],
}


@dataclass
class Outcome:
    """All rounds of one server in one case: what it measured, or why there is no figure."""

    rounds: list = field(default_factory=list)  # of {key: figure}
    failed: str = ""
    not_offered: str = ""

    def values(self, key):
        return [figures[key] for figures in self.rounds if key in figures]


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under two minutes: one round, few servers and cases")
    parser.add_argument("--goals", action="store_true", help="the cases and servers our goals need; five rounds")
    parser.add_argument("--cases", metavar="NAME,NAME", default="", help="these cases only (--list names them)")
    parser.add_argument("--servers", metavar="NAME,NAME", default="", help="these servers only")
    parser.add_argument("--python", metavar="PATH", default=sys.executable, help="what runs all servers in Python")
    parser.add_argument("--rounds", type=int, default=0, help="how often each server is started in each case (3)")
    parser.add_argument("--seconds", type=int, default=0, help="how long each load lasts (2)")
    parser.add_argument("--list", action="store_true", help="name the cases and servers, measure nothing")
    args = parser.parse_args()
    if not shutil.which(args.python):
        parser.error(f"--python {args.python}: no such program")
    args.rounds = args.rounds or (1 if args.quick else 5 if args.goals else 3)
    args.seconds = args.seconds or (1 if args.quick else 2)
    # Only what anybody can repeat from the table's own command goes into the README.
    args.full = not (args.quick or args.goals or args.cases or args.servers)
    args.kept = args.full or (args.goals and not (args.cases or args.servers))
    return args


def names(text, known, what):
    """Return the comma-separated names in *text* as a set; leave at one that nobody has."""
    chosen = {name.strip() for name in text.split(",") if name.strip()}
    if unknown := chosen - set(known):
        sys.exit(f"no such {what}: {', '.join(sorted(unknown))}; there are {', '.join(dict.fromkeys(known))}")
    return chosen


def choose(args, all_cases):
    """Return {case: [its servers]} as the command line asks."""
    case_names = names(args.cases, [case.name for case in all_cases], "case")
    server_names = names(args.servers, [server.name for server in servers.SERVERS], "server")

    def takes_part(server, case):
        if server_names:
            chosen = server.name in server_names
        elif args.goals:
            chosen = goals.takes_part(server, case)
        else:
            chosen = not args.quick or server.name in QUICK_SERVERS[case.kind]
        if server.kind != case.kind or ("tls" in case.tags and not server.tls):
            return False
        return chosen and (not server.tag or server.tag in case.tags)

    def is_asked_for(case):
        if case_names:
            return case.name in case_names
        if args.goals:
            return any(goal.case == case.name for goal in goals.GOALS)
        return case.quick or not args.quick

    return {
        case: [server for server in servers.SERVERS if takes_part(server, case)]
        for case in all_cases
        if is_asked_for(case)
    }


def measure_all(plan, args, root):
    """Return {case: {server: Outcome}}; every round starts every server once, each time in another order."""
    results = {case: {server: Outcome() for server in chosen} for case, chosen in plan.items()}
    for number in range(args.rounds):
        for case, chosen in plan.items():
            for server in chosen[number % len(chosen) :] + chosen[: number % len(chosen)] if chosen else []:
                outcome = results[case][server]
                if not (outcome.failed or outcome.not_offered):
                    measure_once(case, server, args.seconds, root, outcome)
                    print(
                        f"{number + 1}/{args.rounds} {case.name:15} {server.name:18}", told(case, outcome), flush=True
                    )
    return results


def measure_once(case, server, seconds, root, outcome):
    try:
        outcome.rounds.append(case.run(cases.Trial(server, root, seconds)))
    except measure.Failed as error:
        outcome.failed = str(error)
    except measure.NotOffered as error:
        outcome.not_offered = str(error)


def told(case, outcome):
    if outcome.failed:
        return f"FAILED: {outcome.failed}"
    if outcome.not_offered:
        return f"left out: {outcome.not_offered}"
    last = outcome.rounds[-1]
    return ", ".join(f"{last[f.key]:,.{f.digits}f} {f.title}" for f in case.figures if f.key in last)


def main():
    args = parse_args()
    plan = choose(args, cases.CASES)
    if args.list:
        for case, chosen in plan.items():
            print(f"{case.name:15} {case.title}\n{'':15} {', '.join(server.name for server in chosen)}")
        return
    if Path(sys.prefix) != servers.venv_of(args.python):
        python = servers.install(args.python, [server for chosen in plan.values() for server in chosen])
        os.execv(python, [python, __file__, *sys.argv[1:]])

    import report  # here: needs what has been installed

    if absent := [servers.APT[name] for name in ("wrk", "ab") if not servers.program(name)]:
        sys.exit(f"the load comes from {' and '.join(absent)}: install it first")

    left_out = list(servers.LEFT_OUT.items())
    for chosen in plan.values():
        for server in list(chosen):
            if why := servers.missing(server):
                chosen.remove(server)
                left_out.append((server.name, why))

    # Ctrl-C and TERM both unwind the with blocks that kill what was started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    clients.raise_descriptor_limit()
    os.sched_setaffinity(0, {measure.LOAD_CORE})
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-root-") as root:
            # Peers that give up root's rights read it too.
            os.chmod(root, 0o755)
            cases.make_root(root)
            results = measure_all(plan, args, Path(root))
    except KeyboardInterrupt:
        sys.exit("interrupted: nothing written")
    print()
    report.write(results, list(dict.fromkeys(left_out)), args, time.monotonic() - started)


if __name__ == "__main__":
    main()
