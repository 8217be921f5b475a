"""Make a certificate for trying TLS: ``python -m examples.certificate FOLDER`` writes cert.pem and key.pem.

The library trustme makes the certificate for the addresses of this machine. Browsers do not trust the issuer of the
certificate, so they show a warning before the page.
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

import trustme

from edge.cli import addresses


def write_certificate(folder: Path) -> None:
    """Write cert.pem and key.pem for localhost and for the addresses of this machine on its network."""
    hosts = {str(urlsplit(address).hostname) for address in addresses("0.0.0.0", 0, "https")}  # noqa: S104
    certificate = trustme.CA().issue_cert("localhost", "127.0.0.1", *sorted(hosts - {"localhost"}))
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / "key.pem"
    key.touch(mode=0o600)
    certificate.private_key_pem.write_to_path(key)
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))


if __name__ == "__main__":
    write_certificate(Path(sys.argv[1]))
