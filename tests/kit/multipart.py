"""Reading a multipart/form-data body (RFC 7578), and the size of a PNG picture."""

import struct
from email.parser import BytesParser
from email.policy import HTTP

PNG_START = b"\x89PNG\r\n\x1a\n"


def parse_form(body: bytes, content_type: str) -> tuple[dict[str, str], dict[str, bytes]]:
    """Return the fields, and the content of the files, by the name of the field."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
        name = str(part.get_param("name", header="content-disposition") or "")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        if part.get_filename() is None:
            fields[name] = content.decode("utf-8", "replace")
        else:
            files[name] = content
    return fields, files


def read_png_size(picture: bytes) -> tuple[int, int] | None:
    """Return width and height from the IHDR chunk; None where it is no PNG that is complete."""
    if not picture.startswith(PNG_START) or b"IEND" not in picture[-12:] or picture[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", picture[16:24])
    return int(width), int(height)
