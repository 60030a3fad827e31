"""Writes the chart as one plain manifest, for ``kubectl apply -f``, to standard output.

NATS's passwords are not in it: anyone who publishes a manifest would publish them. Its head says how they are made.
"""

import argparse
import subprocess
import sys
from pathlib import Path

__all__ = ["plain_manifest"]

CHART = Path(__file__).resolve().parents[1] / "charts" / "eventfed"
NAMESPACE = "eventfed"
SECRET = "eventfed-nats"
_HEAD = f"""\
# eventfed: operator, NATS and the custom resource, in namespace {NAMESPACE}. Made from charts/eventfed.
#   kubectl apply -f THIS_FILE
# Then, once, NATS's passwords, for which the pods wait; each begins with a letter:
#   kubectl create secret generic {SECRET} --namespace {NAMESPACE} --from-literal=operator=p$(openssl rand -hex 20) \\
#     --from-literal=agent=p$(openssl rand -hex 20) --from-literal=route=p$(openssl rand -hex 20)
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
"""


def plain_manifest(helm: str, image: str) -> str:
    """The text of the manifest.

    Args:
        helm: program.
        image: repository of the image, without tag.

    Raises:
        subprocess.CalledProcessError: Helm refuses the chart.
    """
    values = f"image.repository={image},nats.existingSecret={SECRET}"
    rendered = subprocess.run(
        [
            *(helm, "template", "eventfed", str(CHART), "--namespace", NAMESPACE, "--no-hooks"),
            *("--kube-version", "1.34.0", "--set", values),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return _HEAD + rendered.stdout


def main() -> int:
    """Exit code: 0 written, 1 Helm refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--helm", default="helm")
    parser.add_argument("--image", default="eventfed")
    arguments = parser.parse_args()
    try:
        sys.stdout.write(plain_manifest(arguments.helm, arguments.image))
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"the manifest was not made: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
