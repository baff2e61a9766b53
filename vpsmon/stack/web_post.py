"""Sending a POST to a service of the stack: the one way in which vpsmon changes something over HTTP.

Used by the effectors alone, through waha.py and n8n_api.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vpsmon.net.http_client import request
from vpsmon.net.http_reply import HttpReply, RequestFailed
from vpsmon.stack.web import Site, order_urls
from vpsmon.system.host import Host

# WAHA stops a session, waits 3 s and starts it again before it answers.
_TIMEOUT_SECONDS = 20.0


def post(host: Host, site: Site, path: str, headers: Mapping[str, str], content: Any = None) -> HttpReply:
    """Return the answer to a POST, whatever its status. Raises RequestFailed when there is none.

    Another URL of the service is tried only where nothing can have arrived at the first: nothing is done twice.
    """
    body = b"" if content is None else json.dumps(content).encode()
    sent = {**headers, "Content-Type": "application/json"} if body else headers
    failure = RequestFailed("no URL is known", "unusable")
    for url in order_urls(host, site):
        try:
            return request("POST", url + path, body, sent, _TIMEOUT_SECONDS)
        except RequestFailed as error:
            failure = RequestFailed(f"{url}: {error}", error.cause)
            if error.cause != "not_sent":
                break
    raise failure
