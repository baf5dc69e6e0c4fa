"""Each alert alone without its threshold, and each without its wait: the cases of rules_test.yaml must notice.

Usage: rules_mutants.py DIRECTORY (with rules.yaml and rules_test.yaml, which pass as they are)
"""

import copy
import pathlib
import re
import subprocess
import sys

import yaml

folder = pathlib.Path(sys.argv[1])
source = yaml.safe_load((folder / "rules.yaml").read_text())


def passes(rules):
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    got = subprocess.run(["promtool", "test", "rules", folder / "rules_test.yaml"], capture_output=True, check=False)
    return got.returncode == 0


def main():
    assert passes(source), "the rules do not pass as they are"
    unseen, tried = [], 0
    for i, rule in enumerate(source["groups"][0]["rules"]):
        always = re.sub(r"(==|>) *[0-9.]+( \\*)?", lambda m: ">= 0" + (m.group(2) or ""), rule["expr"])
        always = re.sub(r"< *[0-9.]+$", "< Inf", always)
        never = f"({rule['expr']}) and vector(1) == 2"
        assert always != rule["expr"], f"{rule['alert']}: no threshold found"
        for name, expr in (("always", always), ("never", never)):
            mutant = copy.deepcopy(source)
            mutant["groups"][0]["rules"][i]["expr"] = expr
            tried += 1
            if passes(mutant):
                unseen.append(f"{rule['alert']} {name}: {expr}")
    (folder / "rules.yaml").write_text(yaml.safe_dump(source))
    if unseen:
        raise SystemExit("BROKEN  mutants pass: " + "; ".join(unseen))
    print(f"ok  every alert has a case that fires and one that does not; {tried} mutants of single alerts are noticed")


main()
