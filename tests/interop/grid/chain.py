"""A certificate chain that is too long for three first datagrams: root, four authorities, a leaf for localhost."""
import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

AUTHORITIES = 4
#: An extension that nobody reads (under the arc for examples), to make certificates large. Not critical.
PADDING = ObjectIdentifier("2.999.1")


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(subject, key, issuer, issuer_key, path_length, padding):
    now = datetime.datetime.now(datetime.timezone.utc)
    b = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    b = b.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
    b = b.not_valid_after(now + datetime.timedelta(days=30))
    ca = path_length is not None
    b = b.add_extension(x509.BasicConstraints(ca, path_length), critical=True)
    b = b.add_extension(
        x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), critical=True)
    if not ca:
        b = b.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        b = b.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    b = b.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    b = b.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    if padding:
        # An OCTET STRING, so that readers that insist on DER are content.
        value = b"\x04\x82" + padding.to_bytes(2, "big") + bytes(padding)
        b = b.add_extension(x509.UnrecognizedExtension(PADDING, value), critical=False)
    return b.sign(issuer_key, hashes.SHA256())


def write(folder):
    """Writes long.pem, long-key.pem and long-ca.pem."""
    pem = serialization.Encoding.PEM
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(AUTHORITIES + 2)]
    names = [name("Whimbrel throw-away root")] + [name(f"Authority {i}") for i in range(AUTHORITIES)] + [name("localhost")]
    root = certificate(names[0], keys[0], names[0], keys[0], AUTHORITIES, 0)
    chain = []
    for i in range(1, AUTHORITIES + 1):
        chain.append(certificate(names[i], keys[i], names[i - 1], keys[i - 1], AUTHORITIES - i, 1500))
    chain.append(certificate(names[-1], keys[-1], names[-2], keys[-2], None, 1500))
    (folder / "long.pem").write_bytes(b"".join(c.public_bytes(pem) for c in reversed(chain)))
    (folder / "long-ca.pem").write_bytes(root.public_bytes(pem))
    (folder / "long-key.pem").write_bytes(
        keys[-1].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
