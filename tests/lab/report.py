"""The pages of the grader: one for each student, and index.html for the teacher. Each is one file, without a server."""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import jinja2
from markdown_it import MarkdownIt
from messages import LANGUAGES, cause_of
from rules import PARTS, POINTS
from similarity import nearly_the_same

LAB = Path(__file__).resolve().parent
DOCS = LAB.parent.parent / "docs"
BINS = 10  # of the histogram
FIRST = 3  # how many things to mend a page begins with


class Group(NamedTuple):
    """Failed checks with one cause: a key of messages.py, or an exception, or nothing certain."""

    what: str
    mend: str
    shown: str
    lost: float  # points
    checks: list  # facts


class Report:
    """Writes the pages to *folder*, in *language*."""

    def __init__(self, folder, language):
        self.folder, self.language, self.texts = folder, language, LANGUAGES[language]
        self.rules = DOCS / ("lab.md" if language == "en" else f"lab.{language}.md")
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(LAB / "pages"), autoescape=True, trim_blocks=True, lstrip_blocks=True
        )
        environment.globals |= {
            "texts": self.texts,
            "language": language,
            "rules_page": "lab.html" if self.rules.exists() else "",
        }
        environment.filters |= {"title": self.title, "name": short_name}
        self.pages = environment

    def write(self, name, template, **values):
        text = self.pages.get_template(template).render(**values)
        (self.folder / name).write_text(text, "utf-8", "surrogateescape")

    def write_rules(self):
        """Write the lab itself beside the pages, for their links."""
        text = self.rules.read_text("utf-8").rstrip().rpartition("\n")[0]  # the last line leads to the next page
        markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
        markdown.add_render_rule("link_open", link_open)
        self.write("lab.html", "lab.html", title=text.partition("\n")[0].lstrip("# "), lab=markdown.render(text))

    def title(self, facts):
        """Return what the check behind *facts* asks: its rule, and which case of it."""
        case = re.search(r"\[(.*)\]$", facts["check"])
        return self.texts["rules"][facts["rule"]] + (f" ({case[1]})" if case else "")

    def write_student(self, grade):
        groups = self.groups(grade)
        parts = [(self.texts["parts"][part], *grade.points(PARTS[part])) for part in PARTS]
        self.write(
            f"{grade.student}.html",
            "student.html",
            grade=grade,
            parts=[(name, reached, most) for name, reached, most in parts if most],
            first=[group for group in groups if group.mend][:FIRST],
            groups=groups,
            not_offered=sorted({f["rule"] for f in grade.results.values() if f["outcome"] == "not offered"}),
        )

    def groups(self, grade):
        """Return the failed checks of *grade* as Groups, the one that costs most first; what is uncertain last."""
        found = {}
        for facts in grade.failures():
            key = facts["verdict"] or facts["cause"] or facts["exception"]
            found.setdefault(str(key), []).append(facts)
        groups = [self.group(grade, checks) for checks in found.values()]
        return sorted(groups, key=lambda group: (not group.what, -group.lost))

    def group(self, grade, checks):
        sentences = cause_of(checks[0], self.language) or [checks[0]["exception"]]
        what, mend, shown = (*sentences, "", "")[:3]
        if checks[0]["verdict"]:
            programs = "wsgi" in checks[0]["rule"]
            rules = [rule for rule in POINTS if rule.startswith("wsgi") == programs]
            reached, most = grade.points(rules)
            return Group(what, mend, shown, most - reached, checks)
        return Group(what, mend, shown, sum(self.lost(grade, facts["rule"]) for facts in checks), checks)

    def lost(self, grade, rule):
        """Return the points that one failed check of *rule* has cost: they share what the rule has lost."""
        reached, most = grade.points([rule])
        return (most - reached) / sum(facts["rule"] == rule for facts in grade.failures())

    def write_index(self, grades, submissions):
        rules = [rule for rule in POINTS if any(rule in grade.checks.values() for grade in grades)]
        same = nearly_the_same([submissions / grade.student for grade in grades])
        missed = {
            rule: sum((grade.share(rule) or 0) < 1 for grade in grades if grade.share(rule) is not None)
            for rule in rules
        }
        self.write(
            "index.html",
            "index.html",
            grades=grades,
            rules=rules,
            missed=missed,
            bins=histogram([grade.mark for grade in grades]),
            same=[(one.name, other.name, share) for one, other, share in same],
            causes={
                grade.student: [group.what for group in self.groups(grade) if group.mend][:FIRST] for grade in grades
            },
            checks=checks_by_rule(grades),
            missed_check=lambda check: sum(grade.share_of_check(check) == 0 for grade in grades),
            css_class=css_class,
        )
        if self.rules.exists() and any(grade.failures() for grade in grades):
            self.write_rules()


def link_open(renderer, tokens, index, options, _environment):
    """Render a link only if it leads to somewhere from the grader's folder, too; else its text is left."""
    if not tokens[index].attrs["href"].startswith(("#", "https:")):
        tokens[index].attrs = {}
    return renderer.renderToken(tokens, index, options, _environment)


def checks_by_rule(grades):
    """Return {rule: [(check, its label)]}, without rules that have one check only."""
    rules = {}
    for check, rule in {check: rule for grade in grades for check, rule in grade.checks.items()}.items():
        rules.setdefault(rule, []).append(check)
    return {rule: list(zip(checks, labels(checks), strict=True)) for rule, checks in rules.items() if len(checks) > 1}


def labels(checks):
    """Return what tells the *checks* of a rule apart: their cases, where they are cases of one check."""
    names = [short_name(check).removeprefix("test_") for check in checks]
    cases = [check.partition("[")[2].rstrip("]") for check in checks]
    alike = len(set(names)) == 1
    return [case if alike and case else f"{name} {case}".strip() for name, case in zip(names, cases, strict=True)]


def short_name(check):
    """Return the name of a check without its file and case."""
    return check.partition("::")[2].partition("[")[0]


def histogram(marks):
    """Return (lowest mark, highest mark, how many, share of the most) for each tenth of the scale."""
    counts = Counter(min(int(mark * BINS / 100), BINS - 1) for mark in marks)
    most = max(counts.values(), default=1)
    width = 100 // BINS
    return [(number * width, (number + 1) * width, counts[number], counts[number] / most) for number in range(BINS)]


def css_class(share):
    """Return the class of a cell of the matrix for a *share* from 0 to 1, None where there is none."""
    if share is None:
        return "left-out"
    return "all" if share == 1 else "part" if share else "none"
