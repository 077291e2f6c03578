"""Make certificates for a Dask cluster: an authority, and one certificate for scheduler, workers and flows.

`python -m compute.certificates FOLDER` writes ca.pem, certificate.pem and key.pem. The key of the authority is not
written, so it cannot sign another certificate. Before the certificates expire, make all files again, and copy them to
every machine of the cluster.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core.atomic_files import write_atomically
from core.clock import utc_now
from core.errors import DiskFull, UsageError, is_disk_full
from core.exit_codes import returns_exit_code, run_main

CA, CERTIFICATE, KEY = "ca.pem", "certificate.pem", "key.pem"
_PEM = serialization.Encoding.PEM
_MAX_DAYS = 36_500


def make_certificates(folder: Path, now: datetime, days: int) -> None:
    """Write the three files, valid for `days` days from `now`. Only the current user can read the key.

    Raises UsageError if one of the files exists, and OSError if the folder cannot be written.
    """
    for name in (CA, CERTIFICATE, KEY):
        if (folder / name).exists():
            raise UsageError(
                f"{folder / name} exists; choose another folder, or delete this file to replace the certificates"
            )
    folder.mkdir(parents=True, exist_ok=True)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _builder("MoovitaMix Dask authority", "MoovitaMix Dask authority", authority_key, now, days)
    authority = authority.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    certificate = _builder("MoovitaMix Dask", "MoovitaMix Dask authority", key, now, days)
    certificate = certificate.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    key_pem = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_atomically(folder / KEY, key_pem, mode=0o600)
    for name, builder in ((CERTIFICATE, certificate), (CA, authority)):
        write_atomically(folder / name, builder.sign(authority_key, hashes.SHA256()).public_bytes(_PEM))


def _builder(
    subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # the clocks of machines differ
        .not_valid_after(now + timedelta(days=days))
    )


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m compute.certificates", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder to write to")
    parser.add_argument(
        "--days", type=int, default=825, help="days until the certificates expire (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    folder: Path = options.folder.absolute()
    if not 1 <= options.days <= _MAX_DAYS:
        parser.error(f"argument --days: must be 1 to {_MAX_DAYS:,}")
    try:
        make_certificates(folder, utc_now(), options.days)
    except OSError as error:
        if is_disk_full(error):
            raise DiskFull(f"{folder} cannot be written: {error.strerror}; free space, then run again") from error
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}; choose another folder") from error
    print(f"set on every machine of the cluster:\nDASK_TLS_CA_FILE={folder / CA}")
    print(f"DASK_TLS_CERTIFICATE_FILE={folder / CERTIFICATE}\nDASK_TLS_KEY_FILE={folder / KEY}")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
