"""tests/admission/templates against what the chart renders. Usage: inject_templates.py HELM
CROSSFADE_BLESS=1 rewrites them.
"""

import json
import os
import pathlib
import subprocess
import sys

import yaml

CHART = "charts/crossfade"
FOLDER = pathlib.Path("tests/admission/templates")
# variant: values, Kubernetes
VARIANTS = {
    "native": (f"{CHART}/ci/injector-values.yaml", "1.34.0"),
    "classic": (f"{CHART}/ci/injector-values.yaml", "1.28.0"),
    "redirect": (f"{CHART}/ci/injector-redirect-values.yaml", "1.34.0"),
}


def rendered(helm, values, version):
    """What the webhook's pod finds in /etc/crossfade/sidecar.json."""
    command = [helm, "template", "rel", CHART, "--namespace", "chat", "--kube-version", version]
    text = subprocess.check_output([*command, "--values", values], text=True)
    docs = [doc for doc in yaml.safe_load_all(text) if doc]
    (side,) = [doc["data"]["sidecar.json"] for doc in docs if "sidecar.json" in doc.get("data", {})]
    return side, docs


def main():
    for variant, (values, version) in VARIANTS.items():
        side, _ = rendered(sys.argv[1], values, version)
        file = FOLDER / f"{variant}.json"
        if os.environ.get("CROSSFADE_BLESS"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(side + "\n")
        if json.loads(file.read_text()) != json.loads(side):
            raise SystemExit(f"BROKEN  {file} is not what the chart renders; CROSSFADE_BLESS=1 tests/run inject rewrites it")
    print(f"ok  {len(VARIANTS)} templates of the tests are those of the chart", flush=True)


if __name__ == "__main__":
    main()
