"""Where a picture comes from: a mark in the file for everybody, and a fingerprint of the pixels for us.

The mark (XMP, as IPTC defines it) says that the picture was made with synthetic parts, by what, and nothing about
anybody; who wants can remove it. The fingerprint needs no metadata: a keyed hash of the pixels, so that the table of
fingerprints tells a thief nothing about a picture that he has.
"""

from __future__ import annotations

import hmac
from importlib.metadata import version

from PIL.PngImagePlugin import PngInfo

from core.vault.keyring import Keyring
from core.vault.restoration import Pixels, png_bytes

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"
MARK = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmp:CreatorTool="sider {version("sider")}"
    Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def marked_png(pixels: Pixels, profile: bytes | None = None) -> bytes:
    """Lossless PNG of a protected photo's pixels, with the mark and the ICC profile of its colours."""
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", MARK)
    return png_bytes(pixels, info, profile)


def fingerprint(pixels_sha256: str, keyring: Keyring) -> str:
    """The keyed hash, hex, of a picture that is made now."""
    return _print(pixels_sha256, keyring.fingerprint_keys()[keyring.current])


def candidates(pixels_sha256: str, keyring: Keyring) -> list[str]:
    """What its fingerprint is if it was made by us, whichever key was in use then."""
    return [_print(pixels_sha256, key) for key in keyring.fingerprint_keys().values()]


def _print(pixels_sha256: str, key: bytes) -> str:
    return hmac.digest(key, bytes.fromhex(pixels_sha256), "sha256").hex()
