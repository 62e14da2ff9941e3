"""Reads YAML from standard input; prints as JSON each object in it, with what Kubernetes' own schemas say against it, for
each version that an argument names. A key that stands twice is an error: Helm would take the last one in silence."""
import json
import sys

import kubernetes_validate
import yaml
from kubernetes_validate.utils import SchemaNotFoundError


class Loader(yaml.SafeLoader):
    """Refuses keys that stand twice."""


def mapping(loader, node):
    keys = [loader.construct_object(key) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise ValueError(f"twice in one map: {', '.join(sorted(twice))}{node.start_mark}")
    return loader.construct_mapping(node, deep=True)


Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)


def complaint(thing, version):
    try:
        kubernetes_validate.validate(thing, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{version}: {'.'.join(map(str, error.path))}: {error.message}"
    except SchemaNotFoundError as error:
        return f"{version}: {error.message}"


found = []
for thing in yaml.load_all(sys.stdin, Loader):
    if thing is not None:
        said = [complaint(thing, version) for version in sys.argv[1:]]
        found.append({"thing": thing, "complaints": [text for text in said if text]})
json.dump(found, sys.stdout)
