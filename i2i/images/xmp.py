"""What people wrote about a picture, out of its XMP (ISO 16684-1): titles, keywords, ratings, rights, faces.

The rest of it describes the file that is left behind (its size, its orientation, developing steps, embedded previews
and videos) or tells where it was taken: wrong in a result, or out of place.
"""

from __future__ import annotations

from xml.etree import ElementTree

from PIL import Image

__all__ = ["LONGEST", "descriptions"]

LONGEST = 65_502  # bytes that a JPEG holds in one segment
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
KEPT = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpRights": "http://ns.adobe.com/xap/1.0/rights/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
}
PREFIXES = KEPT | {
    "rdf": RDF,
    "x": "adobe:ns:meta/",
    "stArea": "http://ns.adobe.com/xmp/sType/Area#",
    "stDim": "http://ns.adobe.com/xap/1.0/sType/Dimensions#",
}
# Of those name spaces, what concerns the file rather than the picture
LEFT = {("dc", "format"), ("xmp", "Thumbnails"), ("xmp", "MetadataDate"), ("photoshop", "DocumentAncestors"),
        ("photoshop", "ICCProfile"), ("photoshop", "ColorMode"), ("photoshop", "TextLayers")}  # fmt: skip
for prefix, space in PREFIXES.items():
    ElementTree.register_namespace(prefix, space)  # else they are written as ns0, ns1, ...
WRAPPED = b"<?xpacket begin='\xef\xbb\xbf' id='W5M0MpCehiHzreSzNTczkc9d'?>%s<?xpacket end='r'?>"


def descriptions(image: Image.Image) -> bytes | None:
    """The XMP of `image` reduced to what people wrote; None if there is nothing of that, or it cannot be read."""
    given = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    data = given.encode() if isinstance(given, str) else given
    if not isinstance(data, bytes) or b"<!" in data.replace(b"<!--", b""):  # entities are not for us
        return None
    try:
        root = ElementTree.fromstring(data.strip(b"\0 \r\n"))
    except (ElementTree.ParseError, ValueError, LookupError):  # XMP is written by anybody
        return None
    found = False
    for about in [about for rdf in root.iter(f"{{{RDF}}}RDF") for about in rdf]:
        for child in [child for child in about if not kept(child.tag)]:
            about.remove(child)
        for name in [name for name in about.attrib if not (kept(name) or name.startswith(f"{{{RDF}}}"))]:
            del about.attrib[name]
        found = found or len(about) > 0 or any(kept(name) for name in about.attrib)
    if not found:
        return None
    written = WRAPPED % ElementTree.tostring(root)
    return written if len(written) <= LONGEST else None


def kept(name: str) -> bool:
    """Whether a property, {space}local, says something of the picture that stays true."""
    return any(name.startswith(f"{{{space}}}") and (prefix, name.removeprefix(f"{{{space}}}")) not in LEFT
               for prefix, space in KEPT.items())  # fmt: skip
