"""What an image says of itself: the labels that all its containers inherit prove nothing about any of them.

An image can carry every label, and compose writes project and service on the images that it builds. What a container
has beyond its image, somebody has given to it. Format: `GET /images/<id>/json` of the Docker Engine API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from vpsmon.stack.docker.api import Engine, NotFound
from vpsmon.stack.docker.inspect_values import get_map, to_list
from vpsmon.stack.identity.known import recall_known
from vpsmon.system.host import Host

COMPOSE_SERVICE = "com.docker.compose.service"
COMPOSE_PROJECT = "com.docker.compose.project"
SWARM_SERVICE = "com.docker.swarm.service.name"
SWARM_STACK = "com.docker.stack.namespace"
# Written by systemd for what Podman's quadlets start: the name of the unit.
SYSTEMD_UNIT = "PODMAN_SYSTEMD_UNIT"
COMPOSE_DEPENDS_ON = "com.docker.compose.depends_on"
COMPOSE_ONE_OFF = "com.docker.compose.oneoff"
ESSENTIAL_LABEL = "vpsmon.essential"
RECOVER_LABEL = "vpsmon.recover"
ROLE_LABEL = "vpsmon.role"
# What compose writes on containers and never on images: a container that has one of its own was made by compose.
_MADE_BY_COMPOSE = (
    "com.docker.compose.config-hash",
    "com.docker.compose.container-number",
    "io.podman.compose.config-hash",
)
_FROM_BUILD = (COMPOSE_SERVICE, COMPOSE_PROJECT)
# All that vpsmon goes by.
_TELLING = frozenset(
    (
        *_MADE_BY_COMPOSE,
        *_FROM_BUILD,
        COMPOSE_DEPENDS_ON,
        COMPOSE_ONE_OFF,
        SWARM_SERVICE,
        SWARM_STACK,
        SYSTEMD_UNIT,
        ESSENTIAL_LABEL,
        RECOVER_LABEL,
        ROLE_LABEL,
    )
)
_LONGEST_LABEL_CHARACTERS = 1000
# What an id stands for never changes: each image is asked for once.
_KNOWN = "images"


class Image(NamedTuple):
    """The labels of an image that say who a container is, and a name of it; nothing where it is not known."""

    labels: Mapping[str, str] = {}
    name: str = ""


def find_image(host: Host, client: Engine, inspected: Mapping[str, Any]) -> Image:
    """Return the image of an inspected container; asked for once, and only where it matters."""
    settings = get_map(inspected, "Config")
    image_id = str(inspected.get("Image") or "")
    needs_name = str(settings.get("Image") or "").startswith("sha256:")
    is_telling = not _TELLING.isdisjoint(get_map(settings, "Labels"))
    if not image_id or not (needs_name or is_telling):
        return Image()
    known = recall_known(host, _KNOWN)
    if image_id not in known:
        image = _read_image(client, image_id)
        known[image_id] = {"labels": dict(image.labels), "name": image.name}
    return _parse_record(known[image_id])


def _read_image(client: Engine, image_id: str) -> Image:
    try:
        answer = client.inspect_image(image_id)
    except NotFound:
        return Image()  # it was removed under its containers, as Podman allows
    labels = get_map(get_map(answer, "Config"), "Labels")
    telling = {key: str(labels[key])[:_LONGEST_LABEL_CHARACTERS] for key in sorted(_TELLING & labels.keys())}
    tags = to_list(answer.get("RepoTags"))
    return Image(telling, str(tags[0]) if tags else "")


def _parse_record(record: Any) -> Image:
    labels = record.get("labels") if isinstance(record, dict) else None
    name = record.get("name") if isinstance(record, dict) else None
    return Image(labels if isinstance(labels, dict) else {}, name if isinstance(name, str) else "")


def keep_own_labels(labels: Mapping[str, str], image: Image) -> dict[str, str]:
    """Return the labels that a container has of its own; of one made by compose also those that its image repeats."""
    own = {key: value for key, value in labels.items() if image.labels.get(key) != value[:_LONGEST_LABEL_CHARACTERS]}
    if any(key in own for key in _MADE_BY_COMPOSE):
        own |= {key: labels[key] for key in _FROM_BUILD if key in labels}
    return own


def forget_unused_images(host: Host, image_ids: set[str]) -> None:
    """Forget the images that no container is of."""
    known = recall_known(host, _KNOWN)
    for image_id in known.keys() - image_ids:
        del known[image_id]
