"""Requests to a container engine through the docker library: TCP, TLS and ssh."""

from __future__ import annotations

from typing import Any

import docker
import docker.errors
import requests

from vpsmon.net.http_reply import HttpReply

# It stands in no request: only the library's own methods would send it.
_UNUSED_VERSION = "1.41"


class LibraryTransport:
    """Carries requests as docker.APIClient does, which is a session of requests."""

    def __init__(self, url: str, tls: Any) -> None:
        """Raises whatever the library finds wrong with the address."""
        self._client = docker.APIClient(base_url=url, version=_UNUSED_VERSION, tls=tls or False)
        # Without this, every single request looks through the environment for proxies, and for a ~/.netrc.
        self._client.trust_env = False

    def request(self, method: str, target: str, body: bytes | None, timeout_seconds: float) -> HttpReply:
        """Return the answer, whatever its status. Raises OSError."""
        headers = {"Content-Type": "application/json"} if body else {}
        url = self._client.base_url + target
        try:
            reply = self._client.request(method, url, data=body, headers=headers, timeout=timeout_seconds)
            return HttpReply(reply.status_code, reply.content)
        except requests.Timeout:
            raise TimeoutError("timed out") from None
        except (docker.errors.DockerException, requests.RequestException) as error:
            cause = _find_os_error(error)
            raise cause or OSError(f"{type(error).__name__}; is the address right?") from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _find_os_error(error: BaseException | None) -> OSError | None:
    """Return the error of the operating system below those of requests (itself an OSError) and urllib3."""
    for _ in range(10):
        if error is None:
            return None
        if isinstance(error, OSError) and (error.errno is not None or isinstance(error, TimeoutError)):
            return error
        inner = [each for each in error.args if isinstance(each, BaseException)]
        error = inner[0] if inner else error.__cause__ or error.__context__
    return None
