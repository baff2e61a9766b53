"""The authorities that TLS connections trust: those of the system, and no way around them."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

# `openssl rehash` and c_rehash name a link by the hash of the certificate's subject.
_HASH_LINK = re.compile(r"[0-9a-f]{8}\.\d+")


@lru_cache(maxsize=1)
def make_tls_context() -> ssl.SSLContext:
    """Return the context of the TLS connections of this process.

    OpenSSL reads the bundle of all authorities, 24 ms of processor time; from a folder with a link for each of them it
    reads the one that it needs, 2 ms. SSL_CERT_FILE and SSL_CERT_DIR are left to OpenSSL.
    """
    import ssl

    return ssl.create_default_context(capath=_find_hashed_folder(ssl.get_default_verify_paths()))


def _find_hashed_folder(paths: ssl.DefaultVerifyPaths) -> str | None:
    """Return the folder that holds all that is in the bundle; None where there is none, or the environment chooses.

    A folder with fewer links than the bundle has certificates is not the whole of it: Red Hat's before Fedora 41 had
    only what somebody has put there by hand.
    """
    if any(os.environ.get(name) for name in (paths.openssl_cafile_env, paths.openssl_capath_env)):
        return None
    if not paths.capath or not paths.cafile:
        return None
    try:
        links = sum(bool(_HASH_LINK.fullmatch(name)) for name in os.listdir(paths.capath))
        with open(paths.cafile, "rb") as bundle:
            certificates = bundle.read().count(b"-----BEGIN CERTIFICATE-----")
    except OSError:
        return None
    return paths.capath if links >= certificates > 0 else None
