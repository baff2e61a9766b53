"""Which program an image holds, and what part that program plays in a stack.

Sources: Coolify's DATABASE_DOCKER_IMAGES and service templates, Dokploy's setup, the manuals of n8n, WAHA, Chatwoot,
Evolution API and Supabase, Docker Hub. Compared is the last part of the name, without registry, tag and digest; a
few images are told apart by their owner as well.
"""

from __future__ import annotations

from typing import Literal

Role = Literal["database", "cache", "n8n_main", "n8n_worker", "n8n_webhook", "waha", "proxy", "application", "helper"]

# Program -> the names of its images.
_IMAGES: dict[str, tuple[str, ...]] = {
    "postgres": (
        "postgres",
        "postgresql",
        "postgis",
        "timescaledb",
        "timescaledb-ha",
        "pgvector",
        "spilo",
        "pgvecto-rs",
    ),
    "mysql": ("mysql", "mysql-server", "mariadb", "mariadb-galera", "percona", "percona-server"),
    "mongodb": ("mongo", "mongodb", "percona-server-mongodb"),
    "couchdb": ("couchdb",),
    "elasticsearch": ("elasticsearch",),
    "opensearch": ("opensearch",),
    "meilisearch": ("meilisearch",),
    "typesense": ("typesense",),
    "qdrant": ("qdrant",),
    "weaviate": ("weaviate",),
    "chroma": ("chroma",),
    "neo4j": ("neo4j",),
    "rabbitmq": ("rabbitmq",),
    "nats": ("nats", "nats-server"),
    "kafka": ("kafka", "cp-kafka", "redpanda"),
    "zookeeper": ("zookeeper",),
    "etcd": ("etcd",),
    "clickhouse": ("clickhouse", "clickhouse-server"),
    "minio": ("minio", "garage"),
    "influxdb": ("influxdb",),
    "mssql": ("mssql-server", "server"),
    "redis": ("redis", "redis-stack", "redis-stack-server", "valkey", "keydb", "dragonfly"),
    "memcached": ("memcached",),
    "traefik": ("traefik",),
    "caddy": ("caddy", "caddy-docker-proxy"),
    "nginx": ("nginx", "nginx-unprivileged", "nginx-proxy-manager", "nginx-proxy", "openresty", "swag"),
    "haproxy": ("haproxy",),
    "cloudflared": ("cloudflared",),
    "kong": ("kong", "kong-gateway"),
    "n8n": ("n8n",),
    "waha": ("waha", "waha-plus"),
}
# Named like something else and is not it: an image of another owner, or a tool beside a database.
_HELPERS = (
    "n8nio/runners",
    "acme-companion",
    "adminer",
    "curl",
    "cadvisor",
    "docker-gen",
    "mongo-express",
    "node-exporter",
    "pgadmin4",
    "pgbackrest",
    "pgbouncer",
    "phpmyadmin",
    "postgres-backup-local",
    "postgres-backup-s3",
    "postgres-exporter",
    "postgres-meta",
    "postgres_exporter",
    "postgrest",
    "redis-commander",
    "redis_exporter",
    "redisinsight",
    "supavisor",
    "watchtower",
)
_DATABASES = [
    "postgres",
    "mysql",
    "mongodb",
    "couchdb",
    "elasticsearch",
    "opensearch",
    "meilisearch",
    "typesense",
    "qdrant",
    "weaviate",
    "chroma",
    "neo4j",
    "rabbitmq",
    "nats",
    "kafka",
    "zookeeper",
    "etcd",
    "clickhouse",
    "minio",
    "influxdb",
    "mssql",
]
_ROLES: dict[str, Role] = {
    **dict.fromkeys(_DATABASES, "database"),
    **dict.fromkeys(("redis", "memcached"), "cache"),
    **dict.fromkeys(("traefik", "caddy", "nginx", "haproxy", "cloudflared", "kong"), "proxy"),
    "n8n": "n8n_main",
    "waha": "waha",
}
# The owner counts: there are many images called `server`.
_WITH_OWNER = {"server": "mcr.microsoft.com/mssql/server"}
_PROGRAMS = {name: program for program, names in _IMAGES.items() for name in names}
# What an image of a database declares stays in every image that is built on it.
PROGRAM_OF_PORT = {
    5432: "postgres",
    3306: "mysql",
    27017: "mongodb",
    6379: "redis",
    9200: "elasticsearch",
    5672: "rabbitmq",
}
PROGRAM_OF_MOUNT = {
    "/var/lib/postgresql": "postgres",
    "/var/lib/postgresql/data": "postgres",
    "/bitnami/postgresql": "postgres",
    "/var/lib/mysql": "mysql",
    "/data/db": "mongodb",
}


def parse_repository(image: str) -> str:
    """Return owner and name of an image, without registry, tag and digest; "" for a bare digest (`sha256:…`)."""
    if image.startswith("sha256:"):
        return ""
    parts = image.partition("@")[0].lower().split("/")
    if len(parts) > 1 and ("." in parts[0] or ":" in parts[0] or parts[0] == "localhost"):
        parts = parts[1:]
    parts[-1] = parts[-1].partition(":")[0]
    return "/".join(parts).removeprefix("library/")


def find_program(image: str) -> str:
    """Return the program of an image: a name of the table, `helper` for a tool beside one, "" for one not known."""
    repository = parse_repository(image)
    name = repository.rpartition("/")[2]
    if repository in _HELPERS or name in _HELPERS:
        return "helper"
    if name in _WITH_OWNER and not image.startswith(_WITH_OWNER[name]):
        return ""
    return _PROGRAMS.get(name, "")


def find_program_of_name(name: str) -> str:
    """Return the program that a service or container is called after, "" for none."""
    return _PROGRAMS.get(name.lower(), "") if name not in _WITH_OWNER else ""


def role_of_program(program: str) -> Role:
    """Return the part that a program plays, `application` for one not known."""
    return "helper" if program == "helper" else _ROLES.get(program, "application")
