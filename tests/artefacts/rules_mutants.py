"""Each alert made wrong on purpose: without its threshold, never, without its wait, and with half of its condition. The
cases of rules_test.yaml must notice each.

Usage: rules_mutants.py DIRECTORY (with rules.yaml and rules_test.yaml, which pass as they are)
"""

import copy
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

folder = pathlib.Path(sys.argv[1])
source = yaml.safe_load((folder / "rules.yaml").read_text())
cases = yaml.safe_load((folder / "rules_test.yaml").read_text())


def passes(rules, tests):
    """In a folder of its own: the rules with these cases only."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        place = pathlib.Path(place)
        (place / "rules.yaml").write_text(yaml.safe_dump(rules))
        (place / "rules_test.yaml").write_text(yaml.safe_dump({**cases, "tests": tests}))
        got = subprocess.run(["promtool", "test", "rules", place / "rules_test.yaml"], capture_output=True, check=False)
    return got.returncode == 0


def halves(expr):
    """What stands on either side of each `and`, `or` and `unless` outside of all brackets."""
    depth = 0
    for found in re.finditer(r"[(){}\[\]]|\b(and|or|unless)\b(?: (?:on|ignoring) \([^)]*\))?|\"[^\"]*\"", expr):
        depth += {"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(found[0], 0)
        if found[1] and depth == 0:
            yield f"without what follows {found[0]}", expr[: found.start()]
            # What only says which series are ours has no threshold of its own.
            if re.search(r"[<>=]= |[<>] ", expr[found.end() :]):
                yield f"without what precedes {found[0]}", expr[found.end() :]


def mutants(rule):
    expr = rule["expr"]
    always = re.sub(r"(==|>) *[0-9.]+( \*)?", lambda m: ">= 0" + (m.group(2) or ""), expr)
    always = re.sub(r"< *[0-9.]+$", "< Inf", always)
    assert always != expr, f"{rule['alert']}: no threshold found"
    yield "always", {"expr": always}
    yield "never", {"expr": f"({expr}) and vector(1) == 2"}
    if "for" in rule:
        yield "at once", {"for": "0s"}
    for name, half in halves(expr):
        yield name, {"expr": half}


def about(alert):
    return [case for case in cases["tests"] if any(test["alertname"] == alert for test in case["alert_rule_test"])]


def main():
    assert passes(source, cases["tests"]), "the rules do not pass as they are"
    unseen, tried = [], 0
    for g, group in enumerate(source["groups"]):
        for rule in group["rules"]:
            if "alert" not in rule:
                continue
            # What others are computed from, and this one alone.
            alone = copy.deepcopy(source)
            for other in alone["groups"]:
                other["rules"] = [one for one in other["rules"] if "record" in one or one["alert"] == rule["alert"]]
            for name, change in mutants(rule):
                mutant = copy.deepcopy(alone)
                mutant["groups"][g]["rules"][-1].update(change)
                tried += 1
                if passes(mutant, about(rule["alert"])):
                    unseen.append(f"{rule['alert']} {name}: {change}")
    if unseen:
        raise SystemExit("BROKEN  mutants pass:\n" + "\n".join(unseen))
    print(f"ok  every alert has a case that fires and one that does not; {tried} mutants of single alerts are noticed")


main()
