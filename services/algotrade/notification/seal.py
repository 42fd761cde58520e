"""Seals what must not be read in the database: addresses outside hold passwords and tokens."""

from __future__ import annotations

from typing import Final

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

_HEADER: Final = {"alg": "ECDH-ES", "enc": "A256GCM"}


class Seal:
    """A key of this installation. Sealed texts are compact JWE; each is another, be the text the same."""

    def __init__(self, key: ECKey) -> None:
        """Take the key; another one opens nothing that this one has sealed."""
        self._key = ECKey.import_key(key.as_dict(private=True), {"use": "enc"})

    def close(self, text: str) -> str:
        """Seal a text."""
        return jwe.encrypt_compact(_HEADER, text.encode(), self._key)

    def open(self, sealed: str) -> str:
        """Return the text. Raises ValueError where another key has sealed it, or it was changed."""
        try:
            plaintext = jwe.decrypt_compact(sealed, self._key, algorithms=list(_HEADER.values())).plaintext
        except (JoseError, ValueError) as error:
            raise ValueError("sealed with another key, or changed") from error
        return (plaintext or b"").decode()
