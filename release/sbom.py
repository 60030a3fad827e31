"""Writes the software bill of materials of the image, as CycloneDX JSON, to standard output.

It lists the Python packages that the image holds: those that ``eventfed[operator,nats]`` needs, as they are installed
beside this program. What the base image holds is for the bill of that one. The same packages give the same text; its
time is that of ``SOURCE_DATE_EPOCH``.
"""

import os
import sys
from datetime import UTC, datetime
from importlib.metadata import Distribution, PackageNotFoundError
from uuid import UUID, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from runtime_packages import PRODUCT, closure

__all__ = ["bill_of_materials"]

_NAMESPACE = UUID("5f9f1d1e-5c0a-5b43-9d0c-1d3b0c6f3b6e")
_CLASSIFIER = "License :: OSI Approved :: "


def _component(name: str, package: Distribution) -> Component:
    licenses = LicenseFactory()
    metadata = package.metadata
    told = [one.removeprefix(_CLASSIFIER) for one in metadata.get_all("Classifier", []) if one.startswith(_CLASSIFIER)]
    for field in ("License-Expression", "License"):
        # Some have the whole text of the licence there.
        if field in metadata and "\n" not in metadata[field]:
            told = [metadata[field]]
            break
    purl = PackageURL("pypi", name=name, version=package.version)
    return Component(
        type=ComponentType.APPLICATION if name == PRODUCT else ComponentType.LIBRARY,
        name=name,
        version=package.version,
        description=metadata["Summary"],
        licenses=[licenses.make_from_string(one) for one in told],
        purl=purl,
        bom_ref=str(purl),
    )


def bill_of_materials() -> str:
    """The bill as JSON (CycloneDX 1.6).

    Raises:
        PackageNotFoundError: a package that the image has is not installed here.
    """
    packages = closure()
    components = {name: _component(name, package) for name, (package, _) in packages.items()}
    bom = Bom()
    bom.metadata.component = components[PRODUCT]
    bom.components.update(one for name, one in components.items() if name != PRODUCT)
    for name, (_, needs) in packages.items():
        bom.register_dependency(components[name], [components[one] for one in sorted(needs)])
    # Neither a number by chance nor the present time in it: the same packages give the same file.
    bom.metadata.timestamp = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)
    bom.serial_number = uuid5(_NAMESPACE, " ".join(sorted(str(one.purl) for one in components.values())))
    return JsonV1Dot6(bom).output_as_string(indent=2)


def main() -> int:
    """Exit code: 0 written, 1 a package is missing."""
    try:
        print(bill_of_materials())
    except PackageNotFoundError as error:
        print(f"{error.name} is not installed: make .venv/.ready", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
