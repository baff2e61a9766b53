"""A real PgBouncer in front of a PostgreSQL of the tests, on a free port (apt install pgbouncer)."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.kit.kernel import wait_until
from tests.kit.stack import PASSWORD, PostgresServer, as_user, free_port, running

CONFIGURATION = """
[databases]
{databases}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/userlist.txt
pool_mode = {pool_mode}
"""


@contextmanager
def pgbouncer(server: PostgresServer, pool_mode: str, database: str = "postgres") -> Iterator[PostgresServer]:
    """Start it with the superuser of the server in its list; what is given has its port."""
    port = free_port()
    to = f"{database} = host=127.0.0.1 port={server.port}\nvanished = host=127.0.0.1 port={server.port}"
    (server.folder / "pgbouncer.ini").write_text(
        CONFIGURATION.format(databases=to, port=port, folder=server.folder, pool_mode=pool_mode)
    )
    (server.folder / "userlist.txt").write_text(f'"postgres" "{PASSWORD}"\n')
    argv = as_user("postgres", ["/usr/sbin/pgbouncer", str(server.folder / "pgbouncer.ini")])
    log = server.folder / "pgbouncer.log"
    with running(argv, log, signal.SIGINT) as process:
        wait_until(lambda: "process up" in log.read_text(), 10, "PgBouncer is up")
        yield PostgresServer(port, server.folder, process)
